"""How much two images tell of each other at a place: normalised mutual information, and how sure that figure is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.boxes import Box, box_of
from core.types import Affine, Array, Volume

BINS = 12  # of equal population: few, so that a faint dependence is not drowned by noise in empty cells
POINTS, LEAST_POINTS = 30_000, 3_000
BLOCKS = 8  # octants of the place; each is left out once to see what hangs on it
MARGINS_MM = (8.0, 3.0, 0.0)  # the points lie so far inside the moving image that no probing loses one
WIDTH = 0.5  # of the coarser voxel: standard deviation of the smoothing that both images get
CUT = 3.0  # standard deviations at which the smoothing ends
SECTOR = "US"  # an image whose black surroundings move with it and would hide all else
Points = NDArray[np.float64]
Scores = NDArray[np.float64]  # (1 + BLOCKS,): of all points, then without each block
HERE: Affine = np.eye(4)


def sure_error(scores: Scores) -> NDArray[np.float64]:
    """Standard error of a figure (..., 1 + BLOCKS) by the block jackknife.

    Source:
        Künsch 1989, The jackknife and the bootstrap for general stationary observations, Annals of Statistics 17(3).
    """
    without = scores[..., 1:]
    apart = without - without.mean(axis=-1, keepdims=True)
    return np.asarray(np.sqrt((BLOCKS - 1) / BLOCKS * (apart**2).sum(axis=-1)))


@dataclass(frozen=True, eq=False)
class Probe:
    """Points of the fixed image in mm (N, 4) with their bins and blocks, and the moving image to look up.

    The points lie off every grid, or shifts by whole voxels would score unlike others (Thévenaz et al. 2008, Halton
    sampling for image registration based on mutual information, IEEE TIP 17(7)). Both images are smoothed to the
    coarser of their resolutions.

    Attributes:
        overlap: share of the smaller field of view that the two have in common.
        edge_mm: the edge of the coarsest voxel of the two.
    """

    points: Points
    bins: NDArray[np.int64]
    blocks: NDArray[np.int64]
    moving: Array
    edges: NDArray[np.float64]
    to_index: Affine
    centre: Points
    overlap: float
    edge_mm: float

    @staticmethod
    def of(moving: Volume, fixed: Volume) -> Probe:
        """Points spread over the fixed image's foreground, inside the moving image."""
        return Probe.of_smooth(moving, _smooth(moving, _coarser(moving, fixed)), fixed)

    @staticmethod
    def of_smooth(moving: Volume, smooth: Array, fixed: Volume) -> Probe:
        """The same where an earlier probe has smoothed the moving image, before it came to another place."""
        box, cut = _foreground(fixed, tuple(np.round(_coarser(moving, fixed), 3).tolist()))
        spread = _spread(box)
        points = np.column_stack([spread, np.ones(len(spread))]) @ fixed.affine.T
        to_index = np.asarray(np.linalg.inv(moving.affine), np.float64)
        kept, overlap = _inside(points, moving, to_index, fixed)
        values = _looked_up(cut, spread[kept] - [part.start for part in box])
        points = points[kept]
        around = points[:, :3] - np.median(points[:, :3], axis=0) if len(points) else points[:, :3]
        blocks = (around > 0) @ np.array([1, 2, 4])
        there = _looked_up(smooth, (points @ to_index.T)[:, :3])
        centre = points[:, :3].mean(axis=0) if len(points) else np.zeros(3)
        bins = np.searchsorted(_edges(values), values, "right")
        edge_mm = max(_edge_mm(moving), _edge_mm(fixed))
        return Probe(points, bins, blocks, smooth, _edges(there), to_index, centre, overlap, edge_mm)

    def thinned(self, step: int) -> Probe:
        """With every so many-th point only, where enough are left to tell places apart that are far from each other."""
        kept = slice(None, None, step if len(self.points) >= step * LEAST_POINTS else 1)
        return replace(self, points=self.points[kept], bins=self.bins[kept], blocks=self.blocks[kept])

    def scores(self, place: Affine = HERE) -> Scores:
        """Normalised mutual information with the moving image moved by `place`: of all points, and without each block.

        1 is none, 2 is the same image.

        Source:
            Studholme, Hill & Hawkes 1999, An overlap invariant entropy measure of 3D medical image alignment, Pattern
            Recognition 32(1).
        """
        at = (self.points @ (self.to_index @ np.linalg.inv(place)).T)[:, :3]
        last = np.array(self.moving.shape) - 1
        inside = ((at >= -0.5) & (at <= last + 0.5)).all(axis=1)
        if inside.sum() < LEAST_POINTS / 6:
            return np.ones(1 + BLOCKS)
        there = np.searchsorted(self.edges, _looked_up(self.moving, at[inside]), "right")
        cells = (self.blocks[inside] * BINS + self.bins[inside]) * BINS + there
        parts = np.bincount(cells, minlength=BLOCKS * BINS * BINS).reshape(BLOCKS, BINS, BINS)
        together = parts.sum(axis=0)
        return np.array(
            [normalised_information(together), *(normalised_information(together - part) for part in parts)]
        )


def _coarser(moving: Volume, fixed: Volume) -> NDArray[np.float64]:
    return np.maximum(moving.spacing_mm, fixed.spacing_mm)


def _edge_mm(volume: Volume) -> float:
    """The coarsest voxel's edge along an axis of several voxels."""
    return max((mm for mm, n in zip(volume.spacing_mm, volume.data.shape, strict=True) if n > 1), default=0.0)


@lru_cache(1)  # all images of a case are held against one; costs the memory of that image until the next
def _foreground(fixed: Volume, coarser: tuple[float, ...]) -> tuple[Box, Array]:
    """The box around what is not background, and the image in it, smoothed."""
    low, high = np.percentile(fixed.data, [1, 99])
    threshold = low + 0.1 * (high - low)
    box = box_of(fixed.data > threshold)
    return box, _smooth(fixed.with_data(fixed.data[box]), np.asarray(coarser))


def _spread(box: Box) -> Points:
    """(n, 3) voxel indices, fractions and all, in random order over a box."""
    low = np.array([part.start for part in box], float)
    high = np.array([part.stop - 1 for part in box], float)
    return np.asarray(low + np.random.default_rng(0).random((4 * POINTS, 3)) * (high - low))


def _inside(points: Points, moving: Volume, to_index: Affine, fixed: Volume) -> tuple[NDArray[np.int64], float]:
    """Which points to take, and how much of the smaller field of view the two images share."""
    at = (points @ to_index.T)[:, :3]
    last, spacing = np.array(moving.data.shape) - 1, np.array(moving.spacing_mm)
    covered = ((at >= -0.5) & (at <= last + 0.5)).all(axis=1)
    overlap = max(float(covered.mean()), _share_of(moving, fixed))
    depth = _depth_in_sector(moving, at) if moving.modality.startswith(SECTOR) else None
    kept = covered
    for margin in MARGINS_MM:
        edge = np.where(last > 0, margin / spacing, -0.5)
        kept = ((at >= edge) & (at <= last - edge)).all(axis=1)
        kept &= covered if depth is None else depth > margin
        if kept.sum() >= LEAST_POINTS:
            break
    return np.flatnonzero(kept)[:POINTS], overlap


def _share_of(moving: Volume, fixed: Volume) -> float:
    """How much of the moving image's field of view lies within the fixed one's."""
    index = np.random.default_rng(1).random((2000, 3)) * (np.array(moving.data.shape) - 1)
    points = np.column_stack([index, np.ones(len(index))]) @ (np.linalg.inv(fixed.affine) @ moving.affine).T
    last = np.array(fixed.data.shape) - 1
    return float(((points[:, :3] >= -0.5) & (points[:, :3] <= last + 0.5)).all(axis=1).mean())


def _depth_in_sector(moving: Volume, at: Points) -> NDArray[np.float64]:
    """How deep in the sector each place of the moving image lies, in mm; 0 outside."""
    size = [3 if n > 8 else 1 for n in moving.data.shape]
    lit = ndimage.binary_closing(np.pad(moving.data > moving.data.min(), 4), np.ones(size), 2)
    depth = ndimage.distance_transform_edt(lit, sampling=moving.spacing_mm)[4:-4, 4:-4, 4:-4]
    return _looked_up(np.asarray(depth, np.float32), at)


def _smooth(volume: Volume, coarser: NDArray[np.float64]) -> Array:
    sigma = [
        WIDTH * mm / own if n >= 8 else 0.0
        for mm, own, n in zip(coarser, volume.spacing_mm, volume.data.shape, strict=True)
    ]
    return np.asarray(ndimage.gaussian_filter(volume.data, sigma, truncate=CUT, output=np.float32))


def _looked_up(data: Array, at: Points) -> NDArray[Any]:
    return np.asarray(ndimage.map_coordinates(data, at.T, order=1, mode="nearest", prefilter=False))


def _edges(values: NDArray[Any]) -> NDArray[np.float64]:
    """Between bins of equal population; where many values are equal, there are fewer bins."""
    return np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1])) if len(values) else np.zeros(0)


def normalised_information(counts: NDArray[np.int64]) -> float:
    """Normalised mutual information of a joint histogram: 1 is none, 2 is that each tells all of the other."""
    shares = counts / max(counts.sum(), 1)
    together = _entropy(shares.ravel())
    return (_entropy(shares.sum(axis=0)) + _entropy(shares.sum(axis=1))) / together if together > 0 else 2.0


def _entropy(shares: NDArray[np.float64]) -> float:
    positive = shares[shares > 0]
    return float(-(positive * np.log(positive)).sum())
