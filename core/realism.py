"""Do syntheses look like real images as a whole? Maximum mean discrepancy in the code of one frozen encoder.

The encoder learnt from real training images alone and is the same for every rival (`core.frozen`). Numbers of the code
are told in their spread over real training slices; the kernel's width is the median distance between those. Two slices
of one case are never compared, so that the case is the unit: near 0 where syntheses cannot be told from real images of
other people, more the more they differ.

Source:
    Gretton et al. 2012, JMLR 13, the unbiased estimate; here over pairs of cases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from core.dataset import Dataset
from core.errors import InvalidConfigError
from core.frozen import Coder, coder, inside
from core.made import syntheses
from core.progress import Progress, part, silent
from core.statistics import mean_interval
from core.synthesis import LoadedRun
from core.types import Array

Row = dict[str, Any]
Codes = NDArray[np.float32]  # (slices, numbers)
Pair = tuple[tuple[str, ...], str]
LEAST_CASES = 2
MOST_SLICES = 400  # that the kernel's width is found from
TRAINING = 0.4  # of the time


def measure_realism(loaded: LoadedRun, progress: Progress = silent) -> dict[str, Any]:
    """MMD^2 of what is made of what, against the real images of the same held-out cases, with intervals over cases.

    `reference`: the same number between real training and real held-out images, which differ by chance alone.

    Raises:
        InvalidConfigError: Under LEAST_CASES held-out cases.
    """
    dataset, split = loaded.dataset, loaded.split
    if len(split.test) < LEAST_CASES:
        raise InvalidConfigError(
            f"Whether images look real as a whole is judged over pairs of cases: hold out {LEAST_CASES} at least.",
            "TOO-FEW-CASES",
        )
    judge = coder(dataset, split.train, part(progress, 0, TRAINING))
    real = {m: _real(dataset, judge, (*split.train, *split.test), m) for m in loaded.learnt}
    units = {m: unit_of([found[c] for c in split.train if c in found]) for m, found in real.items()}
    real = {m: {c: codes / units[m] for c, codes in found.items()} for m, found in real.items()}
    made: dict[Pair, dict[str, Codes]] = {}
    for n, case_id in enumerate(split.test):
        progress(TRAINING + (1 - TRAINING) * n / len(split.test), 1, f"Encoding syntheses of {case_id}")
        for pair, codes in _made(loaded, judge, case_id).items():
            made.setdefault(pair, {})[case_id] = codes / units[pair[1]]
    widths = {m: width_of([found[c] for c in split.train if c in found]) for m, found in real.items()}
    rows = [
        {"given": list(given), "target": target, **compared(found, real[target], widths[target])}
        for (given, target), found in made.items()
        if len(found) >= LEAST_CASES
    ]
    return {"rows": rows, "reference": {m: _by_chance(found, loaded, widths[m]) for m, found in real.items()}}


def compared(made: Mapping[str, Codes], real: Mapping[str, Codes], width: float) -> Row:
    """MMD^2 between the syntheses of some cases and their real images; its interval from jackknife pseudo-values."""
    cases = sorted(set(made) & set(real))
    h = pair_terms([made[c] for c in cases], [real[c] for c in cases], width)
    return {**vars(mean_interval(pseudo_values(h).tolist())), "n": len(cases)}


def pair_terms(first: Sequence[Codes], second: Sequence[Codes], width: float) -> NDArray[np.float64]:
    """(n, n): k(a_i, a_j) + k(b_i, b_j) - k(a_i, b_j) - k(a_j, b_i), means over slices; the diagonal is not used."""
    n = len(first)
    h = np.zeros((n, n))
    for i in range(n):
        for j in range(i + 1, n):
            same = kernel(first[i], first[j], width) + kernel(second[i], second[j], width)
            h[i, j] = h[j, i] = same - kernel(first[i], second[j], width) - kernel(first[j], second[i], width)
    return h


def kernel(one: Codes, other: Codes, width: float) -> float:
    """Mean over pairs of slices of exp(-|a - b|^2 / 2 width^2)."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return float(np.exp(-np.maximum(squares, 0) / (2 * width**2)).mean())


def pseudo_values(h: NDArray[np.float64]) -> NDArray[np.float64]:
    """The jackknife's pseudo-values of the mean off the diagonal; their mean is that mean. With two cases: both it."""
    n = len(h)
    whole = h.sum() / (n * (n - 1))
    if n < 3:
        return np.full(n, whole)
    without = (h.sum() - 2 * h.sum(1)) / ((n - 1) * (n - 2))
    return np.asarray(n * whole - (n - 1) * without)


def unit_of(codes: Sequence[Codes]) -> Codes:
    """The spread of each number over real training slices, in which all numbers are told."""
    spread = np.concatenate(codes).std(0) if codes else np.ones(1)
    return np.asarray(np.maximum(spread, 1e-6), np.float32)


def width_of(codes: Sequence[Codes]) -> float:
    """The median distance between real slices of different cases."""
    each = max(1, MOST_SLICES // max(1, len(codes)))
    some = [found[np.linspace(0, len(found) - 1, min(each, len(found))).astype(int)] for found in codes]
    apart = [np.linalg.norm(a[:, None] - b[None], axis=2).ravel() for i, a in enumerate(some) for b in some[i + 1 :]]
    return float(np.median(np.concatenate(apart))) if apart else 1.0


def _codes(dataset: Dataset, judge: Coder, case_id: str, image: Array, target: str) -> Codes:
    mask = np.asarray(dataset.mask(case_id))
    used = np.flatnonzero(mask.any(axis=(0, 1)))
    return judge.looks(inside(dataset, case_id, np.asarray(image, np.float32)), mask, target)[used]


@torch.inference_mode()
def _real(dataset: Dataset, judge: Coder, cases: Sequence[str], m: str) -> dict[str, Codes]:
    having = [case_id for case_id in cases if m in dataset.record(case_id)["modalities"]]
    return {case_id: _codes(dataset, judge, case_id, np.asarray(dataset.volume(case_id, m)), m) for case_id in having}


@torch.inference_mode()
def _made(loaded: LoadedRun, judge: Coder, case_id: str) -> dict[Pair, Codes]:
    return {
        (given, target): _codes(loaded.dataset, judge, case_id, image, target)
        for given, target, image in syntheses(loaded, case_id)
    }


def _by_chance(real: Mapping[str, Codes], loaded: LoadedRun, width: float) -> float | None:
    """MMD^2 between as many training cases as are held out, and those; None where there are too few."""
    held_out = [c for c in loaded.split.test if c in real]
    training = [c for c in loaded.split.train if c in real][: len(held_out)]
    n = min(len(held_out), len(training))
    if n < LEAST_CASES:
        return None
    h = pair_terms([real[c] for c in training[:n]], [real[c] for c in held_out[:n]], width)
    return float(pseudo_values(h).mean())
