"""Successive halving over folds: all points on the first, the better half on one more, its better half on two more.

Every point is judged on the same cases as its rivals, and no training is thrown away: who goes on keeps its folds.

Source:
    Jamieson & Talwalkar 2016, arXiv:1502.07943, with folds as the budget.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Literal

import numpy as np

from core.metrics import METRICS
from core.search.grid import Point

LEAST = 2  # points that are always compared over all folds
State = Literal["waiting", "done", "stopped", "failed"]
Scores = Mapping[str, Mapping[str, float]]  # case -> metric -> value


@dataclass(frozen=True)
class Verdict:
    """What one training came to.

    Attributes:
        is_cut: the time limit ended it, not its epochs.
        error: why it failed; "" where it did not.
    """

    scores: Scores
    seconds: float
    is_cut: bool = False
    error: str = ""
    code: str = ""


@dataclass
class Outcome:
    """A point and all that is known of it so far."""

    point: Point
    verdicts: dict[int, Verdict] = field(default_factory=dict)
    state: State = "waiting"

    def values(self, metric: str) -> dict[str, float]:
        """Case -> its score, over all folds that are trained."""
        return {
            case_id: scores[metric]
            for verdict in self.verdicts.values()
            for case_id, scores in verdict.scores.items()
            if metric in scores
        }

    def mean(self, metric: str) -> float | None:
        values = list(self.values(metric).values())
        return float(np.mean(values)) if values else None

    @property
    def seconds(self) -> float:
        return sum(verdict.seconds for verdict in self.verdicts.values())

    @property
    def failure(self) -> Verdict | None:
        return next((verdict for verdict in self.verdicts.values() if verdict.error), None)


def rounds_of(n_points: int, n_folds: int, is_halving: bool) -> list[tuple[int, int]]:
    """(points, folds that each of them has then) for each round."""
    if not is_halving:
        return [(n_points, n_folds)]
    rounds, folds = [], 1
    while True:
        is_last = folds >= n_folds or n_points <= LEAST
        rounds.append((n_points, n_folds if is_last else folds))
        if is_last:
            return rounds
        folds, n_points = min(2 * folds, n_folds), max(LEAST, math.ceil(n_points / 2))


def n_trainings(n_points: int, n_folds: int, is_halving: bool) -> int:
    """How many trainings the rounds take at most."""
    before, total = 0, 0
    for points, folds in rounds_of(n_points, n_folds, is_halving):
        total, before = total + points * (folds - before), folds
    return total


def race(
    outcomes: Sequence[Outcome],
    n_folds: int,
    metric: str,
    is_halving: bool,
    judge: Callable[[Outcome, int], Verdict],
    foretell: Callable[[Outcome, int], None],
) -> None:
    """Fill in the outcomes, fold by fold; where halving, only the better half goes on after a round.

    foretell: told of all that a round will judge before it is judged, in the same order.
    """
    rivals, before = list(outcomes), 0
    for n_rivals, folds in rounds_of(len(outcomes), n_folds, is_halving):
        better = ranked(rivals, metric)
        for outcome in better[n_rivals:]:
            outcome.state = "stopped"
        rivals = [outcome for outcome in rivals if outcome in better[:n_rivals]]
        for fold, outcome in product(range(before, folds), rivals):
            foretell(outcome, fold)
        for fold in range(before, folds):
            for outcome in rivals:
                if outcome.state != "failed":
                    outcome.verdicts[fold] = judge(outcome, fold)
                    outcome.state = "failed" if outcome.failure else outcome.state
        rivals, before = [outcome for outcome in rivals if outcome.state != "failed"], folds
    for outcome in rivals:
        outcome.state = "done"


def ranked(outcomes: Sequence[Outcome], metric: str) -> list[Outcome]:
    """The best first; equal ones in the order of the grid, those without any score last."""
    sign = 1 if METRICS[metric].best == "low" else -1

    def place(outcome: Outcome) -> tuple[bool, float, int]:
        mean = outcome.mean(metric)
        return mean is None, 0.0 if mean is None else sign * mean, outcome.point.number

    return sorted(outcomes, key=place)


def best_of(outcomes: Sequence[Outcome], metric: str) -> Outcome | None:
    """The best of those that were judged on all folds."""
    done = [outcome for outcome in outcomes if outcome.state == "done" and outcome.mean(metric) is not None]
    return ranked(done, metric)[0] if done else None
