"""What further checks of a run found (`core.audit`), as files beside its results; read without torch.

A record holds for the weights, data and split that its `fingerprint` is of.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.dataset import Dataset, Split
from core.runs import Run
from core.workspace import digest_of, read_json, write_json

VERSION = 2  # raised when what a check finds would come out otherwise


def finding(run: Run, name: str) -> dict[str, Any]:
    """The record of a check; empty before it was done."""
    path = _path(run, name)
    return dict(read_json(path)) if path.exists() else {}


def keep(run: Run, name: str, record: dict[str, Any]) -> None:
    write_json(_path(run, name), record)


def fingerprint_of(run: Run, dataset: Dataset, split: Split, name: str) -> str:
    """Another one where weights, data, split or the check itself are others."""
    return digest_of([VERSION, name, run.weights_sum, dataset.fingerprint, [split.train, split.val, split.test]])


def _path(run: Run, name: str) -> Path:
    return run.folder / f"audit-{name}.json"
