"""Whether two images of a case lie on each other: aligned, doubtful or not aligned, with a number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.types import Affine, Volume

BINS = 32
POINTS = 30_000
NEAR = 3.0  # mm and degrees: where the peak is measured
FAR = 8.0  # mm and degrees: where nothing may be better
RADIUS_MM = 60.0  # at which a turn counts as a shift
ALIGNED_MM, DOUBTFUL_MM = 1.5, 4.0
MIN_PEAK = 1e-3  # how much the score must fall beside the place to call it a peak
MIN_SCORE = 1.06  # below it the images tell too little of each other for a verdict
MIN_OVERLAP = 0.3
Points = NDArray[np.float64]


@dataclass(frozen=True)
class Check:
    """How well one image lies on another.

    Attributes:
        verdict: "aligned", "doubtful" or "not aligned".
        offset_mm: how far the best place seems to be from the present one (a turn counts at 60 mm).
        score: normalised mutual information here; 1 is none, 2 is the same image.
        overlap: share of the reference's foreground that the image covers.
        flipped: whether left and right exchanged fit better.
    """

    verdict: str
    offset_mm: float
    score: float
    overlap: float
    flipped: bool

    @property
    def is_telling(self) -> bool:
        """Whether the images share enough for a search to find its way."""
        return self.score >= MIN_SCORE

    def to_json(self) -> dict[str, Any]:
        """Plain values for a record."""
        rounded = {"offset_mm": round(self.offset_mm, 2), "score": round(self.score, 4)}
        return {"verdict": self.verdict, **rounded, "overlap": round(self.overlap, 3), "flipped": self.flipped}


def check_alignment(moving: Volume, fixed: Volume) -> Check:
    """Look at the score here, a little beside (a parabola tells where the peak is) and far beside.

    The score is normalised mutual information over points of the fixed image's foreground.

    Source:
        Studholme, Hill & Hawkes 1999, An overlap invariant entropy measure of 3D medical image alignment, Pattern
        Recognition 32(1). The thresholds are measured: docs/decisions.md.
    """
    probe = _Probe.of(moving, fixed)
    here, overlap = probe.score(np.eye(4))
    if overlap < MIN_OVERLAP:
        return Check("not aligned", FAR, here, overlap, False)
    near, far = ([[probe.beside(axis, sign * by) for sign in (-1, 1)] for axis in range(6)] for by in (NEAR, FAR))
    reach = [1.0, 1.0, 1.0, *[float(np.radians(RADIUS_MM))] * 3]
    offsets = [scale * _vertex(less, here, more) for scale, (less, more) in zip(reach, near, strict=True)]
    offset = float(np.linalg.norm(offsets))
    peak = here - float(np.mean(near[:3]))
    flipped = probe.best_mirrored() > here + max(MIN_PEAK, 0.25 * peak)
    best_beside = float(np.max(far))
    if max(here, best_beside, float(np.max(near))) < MIN_SCORE:
        verdict = "doubtful"
    elif best_beside > here or offset > DOUBTFUL_MM:
        verdict = "not aligned"
    else:
        verdict = "doubtful" if flipped or offset > ALIGNED_MM or peak < MIN_PEAK else "aligned"
    return Check(verdict, offset, here, overlap, flipped)


def _vertex(less: float, here: float, more: float) -> float:
    """Where the parabola through three scores at -NEAR, 0, NEAR has its top; at most 2 NEAR away."""
    curve = 2 * here - less - more
    if curve <= 0:
        return 2 * NEAR if more > less else -2 * NEAR
    return float(np.clip(NEAR * (more - less) / (2 * curve), -2 * NEAR, 2 * NEAR))


def _nudge(axis: int, amount: float, centre: Points) -> Affine:
    """A shift along (axes 0-2, mm) or a turn about (3-5, degrees) one axis through the centre."""
    matrix = np.eye(4)
    if axis < 3:
        matrix[axis, 3] = amount
        return matrix
    first, second = [n for n in range(3) if n != axis - 3]
    cosine, sine = np.cos(np.radians(amount)), np.sin(np.radians(amount))
    matrix[first, first] = matrix[second, second] = cosine
    matrix[first, second], matrix[second, first] = -sine, sine
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre
    return matrix


@dataclass(frozen=True, eq=False)
class _Probe:
    """Points of the fixed image (N, 4) in mm with their bins, and the moving image to look up."""

    points: Points
    bins: NDArray[np.int64]
    moving: NDArray[np.float32]
    to_index: Affine
    centre: Points

    @staticmethod
    def of(moving: Volume, fixed: Volume) -> _Probe:
        index = _foreground(fixed)
        values = fixed.data[tuple(index.T)]
        points = np.column_stack([index, np.ones(len(index))]) @ fixed.affine.T
        sigma = [0.0 if size < 8 else 0.7 for size in moving.data.shape]
        smooth = ndimage.gaussian_filter(moving.data, sigma, output=np.float32)
        to_index = np.asarray(np.linalg.inv(moving.affine), np.float64)
        centre = np.asarray(points[:, :3].mean(axis=0), np.float64)
        return _Probe(points, _binned(values), smooth, to_index, centre)

    def score(self, place: Affine) -> tuple[float, float]:
        """Normalised mutual information with the moving image moved by `place`, and the share of points in it."""
        at = (self.points @ (self.to_index @ np.linalg.inv(place)).T)[:, :3]
        last = np.array(self.moving.shape) - 1
        inside = ((at >= -0.5) & (at <= last + 0.5)).all(axis=1)
        if inside.sum() < 500:
            return 1.0, float(inside.mean())
        values = ndimage.map_coordinates(self.moving, at[inside].T, order=1, mode="nearest", prefilter=False)
        return _normalised_information(self.bins[inside], _binned(values)), float(inside.mean())

    def beside(self, axis: int, amount: float) -> float:
        """The score with the moving image nudged."""
        return self.score(_nudge(axis, amount, self.centre))[0]

    def best_mirrored(self) -> float:
        """The best score with left and right exchanged, over small shifts to the side."""
        mirror = np.diag([-1.0, 1.0, 1.0, 1.0])
        mirror[0, 3] = 2 * self.centre[0]
        return max(self.score(_nudge(0, shift, self.centre) @ mirror)[0] for shift in np.arange(-9.0, 10.0, 3.0))


def _foreground(fixed: Volume) -> NDArray[np.int64]:
    """(n, 3) voxels spread evenly over the box around what is not background."""
    low = np.percentile(fixed.data, 1)
    threshold = low + 0.1 * (np.percentile(fixed.data, 99) - low)
    boxes = ndimage.find_objects((fixed.data > threshold).astype(np.int8))
    box = boxes[0] if boxes and boxes[0] is not None else tuple(slice(0, n) for n in fixed.data.shape)
    sizes = np.array([part.stop - part.start for part in box])
    n = int(min(POINTS, np.prod(sizes)))
    rng = np.random.default_rng(0)
    return np.column_stack([rng.integers(part.start, part.stop, n) for part in box])


def _binned(values: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    low, high = np.percentile(values, [0.5, 99.5])
    scaled = (values - low) / max(float(high - low), 1e-12) * BINS
    return np.asarray(np.clip(scaled, 0, BINS - 1), np.int64)


def _normalised_information(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    joint = np.bincount(a * BINS + b, minlength=BINS * BINS).reshape(BINS, BINS) / len(a)
    together = _entropy(joint.ravel())
    return (_entropy(joint.sum(axis=0)) + _entropy(joint.sum(axis=1))) / together if together > 0 else 2.0


def _entropy(shares: NDArray[np.float64]) -> float:
    positive = shares[shares > 0]
    return float(-(positive * np.log(positive)).sum())
