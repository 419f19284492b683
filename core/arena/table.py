"""What an arena may claim: a line per entrant, its mean with interval, and its paired difference from the U-Net."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from core.arena.settings import REFERENCE
from core.metrics import metric_of
from core.statistics import all_against, claim_words, mean_interval

Pair = tuple[tuple[str, ...], str]
Row = Mapping[str, Any]


def pairs_of(rows: Sequence[Row]) -> list[Pair]:
    """What was made of what, single sources first; a modality from itself is left out."""
    found = {(tuple(row["given"]), str(row["target"])) for row in rows}
    return sorted((p for p in found if p[1] not in p[0]), key=lambda pair: (len(pair[0]), pair))


def by_case(rows: Sequence[Row], pair: Pair, metric: str) -> dict[str, dict[str, float]]:
    """Entrant -> case -> number."""
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        if (tuple(row["given"]), row["target"]) == pair and row.get(metric) is not None:
            found.setdefault(row["model"], {})[row["case"]] = float(row[metric])
    return found


def standings(rows: Sequence[Row], pair: Pair, metric: str, reference: str = REFERENCE) -> list[dict[str, Any]]:
    """The best first: mean with interval, difference from the reference with interval, Holm's p, the claim in words.

    The reference itself, and whoever shares no case with it, has no difference.
    """
    values = by_case(rows, pair, metric)
    is_low_best = metric_of(metric).best == "low"
    others = {name: found for name, found in values.items() if name != reference}
    against = all_against(others, values[reference]) if reference in values else {}
    lines: list[dict[str, Any]] = []
    for name, found in values.items():
        difference = against.get(name)
        line = {"model": name, **asdict(mean_interval(list(found.values())))}
        if difference is not None:
            told = {"difference": asdict(difference.mean), "p_holm": difference.p_holm, "effect": difference.effect}
            line |= {**told, "claim": claim_words(difference, is_low_best)}
        lines.append(line)
    return sorted(lines, key=lambda line: line["mean"], reverse=not is_low_best)
