"""What somebody should look at, case by case: one flag for each thing, with its modalities and a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.dataset import Dataset
from core.quality.drift import odd_ones
from core.quality.geometry import acquired
from core.quality.measures import Measured
from core.quality.report import Report
from core.quality.twins import Twin

MISSING, TWIN, MASK_SIZE, BRIGHTNESS, CONTRAST, GEOMETRY = (
    "MISSING", "TWIN", "MASK-SIZE", "BRIGHTNESS", "CONTRAST", "GEOMETRY",
)  # fmt: skip
ALIGNMENT = ("NOT-ALIGNED", "ALIGNMENT-DOUBTFUL", "LITTLE-OVERLAP")  # best judged by looking at images together
GOOD_TO_KNOW = frozenset(  # warnings that ask nothing of anybody: said, but not counted
    {"REVIEWED", "DERIVED-MAP", "NO-PATIENT-ID", "FRAME-CHOSEN", "INVERTED", "GANTRY-TILT", "FLAT-RESHAPED", "LOSSY"}
    | {"PSEUDO-COLOUR", "ONE-SLICE", "SAME-NAME", "OUTLIERS-CUT", "NON-FINITE-REPLACED", "FACE-VISIBLE"}
)
SMALLEST_DRIFT = 0.25  # of the usual spread inside the mask: what a person would hardly see is no flag
SMALLEST_GROWTH = 0.1  # of the usual mask
ODD_WORDS = {
    "spacing": "voxel size",
    "field": "field of view",
    "plane": "plane of the slices",
    "tilt": "tilt",
}


@dataclass(frozen=True)
class Flag:
    """One thing about one case.

    Attributes:
        code: one of the codes above, or that of a warning which came with the case.
        modalities: those it is about; empty where it is about the case.
        words: a sentence; empty for warnings, whose sentences are told by code.
        other: the case beside which this one should be looked at.
    """

    code: str
    modalities: tuple[str, ...] = ()
    words: str = ""
    other: str = ""

    @property
    def counts(self) -> bool:
        """Whether somebody should look."""
        return self.code not in GOOD_TO_KNOW


Flags = Mapping[str, Sequence[Flag]]


def flags_of(dataset: Dataset, report: Report | None) -> dict[str, list[Flag]]:
    """Case -> its flags, what counts first; for every case, also those that were left out.

    What is unusual is told by the cases that are in; a case that was left out keeps what was known without others.
    """
    whole = dataset.whole
    flags: dict[str, list[Flag]] = {case_id: _own_flags(whole, case_id) for case_id in whole.case_ids}
    if report is not None:
        cases = {case: report.cases[case] for case in dataset.case_ids}
        found = [*_mask_sizes(cases), *_brightness(cases, dataset.modalities), *_geometry(cases, dataset.modalities)]
        for case_id, flag in [*found, *_twin_flags(report.twins, frozenset(dataset.case_ids))]:
            flags[case_id].append(flag)
    return {case_id: sorted(some, key=lambda flag: not flag.counts) for case_id, some in flags.items()}


def count(flags: Sequence[Flag]) -> int:
    """How many of them somebody should look at."""
    return sum(flag.counts for flag in flags)


def _own_flags(whole: Dataset, case_id: str) -> list[Flag]:
    record = whole.record(case_id)
    by_code: dict[str, list[str]] = {}
    for modality, codes in record["warnings"].items():
        for code in codes:
            by_code.setdefault(code, []).append(modality)
    flags = [Flag(code, tuple(modalities)) for code, modalities in by_code.items()]
    missing = tuple(modality for modality in whole.modalities if modality not in record["modalities"])
    return [Flag(MISSING, missing, f"{_listed(missing)} not acquired."), *flags] if missing else flags


Found = Iterable[tuple[str, Flag]]


def _mask_sizes(cases: Mapping[str, Measured]) -> Found:
    sizes = {case: measured.mask_ml for case, measured in cases.items()}
    usual = float(np.median(list(sizes.values()))) if sizes else 0.0
    for case in odd_ones(sizes, SMALLEST_GROWTH * usual):
        word = "larger" if sizes[case] > usual else "smaller"
        yield case, Flag(MASK_SIZE, (), f"The mask is much {word} than usual: {sizes[case]:,.0f} of {usual:,.0f} ml.")


def _brightness(cases: Mapping[str, Measured], modalities: Sequence[str]) -> Found:
    for modality in modalities:
        known = {case: m.brightness[modality] for case, m in cases.items() if modality in m.brightness}
        medians = {case: b.median for case, b in known.items()}
        spreads = {case: b.spread for case, b in known.items()}
        matters = SMALLEST_DRIFT * float(np.median(list(spreads.values()))) if spreads else 0.0
        for case, z in odd_ones(medians, matters).items():
            word = "brighter" if z > 0 else "darker"
            yield case, Flag(BRIGHTNESS, (modality,), f"{modality} is much {word} than in the other cases.")
        for case, z in odd_ones(spreads, matters).items():
            word = "more" if z > 0 else "less"
            yield case, Flag(CONTRAST, (modality,), f"{modality} has much {word} contrast than in the other cases.")


def _geometry(cases: Mapping[str, Measured], modalities: Sequence[str]) -> Found:
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for modality in modalities:
        known = acquired(cases, modality)
        for case, what in known.odd.items() if known else ():
            alike.setdefault((case, what), []).append(modality)
    for (case, what), odd in alike.items():
        said = _listed([ODD_WORDS[name] for name in what])
        yield case, Flag(GEOMETRY, tuple(odd), f"Acquired with an unusual {said}: {', '.join(odd)}.")


def _twin_flags(twins: Sequence[Twin], included: frozenset[str]) -> Found:
    """One flag for each pair, on both of its cases; none where one of them is out already."""
    for (first, second), some in pairs_of(twins).items():
        if not {first, second} <= included:
            continue
        modalities = tuple(twin.modality for twin in some)
        mirrored = " mirrored" if some[0].is_mirrored else ""
        for case, other in ((first, second), (second, first)):
            words = f"Looks like {other}{mirrored} in {_listed(modalities)} ({some[0].likeness:.2f}; 1 is the same)."
            yield case, Flag(TWIN, modalities, words, other)


def pairs_of(twins: Sequence[Twin]) -> dict[tuple[str, str], list[Twin]]:
    """(first, second) -> the modalities in which they are too alike, most alike first; the pairs likewise."""
    pairs: dict[tuple[str, str], list[Twin]] = {}
    for twin in sorted(twins, key=lambda twin: -twin.likeness):
        pairs.setdefault((twin.first, twin.second), []).append(twin)
    return pairs


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
