"""Does a model hand back what it was shown? The nearest training image of every synthesis, beside real cases' own.

In two spaces that are the same for every rival: block means of slices, and codes of a frozen encoder (`core.frozen`).
A copy lies much nearer to one training case than to the next, where a new patient lies about as far from several; a
blurred synthesis lies near to all of them alike. So a synthesis is suspected only where both its distance and the ratio
of the nearest to the second nearest case are far below those of every real case: the least of a few real cases is
undercut by chance once in so many syntheses as there are cases.

Source:
    Ratios of neighbours' distances as in Lowe 2004; for generated images Carlini et al. 2023, arXiv:2301.13188.
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
from core.synthesis import LoadedRun
from core.types import Array

Row = dict[str, Any]
Points = NDArray[np.float32]  # (slices, numbers)
N_BLOCKS = 24  # along a slice's sides
FAR_BELOW = 0.8  # of the least of real cases
LEAST_CASES = 3  # of the training that have a target: fewer have no second nearest
SPACES = ("image", "code")
TRAINING = 0.3  # of the time


def measure_memorisation(loaded: LoadedRun, progress: Progress = silent) -> dict[str, Any]:
    """A row for every synthesis of a held-out case, and the rows of real cases that they are held against.

    Raises:
        InvalidConfigError: Under LEAST_CASES training cases.
    """
    dataset, train = loaded.dataset, loaded.split.train
    if len(train) < LEAST_CASES:
        raise InvalidConfigError(
            f"The audit compares distances to several training cases: it needs {LEAST_CASES} at least.", "TOO-FEW-CASES"
        )
    judge = coder(dataset, train, part(progress, 0, TRAINING))
    real = {m: points_of_real(dataset, judge, dataset.case_ids, m) for m in loaded.learnt}
    shown = {m: {c: p for c, p in points.items() if c in train} for m, points in real.items()}
    known = {m: points for m, points in shown.items() if len(points) >= LEAST_CASES}
    usual = [
        {"case": case_id, "target": m, "held_out": case_id not in train, **nearest(points, known[m], case_id)}
        for m in known
        for case_id, points in real[m].items()
    ]
    rows, cases = [], loaded.split.test
    for n, case_id in enumerate(cases):
        progress(TRAINING + (1 - TRAINING) * n / len(cases), 1, f"Looking for {case_id} among training cases")
        for given, target, image in syntheses(loaded, case_id):
            if target in known:
                found = nearest(points_of(dataset, judge, case_id, image, target), known[target], case_id)
                rows.append({"case": case_id, "given": list(given), "target": target, **found})
    limits = limits_of(usual)
    for row in rows:
        row["suspect"] = is_suspect(row, limits)
    return {"rows": rows, "usual": usual, "limits": limits, "n_suspect": sum(row["suspect"] for row in rows)}


def points_of(dataset: Dataset, judge: Coder, case_id: str, image: Array, target: str) -> dict[str, Points]:
    """Space -> a point for each slice that the mask reaches."""
    cut = inside(dataset, case_id, np.asarray(image, np.float32))
    used = np.flatnonzero(np.asarray(dataset.mask(case_id)).any(axis=(0, 1)))
    return {"image": block_means(cut)[used], "code": judge.places(cut, target)[used]}


def block_means(volume: Array) -> Points:
    """(K, N_BLOCKS^2): means over blocks of every slice."""
    sides = [np.linspace(0, n, min(N_BLOCKS, n) + 1).astype(int) for n in volume.shape[:2]]
    sums = np.add.reduceat(np.add.reduceat(volume, sides[0][:-1], 0), sides[1][:-1], 1)
    sizes = np.outer(np.diff(sides[0]), np.diff(sides[1]))
    return np.asarray((sums / sizes[..., None]).reshape(-1, volume.shape[2]).T, np.float32)


def points_of_real(dataset: Dataset, judge: Coder, cases: Sequence[str], target: str) -> dict[str, dict[str, Points]]:
    """The points of those of these cases that have the target."""
    with torch.inference_mode():
        return {
            case_id: points_of(dataset, judge, case_id, np.asarray(dataset.volume(case_id, target)), target)
            for case_id in cases
            if target in dataset.record(case_id)["modalities"]
        }


def nearest(points: Mapping[str, Points], known: Mapping[str, Mapping[str, Points]], own: str) -> Row:
    """In each space the distance to the nearest training case but itself, which it is, and nearest over second."""
    found: Row = {}
    for space in SPACES:
        others = {case_id: distance(points[space], p[space]) for case_id, p in known.items() if case_id != own}
        first, second, *_ = sorted(others, key=lambda case_id: others[case_id])
        ratio = others[first] / others[second] if others[second] else 1.0
        found |= {f"nearest_{space}": first, f"distance_{space}": others[first], f"ratio_{space}": ratio}
    return found


def distance(one: Points, other: Points) -> float:
    """Median over the slices of one of the Euclidean distance to the nearest slice of the other."""
    squares = (one**2).sum(1)[:, None] + (other**2).sum(1) - 2 * one @ other.T
    return float(np.median(np.sqrt(np.maximum(squares.min(1), 0))))


def limits_of(usual: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Target -> the least distance and ratio between real cases, in each space."""
    limits: dict[str, dict[str, float]] = {}
    for target in sorted({row["target"] for row in usual}):
        own = [row for row in usual if row["target"] == target]
        limits[target] = {
            f"{name}_{space}": min(row[f"{name}_{space}"] for row in own)
            for space in SPACES
            for name in ("distance", "ratio")
        }
    return limits


def is_suspect(row: Row, limits: Mapping[str, Mapping[str, float]]) -> bool:
    """Far nearer to one training case than any real case is to another, and that one far nearer than the next."""
    own = limits[row["target"]]
    names = ("distance", "ratio")
    return any(all(row[f"{name}_{space}"] < FAR_BELOW * own[f"{name}_{space}"] for name in names) for space in SPACES)
