"""What further checks of a run found (`core.audit`), as files beside its results; read without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.runs import Run
from core.workspace import read_json, write_json


def finding(run: Run, name: str) -> dict[str, Any]:
    """The record of a check; empty before it was done."""
    path = _path(run, name)
    return dict(read_json(path)) if path.exists() else {}


def keep(run: Run, name: str, record: dict[str, Any]) -> None:
    write_json(_path(run, name), record)


def _path(run: Run, name: str) -> Path:
    return run.folder / f"audit-{name}.json"
