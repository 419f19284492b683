"""Intervals and tests over cases. The case is the unit: a voxel or a slice is never an independent sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, norm, rankdata, wilcoxon

MIN_CASES = 6  # below, an interval says more of the method than of the data: show the cases
MIN_TEST_CASES = 9  # below, hardly any difference could pass a test that several rivals share
SIGNIFICANT = 0.05
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


def exact_interval(n_true: int, n: int) -> tuple[float, float]:
    """95 % interval of a share, from how many of n cases it holds for.

    Source:
        Clopper and Pearson 1934, doi:10.1093/biomet/26.4.404.
    """
    tail = (1 - LEVEL) / 2
    low = float(beta.ppf(tail, n_true, n - n_true + 1)) if n_true > 0 else 0.0
    high = float(beta.ppf(1 - tail, n_true + 1, n - n_true)) if n_true < n else 1.0
    return low, high


def auroc(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """Chance that a positive scores above a negative, ties half; NaN where one kind is lacking.

    Source:
        Hanley and McNeil 1982, doi:10.1148/radiology.143.1.7063747.
    """
    n_pos, n_neg = int(positive.sum()), int((~positive).sum())
    if not n_pos or not n_neg:
        return float("nan")
    order = np.sort(scores[~positive])
    below, upto = (np.searchsorted(order, scores[positive], side=side) for side in ("left", "right"))
    return float((below + upto).sum() / (2 * n_pos * n_neg))


def spread(values: Sequence[float]) -> tuple[float, tuple[float, float, float]]:
    """Standard deviation over cases (0 for one), and the 25th, 50th and 75th percentile."""
    low, middle, high = (float(q) for q in np.percentile(values, [25, 50, 75]))
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0, (low, middle, high)


@dataclass(frozen=True)
class Difference:
    """One against another, case by case; above 0 where the first has more.

    Attributes:
        mean: of the differences, with its interval over cases.
        effect: matched-pairs rank-biserial correlation, -1 to 1: 1 where the first has more in every case.
        p: of the paired Wilcoxon signed-rank test; None under MIN_TEST_CASES cases.
        p_holm: the same, corrected for all that were compared at once.
    """

    mean: Interval
    effect: float
    p: float | None
    p_holm: float | None = None

    @property
    def n(self) -> int:
        return self.mean.n


def paired_difference(first: Mapping[str, float], second: Mapping[str, float]) -> Difference:
    """Of the cases that both have; at least one.

    Source:
        Wilcoxon 1945, doi:10.2307/3001968; rank-biserial correlation, Kerby 2014, doi:10.2466/11.IT.3.1.
    """
    common = sorted(set(first) & set(second))
    apart = np.array([first[case] - second[case] for case in common], float)
    told = apart[apart != 0]
    ranks = rankdata(np.abs(told))
    effect = float((np.sign(told) * ranks).sum() / ranks.sum()) if len(told) else 0.0
    p = None
    if len(apart) >= MIN_TEST_CASES and np.isfinite(apart).all():
        p = float(wilcoxon(told).pvalue) if len(told) else 1.0
    return Difference(mean_interval(apart.tolist()), effect, p)


def against_all(first: Mapping[str, float], rivals: Mapping[str, Mapping[str, float]]) -> dict[str, Difference]:
    """One against each of several, with p-values that Holm's step-down method corrects for their number.

    Source:
        Holm 1979, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6(2).
    """
    return _corrected({n: paired_difference(first, rival) for n, rival in rivals.items() if set(first) & set(rival)})


def all_against(rivals: Mapping[str, Mapping[str, float]], one: Mapping[str, float]) -> dict[str, Difference]:
    """Each of several against one, corrected in the same way; above 0 where the rival has more."""
    return _corrected({n: paired_difference(rival, one) for n, rival in rivals.items() if set(one) & set(rival)})


def _corrected(found: Mapping[str, Difference]) -> dict[str, Difference]:
    tested = {name: difference.p for name, difference in found.items() if difference.p is not None}
    corrected = dict(zip(tested, holm(list(tested.values())), strict=True))
    return {name: replace(difference, p_holm=corrected.get(name)) for name, difference in found.items()}


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrected for their number, in the order in which they came."""
    order = np.argsort(p_values, kind="stable")
    n, result, largest = len(p_values), [0.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (n - place) * p_values[index]))
        result[int(index)] = largest
    return result


def claim_words(difference: Difference, is_low_best: bool) -> str:
    """What may be said: better, worse, no difference shown, or that the cases are too few for a claim."""
    if difference.p_holm is None:
        return f"n is too small for this claim: {difference.n} of {MIN_TEST_CASES} cases"
    if difference.p_holm >= SIGNIFICANT:
        return "no difference shown"
    return "better" if (difference.mean.mean < 0) == is_low_best else "worse"


def _acceleration(data: NDArray[np.float64]) -> float:
    """From the jackknife: a third of the skewness of the leave-one-out means, over the root of n."""
    left_out = (data.sum() - data) / (len(data) - 1)
    influence = left_out.mean() - left_out
    return float((influence**3).sum() / (6 * (influence**2).sum() ** 1.5))


@lru_cache(maxsize=8)
def _resampling(n: int, seed: int) -> NDArray[np.float64]:
    """(N_RESAMPLES, n): how often each case is drawn, over n; the same draws for every column of a table."""
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=N_RESAMPLES) / n
