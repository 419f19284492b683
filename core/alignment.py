"""Whether two images of a case lie on each other: aligned, doubtful or not aligned, with a number."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from core.information import Points, Probe, Scores, sure_error
from core.types import Affine, Volume

NEAR = 3.0  # mm and degrees: where the peak is measured
FAR = 8.0  # mm and degrees: where nothing may be better
RADIUS_MM = 60.0  # at which a turn counts as a shift
ALIGNED_MM, DOUBTFUL_MM = 1.5, 4.0
VOXEL_SHARE = 0.75  # of the coarsest voxel's edge: less cannot be told, and counts as aligned
MIN_PEAK = 1e-3  # how much the score must fall beside the place to call it a peak
CLEAR_SCORE = 1.06  # below it the images tell little of each other, and every difference is held against its error
SURE = 2.0  # standard errors
REACH_MM = 15.0  # how far from the scanner's geometry a faint pair is looked for
MIN_OVERLAP = 0.3
THIN = 3  # so many-th of the points where a clear pair is compared over several mm


@dataclass(frozen=True)
class Check:
    """How well one image lies on another.

    Attributes:
        verdict: "aligned", "doubtful" or "not aligned".
        offset_mm: how far the best place seems to be from the present one (a turn counts at 60 mm).
        score: normalised mutual information here; 1 is none, 2 is the same image.
        overlap: share of the smaller field of view that the two have in common.
        flipped: whether left and right exchanged fit better.
        towards_mm: of a pair that tells little of each other, the shift (R, A, S) to the best place within 15 mm.
        sureness: how much better that place is, in standard errors.
    """

    verdict: str
    offset_mm: float
    score: float
    overlap: float
    flipped: bool
    towards_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    sureness: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain values for a record."""
        rounded = {"offset_mm": round(self.offset_mm, 2), "score": round(self.score, 4)}
        known = {"verdict": self.verdict, **rounded, "overlap": round(self.overlap, 3), "flipped": self.flipped}
        return known if self.score >= CLEAR_SCORE else {**known, "sureness": round(self.sureness, 1)}


def check_alignment(moving: Volume, fixed: Volume) -> Check:
    """How well `moving` lies on `fixed`, as a `Sight` says."""
    return Sight(Probe.of(moving, fixed)).check


@dataclass(frozen=True, eq=False)
class Sight:
    """A look at the score here, a little beside (a parabola tells where the peak is) and far beside.

    Each part is looked at when it is asked for: the verdict costs many times what score and offset cost together.
    """

    probe: Probe

    @cached_property
    def here(self) -> Scores:
        return self.probe.scores()

    @property
    def score(self) -> float:
        return float(self.here[0])

    @property
    def is_clear(self) -> bool:
        """Whether the images share enough for a free search to find its way."""
        return self.score >= CLEAR_SCORE

    @cached_property
    def thin(self) -> Probe:
        return self.probe.thinned(THIN)

    @cached_property
    def offset_mm(self) -> float:
        """How far the best place seems to be from the present one, as in `Check`, by a third of the points."""
        if not self.is_clear or self.probe.overlap < MIN_OVERLAP:
            return self.check.offset_mm
        return _beside_mm(_around(self.thin, NEAR), float(self.thin.scores()[0]))

    @cached_property
    def check(self) -> Check:
        """The verdict.

        Where two images tell little of each other, the best place near the scanner's geometry is searched for, and
        the verdict says "aligned" or "not aligned" only where the difference stands out from its own error. Where
        they tell much, a third of the points is enough to see that no place far beside is better.

        Source:
            The thresholds are measured: docs/decisions.md.
        """
        probe = self.probe
        if probe.overlap < MIN_OVERLAP:
            return Check("not aligned", FAR, self.score, probe.overlap, False)
        wide = self.thin if self.is_clear else probe
        near, far, there = _around(probe, NEAR), _around(wide, FAR), float(wide.scores()[0])
        peak = float(self.score - near[:3, :, 0].mean())
        flipped = _best_mirrored(wide) > there - max(MIN_PEAK, peak)  # may be so: then by all points
        flipped = flipped and _best_mirrored(probe) > self.score + max(MIN_PEAK, 0.25 * peak)
        found = Check("doubtful", _beside_mm(near, self.score), self.score, probe.overlap, flipped)
        tolerance = max(ALIGNED_MM, VOXEL_SHARE * probe.edge_mm)
        if max(self.score, near[..., 0].max(), far[..., 0].max()) < CLEAR_SCORE:
            return _of_faint(probe, found, self.here, far, tolerance)
        if far[..., 0].max() > there or found.offset_mm > DOUBTFUL_MM:
            return replace(found, verdict="not aligned")
        is_aligned = not flipped and found.offset_mm <= tolerance and peak >= MIN_PEAK
        return replace(found, verdict="aligned" if is_aligned else "doubtful")


def _beside_mm(near: NDArray[np.float64], score: float) -> float:
    """How far the tops of the parabolas through the scores here and NEAR beside lie from here."""
    reach = [1.0, 1.0, 1.0, *[float(np.radians(RADIUS_MM))] * 3]
    tops = [mm * _vertex(less[0], score, more[0]) for mm, (less, more) in zip(reach, near, strict=True)]
    return float(np.linalg.norm(tops))


def _of_faint(probe: Probe, found: Check, here: Scores, far: NDArray[np.float64], tolerance: float) -> Check:
    """The verdict where every difference between places is small."""
    towards = best_shift(probe)
    gain = probe.scores(_shift(towards)) - here
    sureness = float(gain[0] / max(float(sure_error(gain)), 1e-9))
    distance = float(np.linalg.norm(towards))
    fall = here - far  # towards each far place: (axes, sides, 1 + BLOCKS)
    along = fall.mean(axis=1)
    is_peak = bool((fall[..., 0] > 0).all() and (along[:, 0] > SURE * sure_error(along)).all())
    is_beaten = bool((fall[..., 0] < -SURE * sure_error(fall)).any())
    verdict = "doubtful"
    if is_beaten or (distance > tolerance and sureness >= SURE):
        verdict = "not aligned"
    elif distance <= tolerance and is_peak and not found.flipped:
        verdict = "aligned"
    return replace(found, verdict=verdict, offset_mm=distance, towards_mm=towards, sureness=sureness)


def best_shift(probe: Probe) -> tuple[float, float, float]:
    """The shift (R, A, S) in mm, at most 15 along each axis, at which the images tell most of each other.

    Source:
        Powell 1964, An efficient method for finding the minimum of a function of several variables, Computer J. 7(2).
    """
    found = optimize.minimize(
        lambda shift: -probe.scores(_shift(shift))[0],
        np.zeros(3),
        method="Powell",
        bounds=[(-REACH_MM, REACH_MM)] * 3,
        options={"xtol": 0.05, "ftol": 1e-6, "maxfev": 300},
    )
    right, front, up = (float(value) for value in found.x)
    return right, front, up


def _shift(by_mm: Any) -> Affine:
    matrix = np.eye(4)
    matrix[:3, 3] = by_mm
    return matrix


def _vertex(less: float, here: float, more: float) -> float:
    """Where the parabola through three scores at -NEAR, 0, NEAR has its top; at most 2 NEAR away."""
    curve = 2 * here - less - more
    if curve <= 0:
        return 2 * NEAR if more > less else -2 * NEAR
    return float(np.clip(NEAR * (more - less) / (2 * curve), -2 * NEAR, 2 * NEAR))


def _around(probe: Probe, by: float) -> NDArray[np.float64]:
    """(axes, sides, 1 + BLOCKS) scores with the moving image nudged by so much along and about each axis."""
    return np.array([[_beside(probe, axis, sign * by) for sign in (-1, 1)] for axis in range(6)])


def _beside(probe: Probe, axis: int, amount: float) -> Scores:
    """The scores with the moving image shifted along (axes 0-2, mm) or turned about (3-5, degrees) one axis."""
    return probe.scores(_nudge(axis, amount, probe.centre))


def _nudge(axis: int, amount: float, centre: Points) -> Affine:
    """A shift, or a turn about an axis through the centre."""
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


def _best_mirrored(probe: Probe) -> float:
    """The best score with left and right exchanged, over small shifts to the side."""
    mirror = np.diag([-1.0, 1.0, 1.0, 1.0])
    mirror[0, 3] = 2 * probe.centre[0]
    shifts = np.arange(-9.0, 10.0, 3.0)
    return max(float(probe.scores(_nudge(0, shift, probe.centre) @ mirror)[0]) for shift in shifts)
