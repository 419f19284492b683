"""Could the error be nothing but images that do not lie on each other? A stress test of a run's own pairs.

The real target is moved by some voxels or degrees and compared with itself: what a perfect synthesis would be charged
if target and source were that far apart. An error no larger than that of 1 to 3 voxels may be all misalignment. And the
synthesis is compared with the moved target: where it fits better than unmoved, and worse when that is moved the other
way, the pair does lie askew. A blurred synthesis fits every interpolated target better, whichever way that was moved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import ndimage

from core.boxes import box_of
from core.evaluate import tasks_of
from core.judging import judged_mask
from core.made import syntheses
from core.metrics import DATA_RANGE, mae
from core.progress import Progress, silent
from core.structure import Mask, Pyramid
from core.synthesis import LoadedRun
from core.types import Array

Row = dict[str, Any]
SHIFTS_VOXELS = (0.5, 1.0, 1.5, 2.0, 3.0)
TURNS_DEGREES = (1.0, 2.0, 3.0, 5.0)
MOST_CASES = 4  # of those held out; moving images takes long
SUSPECT = (1.0, 3.0)  # voxels within which a misalignment may go unseen
BETTER = 0.02  # a moved target must fit better by this share, before the pair is said to lie askew


@dataclass(frozen=True)
class Move:
    """voxels along one axis, or degrees about it; either sign."""

    kind: str
    size: float
    axis: int
    sign: int


def moves(shape: Sequence[int]) -> Iterator[Move]:
    """Every size along and about every axis, both ways; of one slice, those within it."""
    long = [axis for axis, n in enumerate(shape) if n > 1]
    about = range(3) if len(long) == 3 else [axis for axis in range(3) if axis not in long]
    for kind, sizes, axes in (("shift", SHIFTS_VOXELS, long), ("turn", TURNS_DEGREES, about)):
        for size in sizes:
            for axis in axes:
                for sign in (-1, 1):
                    yield Move(kind, size, axis, sign)


def moved(image: Array, move: Move, spacing_mm: Sequence[float], centre: Sequence[float]) -> Array:
    """The image pulled along or turned about an axis (in millimetres, about a voxel), by linear interpolation."""
    if move.kind == "shift":
        return _pulled(image, move.axis, move.sign * move.size)
    a, b = (axis for axis in range(3) if axis != move.axis)
    angle = np.deg2rad(move.sign * move.size)
    turn = np.eye(3)
    turn[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
    mm = np.diag(np.asarray(spacing_mm, float))
    matrix = np.linalg.inv(mm) @ turn @ mm
    middle = np.asarray(centre, float)
    return np.asarray(
        ndimage.affine_transform(image, matrix, middle - matrix @ middle, order=1, mode="nearest"), np.float32
    )


def _pulled(image: Array, axis: int, by: float) -> Array:
    """Along one axis, the ends going on beyond the image: five times as fast as `ndimage.shift`."""
    last = image.shape[axis] - 1
    places = np.clip(np.arange(last + 1) - by, 0, last)
    low = places.astype(np.intp)
    share = (places - low).astype(np.float32).reshape([-1 if n == axis else 1 for n in range(3)])
    first, second = image.take(low, axis), image.take(np.minimum(low + 1, last), axis)
    return np.asarray(first + (second - first) * share, np.float32)


def measure_misalignment(loaded: LoadedRun, progress: Progress = silent) -> dict[str, Any]:
    """Curves over shifts and turns of each target, and a verdict for what is made of what; up to MOST_CASES cases."""
    cases = [case_id for case_id in loaded.split.test if tasks_of(loaded, case_id, "small")][:MOST_CASES]
    curves: list[Row] = []
    pairs: list[Row] = []
    for n, case_id in enumerate(cases):
        made = {(given, target): image for given, target, image in syntheses(loaded, case_id)}
        targets = sorted({target for _, target in made})
        for at, target in enumerate(targets):
            progress(n + at / len(targets), len(cases), f"Moving {target} of {case_id}")
            of_target = {given: image for (given, to), image in made.items() if to == target}
            found = stress(loaded, case_id, target, of_target)
            curves += found[0]
            pairs += found[1]
    return {"cases": cases, "curves": _mean_curves(curves), "pairs": verdicts(pairs, _mean_curves(curves))}


def stress(
    loaded: LoadedRun, case_id: str, target: str, made: Mapping[tuple[str, ...], Array]
) -> tuple[list[Row], list[Row]]:
    """Of one target: its own error under every move; of every synthesis its error, and that under the best move."""
    dataset = loaded.dataset
    mask = judged_mask(dataset, case_id, target)
    box = _roomy(mask)
    truth, inside = np.ascontiguousarray(dataset.volume(case_id, target)[box]), np.ascontiguousarray(mask[box])
    images = {given: np.ascontiguousarray(image[box]) for given, image in made.items()}
    centre = np.argwhere(inside).mean(0)
    scale = dataset.unit_scale(target, case_id)
    errors: dict[tuple[str, ...], dict[Move, float]] = {given: {} for given in images}
    tight = box_of(inside)
    itself = Pyramid(truth[tight], np.ascontiguousarray(inside[tight]), DATA_RANGE, 1)
    curves = []
    for move in moves(truth.shape):
        other = moved(truth, move, dataset.spacing_mm, centre)
        own = {"mae": mae(other, truth, inside) * scale, "ssim": itself.compare(other[tight])[0].mean}
        curves.append({"case": case_id, "target": target, "kind": move.kind, "size": move.size, **own})
        for given, image in images.items():
            errors[given][move] = mae(image, other, inside) * scale
    pairs = []
    for given, image in images.items():
        unmoved = mae(image, truth, inside) * scale
        best = best_of(unmoved, errors[given])
        pairs.append({"case": case_id, "given": list(given), "target": target, "mae": unmoved, "moved": best})
    return curves, pairs


def best_of(unmoved: float, errors: Mapping[Move, float]) -> tuple[float, str, float]:
    """The least error with the move's kind and size: of none, and of clearly better ones with a worse opposite."""
    found = [(unmoved, "", 0.0)]
    for move, error in errors.items():
        if error < (1 - BETTER) * unmoved and unmoved < errors[replace(move, sign=-move.sign)]:
            found.append((error, move.kind, move.size))
    return min(found)


def _roomy(mask: Mask) -> tuple[slice, slice, slice]:
    """The mask's box with room for what moves into it."""
    room = int(max(SHIFTS_VOXELS)) + 2
    i, j, k = (slice(max(0, at.start - room), at.stop + room) for at in box_of(mask))
    return i, j, k


def _mean_curves(rows: Sequence[Row]) -> list[Row]:
    """Target, kind and size -> means over directions and cases; 0 first, where an image is equal to itself."""
    found: dict[tuple[str, str, float], list[Row]] = {}
    for row in rows:
        found.setdefault((row["target"], row["kind"], row["size"]), []).append(row)
    curves = [
        {"target": target, "kind": kind, "size": 0.0, "mae": 0.0, "ssim": 1.0}
        for target, kind in sorted({(target, kind) for target, kind, _ in found})
    ]
    for (target, kind, size), members in found.items():
        means = {name: float(np.mean([row[name] for row in members])) for name in ("mae", "ssim")}
        curves.append({"target": target, "kind": kind, "size": size, **means})
    return sorted(curves, key=lambda row: (row["target"], row["kind"], row["size"]))


def verdicts(pairs: Sequence[Row], curves: Sequence[Row]) -> list[Row]:
    """What is made of what -> its mean error, and the shift and the turn that alone would cost as much.

    `as_shift` and `as_turn` are None beyond the largest move. `warns` where 1 to 3 voxels explain the error;
    `is_askew` where the synthesis fits a moved target better by BETTER in most cases.
    """
    groups: dict[tuple[tuple[str, ...], str], list[Row]] = {}
    for pair in pairs:
        groups.setdefault((tuple(pair["given"]), pair["target"]), []).append(pair)
    found = []
    for (given, target), members in groups.items():
        error = float(np.mean([pair["mae"] for pair in members]))
        by_move = [pair for pair in members if pair["moved"][1]]
        as_shift, as_turn = (_crossing(curves, target, kind, error) for kind in ("shift", "turn"))
        found.append(
            {
                "given": list(given),
                "target": target,
                "mae": error,
                "n": len(members),
                "as_shift": as_shift,
                "as_turn": as_turn,
                "warns": as_shift is not None and as_shift <= SUSPECT[1],
                "is_askew": 2 * len(by_move) > len(members),
                "best_moves": [list(pair["moved"][1:]) for pair in by_move],
            }
        )
    return found


def _crossing(curves: Sequence[Row], target: str, kind: str, error: float) -> float | None:
    """The move whose own error reaches this one, by linear interpolation."""
    points = [(row["mae"], row["size"]) for row in curves if (row["target"], row["kind"]) == (target, kind)]
    costs = np.maximum.accumulate([cost for cost, _ in points])
    if not len(costs) or error > costs[-1]:
        return None
    return float(np.interp(error, costs, [size for _, size in points]))
