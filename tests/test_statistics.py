"""Intervals over cases against scipy's bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap

from core.statistics import MIN_CASES, mean_interval


@pytest.mark.parametrize("n", [6, 9, 30])
def test_the_interval_is_scipys_bca(n):
    values = np.random.default_rng(n).gamma(1.5, 2.0, n)  # skewed, so that the corrections matter
    ours = mean_interval(values)
    theirs = bootstrap((values,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(1))
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert ours.mean == pytest.approx(values.mean())
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.04 * width)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.04 * width)


def test_under_six_cases_there_is_no_interval():
    few = mean_interval([0.1, 0.2, 0.4, 0.3, 0.2])
    assert (few.low, few.high, few.n) == (None, None, MIN_CASES - 1)
    assert few.mean == pytest.approx(0.24)
    assert mean_interval([0.1, 0.2, 0.4, 0.3, 0.2, 0.25]).low is not None


def test_cases_that_agree_have_an_interval_of_no_width():
    same = mean_interval([0.25] * 7)
    assert (same.mean, same.low, same.high) == (0.25, 0.25, 0.25)


def test_an_infinite_score_gives_no_interval():
    assert mean_interval([20.0, 21, 22, 23, 24, np.inf]).low is None


def test_the_same_cases_give_the_same_interval_on_any_scale():
    values = np.random.default_rng(4).normal(5, 1, 8)
    first, scaled = mean_interval(values), mean_interval(values * 100 - 3)
    assert mean_interval(values) == first
    assert scaled.low == pytest.approx(first.low * 100 - 3)
    assert scaled.high == pytest.approx(first.high * 100 - 3)
