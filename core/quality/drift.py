"""Whether numbers of cases belong together: odd ones out, and what a site (or any other group) does to them.

Source:
    Modified z-score: Iglewicz & Hoaglin 1993, How to Detect and Handle Outliers. Shift between two groups and its
    interval: Hodges & Lehmann 1963, doi:10.1214/aoms/1177704172, by the normal approximation of the rank sum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from core.statistics import LEVEL, MIN_CASES

FAR = 3.5  # a modified z-score beyond which a case is odd
PER_MAD, PER_MEAN = 0.6745, 0.7979  # what makes either deviation a standard deviation of a normal distribution


def robust_z(values: Sequence[float]) -> NDArray[np.float64]:
    """How far each value is from the median, in robust standard deviations; all 0 where the values agree."""
    data = np.asarray(values, float)
    away = data - np.median(data)
    middle = float(np.median(np.abs(away)))
    scale = middle / PER_MAD if middle > 0 else float(np.abs(away).mean()) / PER_MEAN
    return np.asarray(away / scale if scale > 0 else np.zeros_like(away))


def odd_ones(values: Mapping[str, float], at_least: float) -> dict[str, float]:
    """Case -> its robust z, for those that are far out and differ from the median by what matters.

    Empty under MIN_CASES cases: then nobody can say what is usual.
    """
    if len(values) < MIN_CASES:
        return {}
    scores = robust_z(list(values.values()))
    middle = float(np.median(list(values.values())))
    return {
        case: float(z)
        for (case, value), z in zip(values.items(), scores, strict=True)
        if abs(z) > FAR and abs(value - middle) > at_least
    }


@dataclass(frozen=True)
class Shift:
    """How much one group lies above the others.

    Attributes:
        by: the median of all differences between a case of the group and one of the others.
        low, high: the 95 % interval; None where either side has under MIN_CASES cases.
        n: cases in the group.
    """

    group: str
    by: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class GroupEffect:
    """What a label explains of a number.

    Attributes:
        eta_squared: share of the differences between cases that lies between the groups.
        by_chance: the share that groups of these sizes would explain on average if they meant nothing.
        shifts: one for each group, in the order of their names.
    """

    eta_squared: float
    by_chance: float
    shifts: tuple[Shift, ...]

    @property
    def largest(self) -> Shift:
        """The group that lies farthest from the others."""
        return max(self.shifts, key=lambda shift: abs(shift.by))


def group_effect(values: Mapping[str, float], groups: Mapping[str, str]) -> GroupEffect | None:
    """What the groups explain of the values; None where fewer than two groups, or no more cases than groups, are left.

    Args:
        values: case -> number.
        groups: case -> its group; cases without one are passed over.
    """
    known = [case for case in values if case in groups]
    names = sorted({groups[case] for case in known})
    if len(names) < 2 or len(known) <= len(names):
        return None
    data = np.array([values[case] for case in known])
    member = np.array([groups[case] for case in known])
    total = float(((data - data.mean()) ** 2).sum())
    between = sum(float((member == g).sum() * (data[member == g].mean() - data.mean()) ** 2) for g in names)
    shifts = tuple(_shift(g, data[member == g], data[member != g]) for g in names)
    return GroupEffect(between / total if total > 0 else 0.0, (len(names) - 1) / (len(known) - 1), shifts)


def _shift(group: str, own: NDArray[np.float64], others: NDArray[np.float64]) -> Shift:
    differences = np.sort((own[:, None] - others[None, :]).ravel())
    by, n, m = float(np.median(differences)), len(own), len(others)
    if min(n, m) < MIN_CASES:
        return Shift(group, by, None, None, n)
    reach = float(norm.ppf((1 + LEVEL) / 2)) * np.sqrt(n * m * (n + m + 1) / 12)
    cut = max(1, int(np.floor(n * m / 2 - reach)))
    return Shift(group, by, float(differences[cut - 1]), float(differences[-cut]), n)
