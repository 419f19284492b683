"""Kin: two cases without a common modality that show one person.

What one image would be in the other's modality is learnt from the cases that have both, point by point
(core/quality/translation.py); then the two are compared as twins are (core/quality/twins.py): at the best place,
mirrored or not. How alike the images of one person are, and of two people, is seen on the same cases, each translated
by what the others taught; where those cannot be told apart, nothing is said, and that is told.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from core.dataset import Dataset
from core.progress import Progress, silent
from core.quality.imprints import OUTSIDE, ImprintGrid, Imprints, Levels, imprint, imprints_of
from core.quality.translation import Translation
from core.quality.twins import Finder

EXAMPLES = 12  # cases of one person in both modalities, and as many pairs of strangers
LEAST_EXAMPLES = 3
LEAST_POINTS = 100  # that an example's two imprints share
LEAST_LIKENESS = 0.3  # strangers came to 0.27 on real images: nobody is named below
FOLDS = 3
APART = 4.0  # deviations of strangers' likeness that one person's must be above it


@dataclass(frozen=True)
class Kin:
    """A case of one modality and a case of another that show one person."""

    first: str
    second: str
    modalities: tuple[str, str]
    likeness: float
    limit: float


@dataclass(frozen=True)
class KinReport:
    """What was found, and which pairs of modalities could not be judged."""

    kin: tuple[Kin, ...]
    n_pairs: int
    untold: tuple[tuple[str, str], ...]


def kin_of(
    dataset: Dataset, held_out: Collection[str], learnt: Collection[str], progress: Progress = silent
) -> KinReport:
    """Pairs of a held-out case and one that was learnt from, without a common modality, that show one person."""
    pairs = _strange_pairs(dataset, held_out, learnt)
    found: list[Kin] = []
    untold = []
    grid = ImprintGrid.of(dataset)
    imprints: dict[str, dict[str, Levels]] = {}
    for done, (modalities, cases) in enumerate(pairs.items()):
        progress(done, len(pairs), f"Comparing {' with '.join(modalities)}")
        for m in modalities:
            imprints.setdefault(m, _imprints(dataset, m, grid))
        asked = {case for pair in cases for case in pair}
        pair = _pair_of(dataset, modalities, grid, imprints, asked)
        limit = pair.limit() if pair else None
        if pair is None or limit is None:
            untold.append(modalities)
            continue
        for a, b in cases:
            progress(done, len(pairs), f"Comparing {' with '.join(modalities)}")
            likeness = pair.likeness(a, b)
            if likeness >= limit:
                found.append(Kin(a, b, modalities, likeness, limit))
    return KinReport(tuple(found), sum(map(len, pairs.values())), tuple(untold))


def _strange_pairs(
    dataset: Dataset, held_out: Collection[str], learnt: Collection[str]
) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """Two modalities -> (a case with the first, a case with the second), one of them held out."""
    has = {case: set(dataset.record(case)["modalities"]) for case in (*held_out, *learnt)}
    pairs: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for one in held_out:
        for other in learnt:
            if not has[one] & has[other]:
                for m in sorted(has[one]):
                    for n in sorted(has[other]):
                        key, pair = ((m, n), (one, other)) if m < n else ((n, m), (other, one))
                        pairs.setdefault(key, []).append(pair)
    return pairs


def _imprints(dataset: Dataset, modality: str, grid: ImprintGrid) -> dict[str, Levels]:
    found: Imprints = imprints_of(dataset, modality, grid)
    return dict(zip(found.case_ids, found.levels, strict=True))


def _pair_of(
    dataset: Dataset,
    modalities: tuple[str, str],
    grid: ImprintGrid,
    imprints: Mapping[str, Mapping[str, Levels]],
    asked: Collection[str],
) -> _Pair | None:
    """Learnt from cases with both whose images share points; None where these are too few."""
    examples: dict[str, tuple[Levels, Levels]] = {}
    for case in dataset.case_ids:
        if len(examples) < EXAMPLES and set(modalities) <= set(dataset.record(case)["modalities"]):
            first, second = imprints[modalities[0]][case], _beside(dataset, case, modalities, grid)
            if ((first != OUTSIDE) & (second != OUTSIDE)).sum() >= LEAST_POINTS:
                examples[case] = first, second
    if len(examples) < LEAST_EXAMPLES:
        return None
    firsts, seconds = ({c: x for c, x in imprints[m].items() if c in {*examples, *asked}} for m in modalities)
    return _Pair(examples, firsts, seconds)


class _Pair:
    """Two modalities: the likeness of a case in the first and a case in the second."""

    def __init__(
        self,
        examples: Mapping[str, tuple[Levels, Levels]],
        firsts: Mapping[str, Levels],
        seconds: Mapping[str, Levels],
    ) -> None:
        self.both, self.first, self.second = list(examples), list(firsts), list(seconds)

        def taught_by(cases: Collection[str]) -> Translation:
            return Translation([examples[c][0] for c in cases], [examples[c][1] for c in cases])

        translations = dict.fromkeys(self.first, taught_by(self.both))
        for n in range(min(FOLDS, len(self.both))):
            own = self.both[n::FOLDS]
            translations |= dict.fromkeys(own, taught_by([case for case in self.both if case not in own]))
        expected = [translations[case].of(levels) for case, levels in firsts.items()]
        self._finder = Finder(np.stack([*expected, *seconds.values()]))

    def likeness(self, a: str, b: str) -> float:
        return self._finder.best(self.first.index(a), len(self.first) + self.second.index(b))[0]

    def limit(self) -> float | None:
        """Half-way, on Fisher's scale, from strangers to one person; None where these lie too close.

        A tenth of the strangers may be one person under two names: the most alike ones are left out.
        """
        own = _fisher([self.likeness(case, case) for case in self.both])
        strangers = np.sort(_fisher([self.likeness(a, b) for a, b in _some_pairs(self.both)]))
        strangers = strangers[: len(strangers) - len(strangers) // 10]
        deviation = float(np.std(strangers, ddof=1)) + 0.02
        highest = max(float(np.median(strangers)) + APART * deviation, float(strangers.max()))
        least = float(np.min(own)) if len(own) < 6 else float(np.quantile(own, 0.1))
        if np.tanh(least) < LEAST_LIKENESS or least < highest:
            return None
        return max(LEAST_LIKENESS, float(np.tanh((highest + least) / 2)))


def _beside(dataset: Dataset, case: str, modalities: tuple[str, str], grid: ImprintGrid) -> Levels:
    """The imprint of the second modality at the points of the first one's."""
    first, second = (dataset.volume(case, m) for m in modalities)
    return imprint(second, dataset.mask(case), dataset.spacing_mm, grid, beside=first)


def _some_pairs(cases: list[str]) -> list[tuple[str, str]]:
    pairs = list(permutations(cases, 2))
    return pairs[:: max(1, len(pairs) // (3 * EXAMPLES))]


def _fisher(values: list[float]) -> NDArray[np.float64]:
    return np.asarray(np.arctanh(np.clip(values, -0.999, 0.999)))
