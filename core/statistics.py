"""Intervals over cases. The case is the unit: a voxel or a slice is never an independent sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

MIN_CASES = 6  # below, an interval says more of the method than of the data: show the cases
N_RESAMPLES = 9999
LEVEL = 0.95
TIE = 1e-12  # a resample of every case once has the very mean, but for rounding


@dataclass(frozen=True)
class Interval:
    """A mean over cases; `low` and `high` are None under MIN_CASES cases."""

    mean: float
    low: float | None
    high: float | None
    n: int


def mean_interval(values: Sequence[float], seed: int = 0) -> Interval:
    """Mean with its 95 % BCa bootstrap interval over cases.

    Source:
        Efron 1987, doi:10.1080/01621459.1987.10478410 (bias-corrected and accelerated).
    """
    data = np.asarray(values, float)
    n, mean = len(data), float(data.mean())
    if n < MIN_CASES or not np.isfinite(data).all():
        return Interval(mean, None, None, n)
    spread = float(np.ptp(data))
    if spread == 0:
        return Interval(mean, mean, mean, n)
    unit = (data - mean) / spread
    means = _resampling(n, seed) @ unit
    bias = norm.ppf(((means < -TIE).mean() + (means <= TIE).mean()) / 2)
    z = bias + norm.ppf([(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    levels = norm.cdf(bias + z / (1 - _acceleration(unit) * z))
    low, high = mean + spread * np.quantile(means, levels)
    return Interval(mean, float(low), float(high), n)


def _acceleration(data: NDArray[np.float64]) -> float:
    """From the jackknife: a third of the skewness of the leave-one-out means, over the root of n."""
    left_out = (data.sum() - data) / (len(data) - 1)
    influence = left_out.mean() - left_out
    return float((influence**3).sum() / (6 * (influence**2).sum() ** 1.5))


@lru_cache(maxsize=8)
def _resampling(n: int, seed: int) -> NDArray[np.float64]:
    """(N_RESAMPLES, n): how often each case is drawn, over n; the same draws for every column of a table."""
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=N_RESAMPLES) / n
