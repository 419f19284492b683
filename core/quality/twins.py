"""Twins: images of two cases that are too alike to be of two people, whatever was done to one of them.

Copies survive noise, another window, a shift, a mirror, another resolution. What is compared is the pattern that two
people do not share: ranks of brightness without their slow drift, in which the common anatomy lies. Both images are
compared as they lie, then the likeliest pairs at the best place of all shifts, mirrored and not.
The limits are measured: docs/decisions.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from core.dataset import Dataset
from core.progress import Progress, part, silent
from core.quality.imprints import OUTSIDE, ImprintGrid, Imprints, Levels, Mask, Shape, imprints_of
from core.types import Array

BAND = 1.5  # points: what varies more slowly than this is left out
COARSE_BAND = 2.0  # the same on the grid of half the resolution
BLOCK = 128  # imprints that are compared at once: 60 MB a block
ENOUGH = 1000  # cases over whose pairs the usual likeness is told
NEAREST = 2  # others that each case is looked at more closely with
ALL_UP_TO = 12  # so few cases that every pair is looked at
MARGIN = 0.7  # on Fisher's scale: how far above the usual likeness of two cases a pair must be
BY_CHANCE = 6.0  # standard deviations of that scale, where an image has few points to compare
LIMITS = (0.70, 0.85)  # between which that limit is kept, however few or alike the cases are
MIN_OVERLAP = 0.5


@dataclass(frozen=True)
class Twin:
    """Two cases whose images are too alike.

    Attributes:
        likeness: correlation of the patterns at the best place; 1 is the same image.
        usual: the median of it over all pairs of the same modality, as they lie.
        limit: from which on a pair is named.
        is_mirrored: whether one fits with left and right exchanged.
    """

    first: str
    second: str
    modality: str
    likeness: float
    usual: float
    limit: float
    is_mirrored: bool


def twins_of(dataset: Dataset, progress: Progress = silent) -> list[Twin]:
    """Every pair of a dataset's cases that are too alike in a modality, most alike first.

    One imprint is taken of each image; memory is one modality's imprints (120 kB a case) and one number a pair.
    """
    grid = ImprintGrid.of(dataset)
    twins: list[Twin] = []
    share = 1 / len(dataset.modalities)
    for n, modality in enumerate(dataset.modalities):
        imprints = imprints_of(dataset, modality, grid, part(progress, n * share, (n + 0.5) * share))
        twins += find_twins(imprints, part(progress, (n + 0.5) * share, (n + 1) * share))
    return sorted(twins, key=lambda twin: -twin.likeness)


def find_twins(imprints: Imprints, progress: Progress = silent) -> list[Twin]:
    """Every pair of cases whose images of one modality are too alike, most alike first."""
    n = len(imprints.case_ids)
    if n < 2:
        return []
    lying = _lying(imprints.levels)
    some = lying[:: 1 + n // ENOUGH, :: 1 + n // ENOUGH]
    usual = float(np.median(some[np.triu_indices(len(some), 1)]))
    limit = _limit(usual, imprints.levels)
    finder = Finder(imprints.levels)
    twins = []
    pairs = _likeliest(lying)
    for done, (a, b) in enumerate(pairs):
        progress(done, len(pairs), f"Comparing {imprints.modality}")
        likeness, is_mirrored = finder.best(a, b)
        if likeness >= limit:
            first, second = sorted((imprints.case_ids[a], imprints.case_ids[b]))
            twins.append(Twin(first, second, imprints.modality, likeness, usual, limit, is_mirrored))
    return sorted(twins, key=lambda twin: -twin.likeness)


def _limit(usual: float, levels: Levels) -> float:
    """From which likeness on two cases are named: well above the usual, and above what few points give by chance."""
    n_axes = sum(size > 1 for size in levels.shape[1:])
    points = float(np.median([(one != OUTSIDE).sum() for one in levels]))
    independent = max(1.0, points / (2 * BAND) ** n_axes)
    margin = max(MARGIN, BY_CHANCE / float(np.sqrt(independent)))
    low, high = LIMITS
    aimed = np.tanh(np.arctanh(np.clip(usual, -0.9, 0.9)) + margin)
    return float(np.clip(aimed, low, max(high, np.tanh(margin))))


def _lying(levels: Levels) -> NDArray[np.float32]:
    """(n, n): how alike the patterns are as they lie, or with one of them mirrored."""
    n = len(levels)
    result = np.eye(n, dtype=np.float32)
    blocks = [slice(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK)]
    for row in blocks:
        straight = _unit_patterns(levels[row])
        mirrored = straight[:, ::-1].reshape(len(straight), -1)
        flat = straight.reshape(len(straight), -1)
        for column in (block for block in blocks if block.start >= row.start):
            others = flat if column == row else _unit_patterns(levels[column]).reshape(column.stop - column.start, -1)
            alike = np.maximum(flat @ others.T, mirrored @ others.T)
            result[row, column] = alike
            result[column, row] = alike.T
    return result


def _likeliest(lying: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Pairs worth a closer look: every case with those that it is most like."""
    n = len(lying)
    if n <= ALL_UP_TO:
        return [(a, b) for a in range(n) for b in range(a + 1, n)]
    others = lying - 2 * np.eye(n, dtype=np.float32)
    nearest = np.argpartition(-others, NEAREST, axis=1)[:, :NEAREST]
    return sorted({(min(a, int(b)), max(a, int(b))) for a in range(n) for b in nearest[a]})


def _unit_patterns(levels: Levels) -> Array:
    """(n, *shape) of length 1 each."""
    patterns = np.stack([pattern_of(one, BAND)[0] for one in levels])
    length = np.sqrt((patterns**2).sum(axis=(1, 2, 3), keepdims=True))
    return np.asarray(patterns / np.maximum(length, 1e-6))


def pattern_of(levels: Levels | Array, band: float) -> tuple[Array, Mask]:
    """What stands out from its surroundings (mean 0 where there is something, 0 elsewhere), and where something is."""
    seen = levels != OUTSIDE
    values = np.where(seen, levels, 0).astype(np.float32)
    sigma = [band if n > 1 else 0.0 for n in levels.shape]
    weight = ndimage.gaussian_filter(seen.astype(np.float32), sigma, truncate=2.5)
    smooth = ndimage.gaussian_filter(values, sigma, truncate=2.5) / np.maximum(weight, 1e-3)
    pattern = np.where(seen, values - smooth, np.float32(0))
    pattern[seen] -= pattern[seen].mean() if seen.any() else 0
    return pattern, seen


def _halved(levels: Levels) -> Array:
    """Every second point, smoothed; OUTSIDE where there is little to smooth."""
    seen = levels != OUTSIDE
    sigma = [1.0 if n > 1 else 0.0 for n in levels.shape]
    weight = ndimage.gaussian_filter(seen.astype(np.float32), sigma, truncate=2.5)
    smooth = ndimage.gaussian_filter(np.where(seen, levels, 0).astype(np.float32), sigma, truncate=2.5)
    half = np.where(weight > 0.6, smooth / np.maximum(weight, 1e-3), np.float32(OUTSIDE))
    return half[tuple(slice(None, None, 2) for _ in range(3))]


class Finder:
    """The best place of one imprint on another: coarsely over all shifts, then finely around the best of them."""

    def __init__(self, levels: Levels) -> None:
        self.levels = levels
        self._fine = lru_cache(64)(self._fine)  # type: ignore[method-assign]
        self._coarse = lru_cache(256)(self._coarse)  # type: ignore[method-assign]
        half = [(n + 1) // 2 for n in levels.shape[1:]]
        self.room = [int(fft.next_fast_len(2 * n - 1, real=True)) for n in half]

    def best(self, a: int, b: int) -> tuple[float, bool]:
        """The greatest likeness of two imprints, and whether the second was mirrored for it."""
        found = [(*self._place(a, b, is_mirrored), is_mirrored) for is_mirrored in (False, True)]
        _, place, is_mirrored = max(found)
        fine = max(self._climb(a, b, is_mirrored, start) for start in {place, (0, 0, 0)})
        return fine, is_mirrored

    def _fine(self, n: int) -> tuple[Array, Mask]:
        return pattern_of(self.levels[n], BAND)

    def _coarse(self, n: int) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
        """Spectra of the coarse pattern, as it is and mirrored."""
        pattern, _ = pattern_of(_halved(self.levels[n]), COARSE_BAND)
        pattern /= max(float(np.linalg.norm(pattern)), 1e-6)
        return fft.rfftn(pattern, self.room), fft.rfftn(pattern[::-1], self.room)

    def _place(self, a: int, b: int, is_mirrored: bool) -> tuple[float, Shape]:
        """How alike the coarse patterns are at their best place, and that place in points of the fine grid."""
        alike = fft.irfftn(self._coarse(a)[0] * self._coarse(b)[int(is_mirrored)].conj(), self.room)
        at = np.unravel_index(int(alike.argmax()), alike.shape)
        shift = [int(n if n <= room // 2 else n - room) for n, room in zip(at, self.room, strict=True)]
        return float(alike[at]), (2 * shift[0], 2 * shift[1], 2 * shift[2])

    def _climb(self, a: int, b: int, is_mirrored: bool, start: Shape) -> float:
        """The likeness at the top of the hill on which `start` lies."""
        own, (pattern, seen) = self._fine(a), self._fine(b)
        other = (pattern[::-1], seen[::-1]) if is_mirrored else (pattern, seen)
        known = {start: _likeness(own, other, start)}
        here = start
        while True:
            for beside in _beside(here):
                known.setdefault(beside, _likeness(own, other, beside))
            best = max(known, key=known.__getitem__)
            if best == here:
                return known[here]
            here = best


def _beside(place: Shape) -> Iterator[Shape]:
    for axis in range(3):
        for step in (-1, 1):
            i, j, k = (n + (step if axis == other else 0) for other, n in enumerate(place))
            yield i, j, k


def _likeness(own: tuple[Array, Mask], other: tuple[Array, Mask], shift: Shape) -> float:
    """Correlation where both are, the other one shifted by so many points."""
    here = tuple(slice(max(0, d), max(0, n + min(0, d))) for d, n in zip(shift, own[0].shape, strict=True))
    there = tuple(slice(max(0, -d), max(0, n - max(0, d))) for d, n in zip(shift, own[0].shape, strict=True))
    (a, seen_a), (b, seen_b) = (own[0][here], own[1][here]), (other[0][there], other[1][there])
    both = seen_a & seen_b
    if both.sum() < MIN_OVERLAP * min(own[1].sum(), other[1].sum()) or not both.any():
        return -1.0
    x, y = a[both], b[both]
    return float(x @ y / np.sqrt(max(float(x @ x) * float(y @ y), 1e-6)))
