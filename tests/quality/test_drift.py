"""Odd ones and what a site does: against independent computations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from core.quality.drift import group_effect, odd_ones, robust_z


def test_robust_z_is_the_plain_one_on_normal_numbers_and_ignores_an_outlier() -> None:
    values = np.random.default_rng(0).normal(7.0, 2.0, 4001)
    np.testing.assert_allclose(robust_z(values), (values - 7.0) / 2.0, atol=0.15)
    spoilt = robust_z([*values[:40], 1e6])
    np.testing.assert_allclose(spoilt[:40], robust_z(values[:40]), atol=0.2)
    assert spoilt[-1] > 1e4


def test_numbers_that_agree_have_no_odd_one() -> None:
    assert not robust_z([3.0] * 8).any()
    assert robust_z([3.0] * 7 + [4.0])[-1] > 3.5


def test_an_odd_one_is_far_out_and_differs_by_what_matters() -> None:
    values = {f"case-{n}": 1.0 + 0.01 * n for n in range(8)} | {"odd": 3.0}
    assert list(odd_ones(values, 0.1)) == ["odd"]
    assert odd_ones(values, 5.0) == {}
    assert odd_ones({case: values[case] for case in list(values)[-5:]}, 0.1) == {}  # five cases cannot tell


def test_eta_squared_is_what_an_analysis_of_variance_finds() -> None:
    rng = np.random.default_rng(1)
    sizes, shifts = {"A": 7, "B": 9, "C": 5}, {"A": 0.0, "B": 1.5, "C": -0.5}
    values, groups = {}, {}
    for site, n in sizes.items():
        for i in range(n):
            values[f"{site}{i}"] = float(rng.normal(shifts[site]))
            groups[f"{site}{i}"] = site
    effect = group_effect(values | {"unknown": 99.0}, groups)
    parts = [[values[case] for case in groups if groups[case] == site] for site in sizes]
    f = stats.f_oneway(*parts).statistic
    assert effect is not None
    assert effect.eta_squared == pytest.approx(2 * f / (2 * f + 18))
    assert effect.by_chance == pytest.approx(2 / 20)
    assert effect.largest.group == "B"


def test_groups_that_mean_nothing_explain_what_chance_says() -> None:
    rng = np.random.default_rng(2)
    groups = {f"case-{n}": "ABC"[n % 3] for n in range(18)}
    found = [group_effect({case: float(rng.normal()) for case in groups}, groups) for _ in range(400)]
    assert np.mean([effect.eta_squared for effect in found if effect]) == pytest.approx(2 / 17, abs=0.02)


def test_a_shift_comes_back_with_an_interval_that_holds_it_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    groups = {f"case-{n}": "AB"[n % 2] for n in range(20)}
    held = 0
    for _ in range(300):
        values = {case: float(rng.normal(0.8 if site == "B" else 0.0, 0.5)) for case, site in groups.items()}
        effect = group_effect(values, groups)
        assert effect is not None
        a, b = effect.shifts
        assert a.by == pytest.approx(-b.by)
        held += b.low <= 0.8 <= b.high
    assert 0.92 <= held / 300 <= 0.99


def test_there_is_no_interval_under_six_cases_and_no_effect_of_one_group() -> None:
    groups = {f"case-{n}": "A" if n < 5 else "B" for n in range(13)}
    values = {case: float(n) for n, case in enumerate(groups)}
    effect = group_effect(values, groups)
    assert effect is not None and [shift.low for shift in effect.shifts] == [None, None]
    assert group_effect(values, dict.fromkeys(values, "A")) is None
    assert group_effect({"a": 1.0, "b": 2.0}, {"a": "A", "b": "B"}) is None
