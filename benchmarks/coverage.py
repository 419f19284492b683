"""Do error bars hold? 20 generated people to learn from, 40 to calibrate on, 60 to test on; easy, at 4 mm.

A U-Net, whose answer is one image, and an MVAE, which has a posterior to draw from, each learn for `COVERAGE_EPOCHS`
(15); bars of nominally 90 % on T1 -> CT and T1 + T2 -> FLAIR. Told are the voxel coverage (the mean over test cases),
the same within predicted tissues, and the share of test cases that hold under the case rule with its exact binomial
interval. `low` and `high` are the extremes over models and tasks. `COVERAGE_FOLDER` keeps what was made; `--quick` is a
small try.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks import Figures, Targets, is_quick_try
from benchmarks.generated import generated_dataset
from core.config import HoldOut
from core.measured_doubt import pair_in
from core.quality.check import check, cohort_of
from core.quality.report import read_report
from core.runs import Run, list_runs
from core.synthesis import LoadedRun, load_run
from core.train import make_config, train
from core.uncertainty import Pair, measure
from core.workspace import Workspace

N_TRAINING = 20
N_HELD_OUT = 20 if is_quick_try() else 100
EPOCHS = int(os.environ.get("COVERAGE_EPOCHS", "2" if is_quick_try() else "15"))
SPACING_MM = 4.0
MODELS = os.environ.get("COVERAGE_MODELS", "unet,mvae").split(",")
MODALITIES = ("CT", "FLAIR", "T1", "T2")
TASKS: dict[str, Pair] = {"ct": (("T1",), "CT"), "flair": (("T1", "T2"), "FLAIR")}
TARGETS: Targets = {
    "voxel_low": (">=", 0.87),
    "voxel_high": ("<=", 0.93),
    "tissue_low": (">=", 0.80),
    "tissue_high": ("<=", 0.97),
    "case_interval_low": ("<=", 0.90),
    "case_interval_high": (">=", 0.90),
}


def measure_coverage() -> Figures:
    """Every figure by model and task, and the extremes that the targets are about."""
    torch.set_num_threads(1)
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(os.environ.get("COVERAGE_FOLDER", folder)))
        for model in MODELS:
            record = measure(trained(workspace, model), pairs=list(TASKS.values()))
            for name, found in ((name, pair_in(record, *pair)) for name, pair in TASKS.items()):
                figures |= {f"{model}_{name}_{key}": value for key, value in _figures(found).items()}
    return figures | _extremes(figures)


def trained(workspace: Workspace, model: str) -> LoadedRun:
    """A model that learnt from the first cases; the one that an earlier measurement left, if it is there."""
    n_cases = N_TRAINING + N_HELD_OUT
    dataset = generated_dataset(workspace, f"coverage-{n_cases}", n_cases, "easy", spacing_mm=SPACING_MM)
    if read_report(dataset) is None:
        check(dataset, cohort_of(workspace, dataset))  # as every preparing does: who resembles whom is then known
    judged = dataset.case_ids[N_TRAINING:]
    limits: dict[str, Any] = {"modalities": MODALITIES, "epochs": EPOCHS, "batch_size": 8, "max_minutes": 600}
    config = make_config(dataset, model, {}, limits, hold_out=HoldOut(judged=judged))
    for run in list_runs(workspace):
        if run.config == config and run.has_weights:
            return load_run(workspace, run)
    run = Run.new(workspace, config, "cpu")
    train(run, dataset, torch.device("cpu"))
    return load_run(workspace, run)


def _figures(found: Mapping[str, Any]) -> Figures:
    tissues = [interval["mean"] for interval in found["tissues"].values() if interval]
    lesions = [lesion["covered"] for row in found["rows"] for lesion in row["lesions"]]
    case = found["case"] or {}
    told = {
        "calibrated_on": found["n_calibration"],
        "tested_on": found["n_test"],
        "voxel": found["voxel"]["mean"],
        "tissue_low": min(tissues),
        "tissue_high": max(tissues),
        "case_share": case.get("share"),
        "case_interval_low": case.get("low"),
        "case_interval_high": case.get("high"),
        "lesions": len(lesions),
        "lesion_voxel": sum(lesions) / len(lesions) if lesions else None,
        "half_width": found["width"]["mean"],
    }
    told |= {f"ause_{kind.replace(' ', '_')}": v["mean"] for kind, v in found["sparsification"]["ause"].items()}
    return {name: float(value) for name, value in told.items() if value is not None}


def _extremes(figures: Figures) -> Figures:
    def ending(*names: str) -> list[float]:
        return [v for key, v in figures.items() if key.endswith(names)]

    return {
        "voxel_low": min(ending("ct_voxel", "flair_voxel")),
        "voxel_high": max(ending("ct_voxel", "flair_voxel")),
        "tissue_low": min(ending("tissue_low")),
        "tissue_high": max(ending("tissue_high")),
        "case_interval_low": max(ending("case_interval_low")),
        "case_interval_high": min(ending("case_interval_high")),
    }
