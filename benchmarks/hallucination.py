"""Are invented structures flagged? Of a synthesis' spots and patches, those that the real image lacks.

The people, the training and the division of `coverage` (see there), an MVAE; T1 + T2 -> FLAIR, T1 + T2 -> CT and
T1 + FLAIR -> T2, so that given modalities can disagree. Told are the area under the ROC curve over all structures of
held-out cases with a bootstrap interval over cases, false alarms a case where 80 % of what is invented is caught, each
kind of evidence alone, and beside it the share of real lesions that left nothing in the synthesis (misses).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks import Figures, Targets
from benchmarks.coverage import trained
from core.measured_doubt import pair_in
from core.uncertainty import Pair, measure
from core.workspace import Workspace

MODEL = os.environ.get("HALLUCINATION_MODEL", "mvae")
TASKS: dict[str, Pair] = {
    "flair": (("T1", "T2"), "FLAIR"),
    "ct": (("T1", "T2"), "CT"),
    "t2": (("T1", "FLAIR"), "T2"),
}
TARGETS: Targets = {f"{name}_auroc": (">=", 0.80) for name in TASKS}


def measure_hallucination() -> Figures:
    """Every figure by task."""
    torch.set_num_threads(1)
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(os.environ.get("COVERAGE_FOLDER", folder)))
        record = measure(trained(workspace, MODEL), pairs=list(TASKS.values()))
        for name, pair in TASKS.items():
            found = pair_in(record, *pair)
            figures |= {f"{name}_{key}": value for key, value in _figures(found["invented"] if found else {}).items()}
    return figures


def _figures(found: Mapping[str, Any] | None) -> Figures:
    """NaN has no place in them: where nothing was invented the area is chance."""
    if not found:
        return {"auroc": 0.5, "structures": 0.0}
    auroc = found["auroc"]
    told = {
        "auroc": 0.5 if auroc["value"] is None else auroc["value"],
        "auroc_low": auroc["low"],
        "auroc_high": auroc["high"],
        "structures": found["structures"],
        "invented": found["invented"],
        "false_alarms_per_case": found["false_alarms"],
        "lesions": found["lesions"],
        "missed": found["missed"],
    }
    told |= {f"auroc_{kind.replace(' ', '_')}": value for kind, value in found["auroc_alone"].items()}
    return {name: float(value) for name, value in told.items() if value is not None}
