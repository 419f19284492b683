"""Halving over folds, with scores that are known beforehand."""

from __future__ import annotations

import numpy as np
import pytest

from core.search.grid import Point
from core.search.rounds import Outcome, Verdict, best_of, n_trainings, race, rounds_of

ERRORS = [0.5, 0.1, 0.9, 0.3, 0.2, 0.8, 0.7, 0.4]  # of points 1 to 8, the same in each fold but for the case


def run_race(n_folds: int, is_halving: bool, broken: tuple[int, ...] = (), metric: str = "mae"):
    outcomes = [Outcome(Point(number, {"train.lr": number})) for number in range(1, 9)]
    calls: list[tuple[int, int]] = []
    foretold: list[tuple[int, int]] = []

    def foretell(outcome: Outcome, fold: int) -> None:
        foretold.append((outcome.point.number, fold))

    def judge(outcome: Outcome, fold: int) -> Verdict:
        calls.append((outcome.point.number, fold))
        assert calls[-1] in foretold
        if outcome.point.number in broken:
            return Verdict({}, 1.0, error="It broke.", code="BROKE")
        error = ERRORS[outcome.point.number - 1] + 0.01 * fold
        return Verdict({f"case-{fold}": {"mae": error, "psnr": -error}}, 1.0)

    race(outcomes, n_folds, metric, is_halving, judge, foretell)
    assert calls == [call for call in foretold if call in calls]  # in the same order
    return outcomes, calls


@pytest.mark.parametrize("metric", ["mae", "psnr"])
def test_halving_keeps_the_best_of_each_round(metric):
    outcomes, calls = run_race(5, True, metric=metric)
    by_error = [int(k) + 1 for k in np.argsort(ERRORS)]
    folds = {outcome.point.number: len(outcome.verdicts) for outcome in outcomes}
    assert [folds[number] for number in by_error] == [5, 5, 2, 2, 1, 1, 1, 1]
    states = {outcome.point.number: outcome.state for outcome in outcomes}
    assert [states[number] for number in by_error] == ["done"] * 2 + ["stopped"] * 6
    assert len(calls) == len(set(calls)) == n_trainings(8, 5, True) == 8 + 4 + 2 * 3
    assert best_of(outcomes, metric).point.number == by_error[0]


def test_without_halving_every_point_is_judged_on_every_fold():
    outcomes, calls = run_race(3, False)
    assert sorted(calls) == [(number, fold) for number in range(1, 9) for fold in range(3)]
    assert {outcome.state for outcome in outcomes} == {"done"}
    assert best_of(outcomes, "mae").mean("mae") == pytest.approx(0.1 + 0.01)


def test_a_point_that_fails_is_left_out_and_the_others_go_on():
    outcomes, calls = run_race(4, True, broken=(2, 5))
    assert [outcome.point.number for outcome in outcomes if outcome.failure] == [2, 5]
    assert all(outcome.state == "failed" for outcome in outcomes if outcome.failure)
    assert [call for call in calls if call[0] == 2] == [(2, 0)]
    assert best_of(outcomes, "mae").point.number == 4


@pytest.mark.parametrize(
    ("n_points", "n_folds", "expected"),
    [(12, 3, [(12, 1), (6, 2), (3, 3)]), (3, 5, [(3, 1), (2, 5)]), (2, 5, [(2, 5)]), (9, 2, [(9, 1), (5, 2)])],
)
def test_the_rounds_end_with_all_folds(n_points, n_folds, expected):
    assert rounds_of(n_points, n_folds, True) == expected
