"""The arithmetic of error bars, against normal residuals of known spread and numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from core.conformal import (
    EDGES,
    Pool,
    bound_over_cases,
    bound_within,
    cases_needed,
    share_within,
    split_for_calibration,
)
from core.errors import InvalidConfigError
from core.sparsification import LEFT_OUT, sparsify
from core.statistics import exact_interval

CASES = [f"case-{n:02d}" for n in range(30)]


def test_normal_residuals_of_known_spread_are_covered_at_the_normal_quantile():
    rng = np.random.default_rng(1)
    pool = Pool()
    for spread in rng.uniform(0.01, 3.0, 30):
        pool.add(np.abs(rng.normal(0, spread, 20_000)) / spread)
    assert pool.bound(0.9) == pytest.approx(norm.ppf(0.95), rel=0.01)
    assert share_within(np.abs(rng.normal(0, 1, 100_000)), pool.bound(0.9)) == pytest.approx(0.9, abs=0.005)


def test_each_case_weighs_the_same_however_many_voxels_it_has():
    pool = Pool()
    pool.add(np.full(10, 1.0))
    pool.add(np.full(100_000, 3.0))
    below_half, above_half = pool.bound(0.49), pool.bound(0.51)
    assert below_half == pytest.approx(1.0, rel=0.006)
    assert above_half == pytest.approx(3.0, rel=0.006)


def test_scores_beyond_every_bin_are_not_lost():
    pool = Pool()
    pool.add(np.array([0.0, 1e9]))
    assert pool.bound(0.5) == EDGES[0]
    assert pool.bound(0.9) == EDGES[-1]


@pytest.mark.parametrize(("n", "place"), [(9, 9), (10, 10), (19, 18), (29, 27), (40, 37)])
def test_the_bound_over_cases_is_the_order_statistic_worked_out_by_hand(n, place):
    """ceil(0.9 (n + 1)): 9.0 -> 9, 9.9 -> 10, 18.0 -> 18, 27.0 -> 27, 36.9 -> 37."""
    bounds = np.random.default_rng(0).permutation(np.arange(1, n + 1)).astype(float)
    assert bound_over_cases(bounds, 0.9) == place


def test_within_a_case_the_bound_is_the_smallest_score_that_holds():
    scores = np.random.default_rng(0).permutation(np.arange(1.0, 11.0))
    assert bound_within(scores, 0.9) == 9.0
    assert share_within(scores, 9.0) == 0.9
    assert bound_within(np.array([5.0]), 0.9) == 5.0


def test_under_nine_cases_a_bound_over_cases_is_refused_in_one_sentence():
    assert cases_needed(0.9) == 9
    with pytest.raises(InvalidConfigError, match="needs 9 calibration cases; there are 8") as refusal:
        bound_over_cases([1.0] * 8)
    assert refusal.value.code == "FEW-CALIBRATION"


def test_new_cases_hold_as_often_as_the_case_rule_promises():
    """Cases of unlike difficulty: a fresh one is within the bound with a chance of at least 90 %."""
    rng = np.random.default_rng(3)
    n_held, n_tries = 0, 200
    for _ in range(n_tries):
        cases = [np.abs(rng.normal(0, rng.lognormal(0, 0.5), 200)) for _ in range(21)]
        bound = bound_over_cases([bound_within(case) for case in cases[:20]])
        n_held += share_within(cases[20], bound) >= 0.9
    assert binomtest(n_held, n_tries, 0.9, alternative="less").pvalue > 0.01


def test_a_division_depends_on_the_seed_alone_and_no_case_is_on_both_sides():
    calibration, test = split_for_calibration(CASES, 0)
    assert (calibration, test) == split_for_calibration(CASES[::-1], 0)
    assert split_for_calibration(CASES, 1)[0] != calibration
    assert len(calibration) == 12
    assert not set(calibration) & set(test)
    assert {*calibration, *test} == set(CASES)


@pytest.mark.parametrize(("n", "calibrating"), [(2, 1), (5, 2), (11, 5), (12, 9), (15, 9), (30, 12)])
def test_as_many_calibrate_as_a_bound_needs_where_enough_remain_to_test(n, calibrating):
    assert len(split_for_calibration(CASES[:n], 0)[0]) == calibrating


def test_cases_of_one_patient_stay_together():
    same = [(CASES[0], CASES[1]), (CASES[1], CASES[2]), (CASES[9], CASES[3])]
    for seed in range(20):
        calibration, _ = split_for_calibration(CASES, seed, same)
        for group in (CASES[:3], [CASES[3], CASES[9]]):
            assert len({case in calibration for case in group}) == 1


def test_one_patient_cannot_be_divided():
    with pytest.raises(InvalidConfigError) as refusal:
        split_for_calibration(CASES[:2], 0, [(CASES[0], CASES[1])])
    assert refusal.value.code == "FEW-HELD-OUT"


@pytest.mark.parametrize(("held", "n"), [(0, 12), (12, 12), (55, 60), (7, 9)])
def test_the_interval_of_a_share_is_that_of_an_exact_test(held, n):
    expected = binomtest(held, n).proportion_ci(method="exact")
    assert exact_interval(held, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_doubt_that_ranks_as_errors_do_has_no_area_and_random_doubt_stays_at_one():
    rng = np.random.default_rng(0)
    errors = rng.exponential(1.0, 50_000)
    perfect, blind = sparsify(errors, 3 * errors + 1), sparsify(errors, rng.random(50_000))
    assert perfect.ause == 0
    np.testing.assert_allclose(blind.doubt, 1, atol=0.05)
    kept = 1 - LEFT_OUT  # of exponential errors the smallest share p has the mean 1 + (1 - p) ln(1 - p) / p
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.where(kept < 1, 1 + (1 - kept) * np.log(1 - kept) / kept, 1)
    np.testing.assert_allclose(perfect.oracle, expected, atol=0.02)
