"""Imprints: what is left of an image without its place, its contrast and its finest detail; small enough to keep.

An imprint is the image on a coarse grid around the middle of its body, each point the rank of its brightness. A copy
keeps it through noise, another window, a shift or another resolution; another person has another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.dataset import Dataset
from core.progress import Progress, silent
from core.types import Array

Mask = NDArray[np.bool_]
Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]
Levels = NDArray[np.int8]

POINTS = 48  # along the longest side of a usual mask
MAX_POINTS = 64
VOXELS = 1.5  # at least from point to point, so that noise is averaged
MAX_MASKS = 200
ROOM = 1.15  # how much larger than a usual mask the grid is
OUTSIDE = -128
STEPS = 127
DIM = 0.12  # of the way from the darkest to the bright end: below is background, or the blurred rim of a mask
BRIGHT = 95.0


@dataclass(frozen=True)
class ImprintGrid:
    """The grid that all imprints of a dataset share.

    Attributes:
        step_mm: distance of its points, the same along every axis.
        shape: number of points along right, anterior, superior.
    """

    step_mm: float
    shape: Shape

    @staticmethod
    def of(dataset: Dataset) -> ImprintGrid:
        """Fit for the dataset's masks; measured on MAX_MASKS of them at most."""
        some = dataset.case_ids[:: 1 + len(dataset.case_ids) // MAX_MASKS]
        usual = np.median([extent_of(dataset.mask(case_id), dataset.spacing_mm) for case_id in some], axis=0)
        voxel = [s for s, n in zip(dataset.spacing_mm, dataset.shape, strict=True) if n > 1] or [1.0]
        step = max(float(usual.max()) / POINTS, VOXELS * float(np.exp(np.mean(np.log(voxel)))))
        i, j, k = (int(min(MAX_POINTS, max(1, np.ceil(ROOM * extent / step)))) for extent in usual)
        return ImprintGrid(step, (i, j, k))


@dataclass(frozen=True, eq=False)
class Imprints:
    """The imprints of one modality.

    Attributes:
        case_ids: those that have the modality.
        levels: (n, *grid.shape) int8, ranks from -127 to 127; -128 where there is nothing to compare.
    """

    modality: str
    case_ids: tuple[str, ...]
    levels: Levels


def extent_of(mask: Mask, spacing_mm: Spacing) -> Spacing:
    """Sides of the box around the mask; 0 where it is empty."""
    sides = []
    for axis, spacing in enumerate(spacing_mm):
        used = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        sides.append(float((used[-1] - used[0] + 1) * spacing) if used.size else 0.0)
    return sides[0], sides[1], sides[2]


def imprints_of(dataset: Dataset, modality: str, grid: ImprintGrid, progress: Progress = silent) -> Imprints:
    """One imprint for each case that has the modality: some 100 kB a case."""
    case_ids = tuple(c for c in dataset.case_ids if modality in dataset.record(c)["modalities"])
    levels = np.full((len(case_ids), *grid.shape), OUTSIDE, np.int8)
    for n, case_id in enumerate(case_ids):
        progress(n, len(case_ids), f"Taking imprints of {modality}")
        levels[n] = imprint(dataset.volume(case_id, modality), dataset.mask(case_id), dataset.spacing_mm, grid)
    return Imprints(modality, case_ids, levels)


def imprint(volume: Array, mask: Mask, spacing_mm: Spacing, grid: ImprintGrid, beside: Array | None = None) -> Levels:
    """(grid.shape) int8 of one image (I, J, K); all OUTSIDE where the mask is empty.

    Args:
        beside: another image of the same grid, at the points of whose imprint this one is taken.
    """
    size = [max(1, min(n, int(grid.step_mm / s))) for s, n in zip(spacing_mm, mask.shape, strict=True)]
    inside = np.asarray(mask, np.float32)
    share = _block_means(inside, size)

    def look(image: Array) -> tuple[Array, Mask]:
        means = np.asarray(_block_means(inside * image, size) / np.maximum(share, 1e-3), np.float32)
        return means, _bright(means, share > 0.5)

    means, body = look(volume)
    around = body if beside is None else look(beside)[1]
    places = _places(around, [s * n for s, n in zip(spacing_mm, size, strict=True)], grid)
    return ranked(_sampled(means, places), _sampled(body.astype(np.float32), places) > 0.5)


def _block_means(data: Array, size: Sequence[int]) -> Array:
    """Means over blocks of so many voxels; what is left over at the high ends is dropped."""
    for axis, n in enumerate(size):
        stop = data.shape[axis] // n * n
        start = [slice(None)] * 3
        total = np.zeros(1, np.float32)
        for first in range(n):
            start[axis] = slice(first, stop, n)
            total = total + data[tuple(start)]
        data = total / np.float32(n)
    return data


def _bright(means: Array, inside: Mask) -> Mask:
    """Where the image is more than background: a mask with a wider rim, or a noisier one, gives the same body."""
    values = means[inside]
    if values.size == 0:
        return inside
    low, high = float(values.min()), float(np.percentile(values, BRIGHT))
    body = inside & (means > low + DIM * (high - low))
    return body if body.any() else inside


def _places(body: Mask, block_mm: Sequence[float], grid: ImprintGrid) -> list[NDArray[np.float64]]:
    """Where the grid's points lie along each axis, in blocks, around the middle of the body."""
    places = []
    for axis, (n, size) in enumerate(zip(grid.shape, block_mm, strict=True)):
        count = body.sum(axis=tuple(other for other in range(3) if other != axis))
        middle = float(np.average(np.arange(len(count)), weights=count)) if count.any() else (len(count) - 1) / 2
        places.append(np.asarray(middle + (np.arange(n) - (n - 1) / 2) * grid.step_mm / size, np.float64))
    return places


def _sampled(data: Array, places: Sequence[NDArray[np.float64]]) -> Array:
    """Linear interpolation at every combination of the places along the three axes; 0 outside."""
    for axis, place in enumerate(places):
        last = data.shape[axis] - 1
        low = np.clip(np.floor(place).astype(int), 0, max(last - 1, 0))
        share = np.clip(place - low, 0, 1).astype(np.float32)
        inside = (place > -0.5) & (place < last + 0.5)
        line = [1, 1, 1]
        line[axis] = len(place)
        first, second = data.take(low, axis=axis), data.take(np.minimum(low + 1, last), axis=axis)
        data = (first + (second - first) * share.reshape(line)) * inside.reshape(line)
    return data.astype(np.float32)


def ranked(values: Array, seen: Mask) -> Levels:
    """Each point's share of darker ones, -127 to 127; equal values share one rank: a cut-off window has many."""
    levels = np.full(values.shape, OUTSIDE, np.int8)
    inside = values[seen]
    if inside.size > 1:
        _, place, count = np.unique(inside, return_inverse=True, return_counts=True)
        middle = (np.cumsum(count) - (count + 1) / 2) / (inside.size - 1)
        levels[seen] = np.rint(STEPS * (2 * middle - 1))[place].astype(np.int8)
    return levels
