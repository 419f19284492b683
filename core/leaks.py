"""The leakage guard: whether anything of the held-out cases was seen before they are judged.

Looks for cases in two parts, near-duplicate images across parts (copies that were made noisy, mirrored, resampled,
shifted or windowed anew; the same person under another name), one person in two modalities, and scales that were
computed with the held-out cases. What is found stops an evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from operator import or_
from typing import Any, Literal

import numpy as np

from core.config import Task
from core.dataset import Dataset, Split
from core.errors import InvalidConfigError
from core.progress import Progress, part, silent
from core.quality.kin import Kin, kin_of
from core.quality.report import read_report
from core.quality.twins import Twin, twins_of
from core.tasks import find_tasks
from core.types import PHYSICAL_UNITS

Kind = Literal["same case", "same image", "same person", "normaliser"]
TAILS = (0.001, 0.005, 0.01, 0.02, 0.05)  # shares of voxels that percentiles cut off
EXACT = 2e-5  # how near such a share is where the scale was computed from these very voxels
ROUNDING = 1e-6
FIXED_WAYS = ("window", "display", "none")
SHOWN = 3
VAGUE = ("PET", "SPECT", "US")  # uptake, or a small sector: strangers can look alike


@dataclass(frozen=True)
class Leak:
    """One thing that a held-out case and the training have in common."""

    kind: Kind
    said: str


@dataclass(frozen=True)
class LeakReport:
    """What was looked at, in sentences, and what was found."""

    checked: tuple[str, ...]
    leaks: tuple[Leak, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def find_leaks(
    dataset: Dataset, split: Split, cases: Sequence[str] = (), tasks: Sequence[Task] = (), progress: Progress = silent
) -> LeakReport:
    """Look a split through.

    Args:
        cases: those that are judged, the split's test cases by default; cases of the training among them are no leak:
            numbers of those are told to be of the training.
        tasks: of a run, whose numbers were standardised by its training cases.
    """
    seen = (*split.train, *split.val)
    held_out = tuple(case for case in cases or split.test if case not in seen)
    leaks = [
        Leak("same case", f"Case {case} is in the training and held out.") for case in sorted(set(split.test) & {*seen})
    ]
    twins = twins_in(dataset, part(progress, 0.0, 0.6))
    across = [twin for twin in twins if len({twin.first, twin.second} & {*held_out}) == 1 and _is_across(twin, seen)]
    leaks += [Leak("same image", _twin_words(twin, held_out)) for twin in across]
    kin = kin_of(dataset, held_out, seen, part(progress, 0.6, 0.95))
    leaks += [Leak("same person", _kin_words(one)) for one in kin.kin]
    leaks += [Leak("normaliser", said) for said in (*_scales(dataset, split), *_task_scales(dataset, split, tasks))]
    progress(1.0, 1.0, "Looked for leaks")
    return LeakReport(_checked(dataset, held_out, seen, kin.n_pairs, kin.untold), tuple(leaks))


def refuse_leaks(report: LeakReport) -> None:
    """Stop where something leaked.

    Raises:
        InvalidConfigError: What was found (LEAK), and what to do.
    """
    if not report.leaks:
        return
    said = " ".join(leak.said for leak in report.leaks[:SHOWN])
    more = f" And {len(report.leaks) - SHOWN} more." if len(report.leaks) > SHOWN else ""
    todo = "Leave one case of each pair out on Prepare, then train and evaluate again."
    if all(leak.kind == "normaliser" for leak in report.leaks):
        todo = "Scale each case by itself or by fixed limits, then train and evaluate again."
    raise InvalidConfigError(f"Held-out cases were not unseen, so numbers would flatter. {said}{more} {todo}", "LEAK")


def twins_in(dataset: Dataset, progress: Progress = silent) -> Sequence[Twin]:
    """Pairs of cases whose images are of one person: as the check of the dataset found them, else found now."""
    report = read_report(dataset)
    twins = report.twins if report is not None else twins_of(dataset, progress)
    return [twin for twin in twins if _is_borne_out(twin, twins, dataset)]


def _is_across(twin: Twin, seen: Sequence[str]) -> bool:
    return bool({twin.first, twin.second} & {*seen})


def _is_borne_out(twin: Twin, twins: Sequence[Twin], dataset: Dataset) -> bool:
    """Whether a likeness of images that say little is of persons: other images that both have are then alike too."""
    pair = {twin.first, twin.second}
    common = set.intersection(*({*dataset.record(case)["modalities"]} for case in pair)) - {*VAGUE}
    if twin.modality not in VAGUE or not common:
        return True
    return any({other.first, other.second} == pair and other.modality in common for other in twins)


def _twin_words(twin: Twin, held_out: Sequence[str]) -> str:
    own, other = (twin.first, twin.second) if twin.first in held_out else (twin.second, twin.first)
    mirrored = ", mirrored" if twin.is_mirrored else ""
    return f"{twin.modality} of held-out {own} is nearly that of {other} in the training{mirrored}."


def _kin_words(kin: Kin) -> str:
    who = f"{kin.modalities[0]} of {kin.first} and {kin.modalities[1]} of {kin.second}"
    return f"{who} seem to be of one person (alike {kin.likeness:.2f}; strangers stay below {kin.limit:.2f})."


def _checked(
    dataset: Dataset, held_out: Sequence[str], seen: Sequence[str], n_kin: int, untold: Sequence[tuple[str, str]]
) -> tuple[str, ...]:
    pairs = f"{len(held_out)} held-out with {len(seen)} other cases"
    said = [
        "No case is in two parts of the split.",
        f"Near-duplicate images: {pairs}, in {', '.join(dataset.modalities)}.",
        f"One person in two modalities: {n_kin} pairs of images of cases without a common modality.",
        "Scales: whether one was computed over held-out cases too.",
    ]
    if untold:
        names = ", ".join(" and ".join(pair) for pair in untold)
        said.append(f"Not to be told whether one person: {names} (too few cases with both, or too unlike).")
    return tuple(said)


def _scales(dataset: Dataset, split: Split) -> list[str]:
    """Modalities without a unit whose one scale for all cases fits all of them exactly, and the training alone not."""
    ways = dataset.index["recipe"].get("normalise", {})
    if ways.get("divide_by") or ways.get("mr", "percentiles") in FIXED_WAYS:
        return []
    found = []
    for modality in dataset.modalities:
        having = [c for c in dataset.case_ids if modality in dataset.record(c)["modalities"]]
        scales = {tuple(dataset.record(case)["scales"][modality]) for case in having}
        if dataset.unit(modality) in PHYSICAL_UNITS or len(scales) > 1 or len(having) < 3 or modality == "US":
            continue
        marks = {case: _marks(dataset, case, modality) for case in having}
        learnt = [marks[case] for case in having if case in split.train]
        if learnt and _is_fitted(list(marks.values())) and not _is_fitted(learnt):
            found.append(f"The scale of {modality} was computed over all cases, held-out ones included.")
    return found


def _marks(dataset: Dataset, case_id: str, modality: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Of the masked voxels: how many there are, below 0, up to 0, from 1 on, above 1; their sum and sum of squares."""
    values = np.asarray(dataset.volume(case_id, modality))[np.asarray(dataset.mask(case_id))].astype(np.float64)
    low = [(values < -ROUNDING).sum(), (values <= ROUNDING).sum()]
    high = [(values > 1 + ROUNDING).sum(), (values >= 1 - ROUNDING).sum()]
    return np.array([len(values), *low, *high, values.sum(), (values**2).sum()])


def _is_fitted(marks: Sequence[np.ndarray[Any, np.dtype[np.float64]]]) -> bool:
    """Whether 0 and 1 are exactly percentiles or ends of these voxels, or their mean and deviation the middle's."""
    n, below, low, above, high, total, squares = np.sum(marks, axis=0)
    ends = ((below, low), (above, high))
    exact, tied = [_is_tail(*end, n) for end in ends], [_is_tied(*end, n) for end in ends]
    at_tails = any(exact) and all(map(or_, exact, tied))
    at_ends = low > 0 and below == 0 and above == 0 and 0 < high <= 2
    mean = total / n
    is_standard = abs(mean - 0.5) < 1e-3 and abs(np.sqrt(max(squares / n - mean**2, 0)) - 1 / 6) < 2e-3
    return bool(at_tails or at_ends or is_standard)


def _is_tail(beyond: float, reached: float, n: float) -> bool:
    """Whether a percentile in use lies there. Where values were not cut off, equal ones may lie on both its sides."""
    tolerance = EXACT + 2 / n
    shares = [reached / n] if beyond == 0 else [beyond / n, reached / n]
    return any(min(shares) - tolerance < tail < max(shares) + tolerance for tail in TAILS)


def _is_tied(beyond: float, reached: float, n: float) -> bool:
    """Whether so many voxels share the utmost value that a percentile in use may be it."""
    return beyond == 0 and reached > 2 and reached / n > min(TAILS)


def _task_scales(dataset: Dataset, split: Split, tasks: Sequence[Task]) -> list[str]:
    """Numbers whose mean and deviation are those of all cases and not of the training."""
    found = []
    for task in tasks:
        if task.kind == "number":
            learnt, everyone = (find_tasks(dataset, [task.name], c)[0] for c in (split.train, dataset.case_ids))
            if _is_near(task, everyone) and not _is_near(task, learnt):
                found.append(f"The scale of {task.name} was computed over all cases, held-out ones included.")
    return found


def _is_near(one: Task, other: Task) -> bool:
    return bool(np.allclose([one.mean, one.sd], [other.mean, other.sd], rtol=1e-6, atol=1e-12))
