"""Are invented structures flagged? Of a synthesis' spots and patches, those that the real image lacks.

The people and the division of `coverage` (see there), an MVAE; T1 + T2 -> FLAIR, T1 + T2 -> CT and T1 + FLAIR -> T2,
so that given modalities can disagree. It learns for `HALLUCINATION_EPOCHS` (3) only: one that learnt for 15 epochs
invents next to nothing, which leaves nothing to judge by. Told are the area under the ROC curve over all structures of
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

from benchmarks import Figures, Targets, is_quick_try
from benchmarks.coverage import trained
from core.measured_doubt import pair_in
from core.uncertainty import Pair, measure
from core.workspace import Workspace

MODEL = os.environ.get("HALLUCINATION_MODEL", "mvae")
EPOCHS = int(os.environ.get("HALLUCINATION_EPOCHS", "2" if is_quick_try() else "3"))
TASKS: dict[str, Pair] = {
    "flair": (("T1", "T2"), "FLAIR"),
    "ct": (("T1", "T2"), "CT"),
    "t2": (("T1", "FLAIR"), "T2"),
}
TARGETS: Targets = {"least_auroc": (">=", 0.80), "tasks_judged": (">=", 2)}


def measure_hallucination() -> Figures:
    """Every figure by task, and the least area of those tasks where something was invented."""
    torch.set_num_threads(1)
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(os.environ.get("COVERAGE_FOLDER", folder)))
        record = measure(trained(workspace, MODEL, EPOCHS), pairs=list(TASKS.values()))
        for name, pair in TASKS.items():
            found = pair_in(record, *pair)
            figures |= {f"{name}_{key}": value for key, value in _figures(found["invented"] if found else {}).items()}
    areas = [figures[key] for name in TASKS if (key := f"{name}_auroc") in figures]
    return {**figures, "least_auroc": min(areas, default=0.0), "tasks_judged": float(len(areas))}


def _figures(found: Mapping[str, Any] | None) -> Figures:
    """Without an area where nothing was invented, neither to learn from nor to judge by."""
    if not found:
        return {"invented": 0.0}
    auroc = found["auroc"]
    told = {
        "auroc": auroc["value"],
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
