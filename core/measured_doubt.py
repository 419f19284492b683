"""uncertainty.json of a run: what calibration found for each pair of given modalities and target. Light to read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.remembered import remembered
from core.runs import Run
from core.workspace import read_json, write_json

FILE = "uncertainty.json"
_read = remembered(at_most=8)(read_json)


def read_doubt(run: Run) -> dict[str, Any] | None:
    """protocol and pairs; None before a measurement, or where the weights are others since."""
    path = run.folder / FILE
    found = _read(path) if path.exists() else None
    return found if found and found["protocol"].get("weights") == run.weights_sum else None


def write_doubt(run: Run, record: dict[str, Any]) -> None:
    write_json(run.folder / FILE, record)


def pair_in(record: dict[str, Any] | None, given: Sequence[str], target: str) -> dict[str, Any] | None:
    """What was measured of this pair."""
    pairs = record["pairs"] if record else []
    return next((pair for pair in pairs if (set(pair["given"]), pair["target"]) == (set(given), target)), None)


def told(record: dict[str, Any]) -> dict[str, Any]:
    """The figures, without what was learnt to make bars."""
    return {**record, "pairs": [{name: v for name, v in pair.items() if name != "learnt"} for pair in record["pairs"]]}
