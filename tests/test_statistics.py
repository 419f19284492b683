"""Intervals over cases against scipy's bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap, rankdata, wilcoxon
from sklearn.metrics import roc_auc_score

from core.statistics import (
    MIN_CASES,
    against_all,
    auroc,
    claim_words,
    holm,
    mean_interval,
    paired_difference,
    spread,
)


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


def cases(values) -> dict[str, float]:
    return {f"c{n:02d}": float(value) for n, value in enumerate(values)}


@pytest.mark.parametrize("n", [9, 14, 40])
def test_a_paired_difference_is_tested_as_scipy_does(n):
    rng = np.random.default_rng(n)
    a, b = rng.normal(1, 1, n), rng.normal(0.6, 1, n)
    found = paired_difference(cases(a), cases(b))
    assert found.p == pytest.approx(wilcoxon(a, b).pvalue)
    assert found.mean == mean_interval(a - b)
    assert found.mean.mean == pytest.approx(a.mean() - b.mean())
    ranks = rankdata(np.abs(a - b))
    assert found.effect == pytest.approx((ranks[a > b].sum() - ranks[a < b].sum()) / ranks.sum())


def test_an_effect_goes_from_one_always_more_to_never():
    base = np.arange(10.0)
    assert paired_difference(cases(base + 1), cases(base)).effect == 1
    assert paired_difference(cases(base - 1), cases(base)).effect == -1
    same = paired_difference(cases(base), cases(base))
    assert (same.effect, same.p) == (0, 1)


def test_only_cases_that_both_have_are_paired():
    first, second = cases(range(12)), {f"c{n:02d}": 0.0 for n in range(4, 20)}
    found = paired_difference(first, second)
    assert found.n == 8
    assert found.mean.mean == pytest.approx(np.mean(range(4, 12)))


ENOUGH = [(5, False, False), (6, True, False), (8, True, False), (9, True, True)]


@pytest.mark.parametrize(("n", "has_interval", "has_test"), ENOUGH)
def test_too_few_cases_allow_no_claim(n, has_interval, has_test):
    found = against_all(cases(np.arange(n) + 1.0), {"rival": cases(np.arange(n) * 0.9)})["rival"]
    assert (found.mean.low is not None, found.p is not None) == (has_interval, has_test)
    assert (found.p_holm is not None) == has_test
    said = claim_words(found, is_low_best=False)
    assert said == ("better" if has_test else f"n is too small for this claim: {n} of 9 cases")


def test_holms_correction_is_the_one_written_out_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_rivals_without_a_test_do_not_count_in_the_correction():
    many, few = cases(np.arange(12.0)), {f"c{n:02d}": 0.5 for n in range(5)}
    rivals = {"other": cases(np.arange(12.0) + np.where(np.arange(12) % 4, 0.3, -0.1)), "few": few}
    found = against_all(many, rivals)
    assert found["other"].p_holm == found["other"].p
    assert found["few"].p_holm is None
    assert against_all(many, {"stranger": {"x": 1.0}}) == {}


def test_the_same_difference_is_better_for_errors_and_worse_for_likeness():
    found = against_all(cases(np.arange(12.0)), {"rival": cases(np.arange(12.0) + 1)})["rival"]
    assert claim_words(found, is_low_best=True) == "better"
    assert claim_words(found, is_low_best=False) == "worse"
    rng = np.random.default_rng(0)
    level = against_all(cases(rng.normal(size=12)), {"rival": cases(rng.normal(size=12))})["rival"]
    assert claim_words(level, is_low_best=True) == "no difference shown"


def test_a_spread_is_the_samples_deviation_and_its_quarters():
    assert spread([1, 2, 3, 4, 10]) == (pytest.approx(np.sqrt(12.5)), (2, 3, 4))
    assert spread([7.0]) == (0, (7, 7, 7))


def test_the_area_under_the_curve_counts_ties_half():
    rng = np.random.default_rng(1)
    scores, truth = rng.integers(0, 10, 400).astype(float), rng.random(400) < 0.3
    assert auroc(scores, truth) == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert np.isnan(auroc(scores, np.zeros(400, bool)))
