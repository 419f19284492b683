"""What judging found of a run, as files: results.json, and scores of regions beside it: they are many, and few pages
read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.types import PLACE
from core.workspace import read_json, write_json

RESULTS = "results.json"
REGIONS = "regions.json"  # a line for each row of the results


def write_results(folder: Path, value: dict[str, Any]) -> None:
    """Scores of regions apart, and which of them there are of each target ("places")."""
    rows = value.get("rows", [])
    regional = [{name: score for name, score in row.items() if PLACE in name} for row in rows]
    places: dict[str, set[str]] = {}
    for row, scores in zip(rows, regional, strict=True):
        places.setdefault(row["target"], set()).update(scores)
    if any(regional):
        write_json(folder / REGIONS, regional)
    else:
        (folder / REGIONS).unlink(missing_ok=True)
    light = [{name: score for name, score in row.items() if PLACE not in name} for row in rows]
    told = {target: sorted(names) for target, names in places.items()}
    write_json(folder / RESULTS, {**value, "rows": light, "places": told} if rows else value)


def read_results(folder: Path, with_regions: bool = True) -> Any:
    """What `write_results` was given; None before."""
    path = folder / RESULTS
    found = read_json(path) if path.exists() else None
    if not found or not with_regions or not (folder / REGIONS).exists():
        return found
    regional = read_json(folder / REGIONS)
    if len(regional) != len(found["rows"]):  # of other results: writing these was cut short
        return found
    return {**found, "rows": [row | scores for row, scores in zip(found["rows"], regional, strict=True)]}
