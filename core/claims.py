"""What may be claimed of one run against others, from their results alone and only under one protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from core.errors import InvalidConfigError, NotFoundError
from core.metrics import METRICS, metric_of
from core.protocol import fingerprint_of, refuse_other
from core.runs import Run
from core.statistics import against_all, claim_words
from core.types import PLACE

Pair = tuple[tuple[str, ...], str]


def compare_runs(first: Run, others: Sequence[Run], pair: Pair, metric: str) -> dict[str, Any]:
    """Paired differences of a metric, tests and claims, by run.

    Raises:
        NotFoundError: A run was not judged yet, or not on this pair.
        InvalidConfigError: An unknown metric, or another protocol (OTHER-PROTOCOL, with what differs).
    """
    if metric.partition(PLACE)[0] not in METRICS:
        raise InvalidConfigError(f"There is no metric of that name. Known: {', '.join(METRICS)}.", "METRIC")
    protocol = _result(first)["protocol"]
    for other in others:
        refuse_other(protocol, _result(other)["protocol"])
    found = against_all(_by_case(first, pair, metric), {run.id: _by_case(run, pair, metric) for run in others})
    is_low_best = metric_of(metric).best == "low"
    return {
        "run": first.id,
        "given": list(pair[0]),
        "target": pair[1],
        "metric": metric,
        "protocol": fingerprint_of(protocol),
        "against": {
            run: {**asdict(difference), "n": difference.n, "claim": claim_words(difference, is_low_best)}
            for run, difference in found.items()
        },
    }


def _result(run: Run) -> dict[str, Any]:
    result = run.result
    if not result or not result.get("rows"):
        raise NotFoundError("A run has not been judged yet. Evaluate it first.", "NOT-JUDGED")
    return dict(result)


def _by_case(run: Run, pair: Pair, metric: str) -> dict[str, float]:
    rows = [
        row
        for row in _result(run)["rows"]
        if row["model"] == run.config.model and (set(row["given"]), row["target"]) == (set(pair[0]), pair[1])
    ]
    values = {str(row["case"]): float(row[metric]) for row in rows if row.get(metric) is not None}
    if not values:
        raise NotFoundError("A run has no such number. Choose what it makes, or evaluate it again.", "NO-NUMBER")
    return values
