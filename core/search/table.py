"""What a search found, as one table: the best first, with intervals, what cannot be told apart, what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.metrics import METRICS
from core.search.folds import Folds
from core.search.rounds import Outcome, best_of, ranked
from core.search.settings import SearchConfig
from core.statistics import MIN_CASES, mean_interval

ORDER = ("done", "waiting", "stopped", "failed")


@dataclass(frozen=True)
class Choice:
    """One outer fold of a nested search: the point that its inner folds chose, judged on cases they never saw.

    n_trainings, seconds: what it took beside the flat search.
    """

    fold: int
    point: int
    values: Mapping[str, float]
    n_trainings: int
    seconds: float


@dataclass(frozen=True)
class Found:
    """All that a search has found so far.

    Attributes:
        test: cases that it never saw.
        choices: of a nested search, one for each outer fold that is done.
    """

    folds: Folds
    test: Sequence[str]
    outcomes: Sequence[Outcome]
    choices: Sequence[Choice] = ()


def table_of(config: SearchConfig, found: Found) -> dict[str, Any]:
    """The table as strict JSON; `points` are sorted, the best first."""
    best = best_of(found.outcomes, config.metric)
    outcomes = sorted(ranked(found.outcomes, config.metric), key=lambda outcome: ORDER.index(outcome.state))
    n = sum(len(outcome.verdicts) for outcome in found.outcomes) + sum(c.n_trainings for c in found.choices)
    seconds = sum(outcome.seconds for outcome in found.outcomes) + sum(choice.seconds for choice in found.choices)
    return {
        "model": config.model,
        "dataset": config.dataset,
        "dataset_fingerprint": config.dataset_fingerprint,
        "metric": config.metric,
        "better": METRICS[config.metric].best,
        "target": config.judged,
        "seed": config.seed,
        "grid": {key: list(values) for key, values in config.grid.items()},
        "folds": [list(fold) for fold in found.folds],
        "test": list(found.test),
        "best": best.point.number if best else None,
        "points": [_row(outcome, best, config.metric) for outcome in outcomes],
        "nested": _nested(config, found, best),
        "trainings": n,
        "seconds": round(seconds, 3),
    }


def _row(outcome: Outcome, best: Outcome | None, metric: str) -> dict[str, Any]:
    values = outcome.values(metric)
    is_rival = best is not None and outcome.state == "done" and outcome is not best
    behind = _paired(values, best.values(metric)) if is_rival and best is not None else None
    failure = outcome.failure
    return {
        "point": outcome.point.number,
        "values": dict(outcome.point.values),
        "state": outcome.state,
        "folds": len(outcome.verdicts),
        **_summary(values),
        "others": {name: outcome.mean(name) for name in METRICS},
        "behind": behind,
        "is_told_apart": behind and _is_told_apart(behind),
        "cut": sum(verdict.is_cut for verdict in outcome.verdicts.values()),
        "seconds": round(outcome.seconds, 3),
        "error": failure.error if failure else "",
        "code": failure.code if failure else "",
        "scores": values,
    }


def _nested(config: SearchConfig, found: Found, best: Outcome | None) -> dict[str, Any] | None:
    """The best score where choosing is part of what is judged, beside the flat one over the very same cases."""
    if not config.nested:
        return None
    values = {case_id: value for choice in found.choices for case_id, value in choice.values.items()}
    optimism = _paired(values, best.values(config.metric)) if best is not None else None
    return {
        "folds": len(found.choices),
        "of": len(found.folds),
        "chosen": [choice.point for choice in found.choices],
        **_summary(values),
        "flat": best.mean(config.metric) if best is not None else None,
        "optimism": optimism,
        "scores": values,
    }


def _summary(values: Mapping[str, float]) -> dict[str, Any]:
    """Mean over cases, with its interval where there are cases enough."""
    return vars(mean_interval(list(values.values()))) if values else {"mean": None, "low": None, "high": None, "n": 0}


def _paired(values: Mapping[str, float], others: Mapping[str, float]) -> dict[str, Any] | None:
    """Mean of value - other over the cases that both have, with its interval."""
    shared = sorted(set(values) & set(others))
    return _summary({case_id: values[case_id] - others[case_id] for case_id in shared}) if shared else None


def _is_told_apart(difference: Mapping[str, Any]) -> bool | None:
    """Whether it is more than noise; None where there are too few cases to say."""
    if difference["n"] < MIN_CASES or difference["low"] is None:
        return None
    return bool(difference["low"] > 0 or difference["high"] < 0)
