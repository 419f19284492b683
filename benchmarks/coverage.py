"""Do error bars hold? 20 generated people to learn from, 40 to calibrate on, 60 to test on; easy, at 4 mm.

A U-Net, whose answer is one image, and an MVAE, which has a posterior to draw from, each learn for `COVERAGE_EPOCHS`
(15); bars of nominally 90 % on T1 -> CT and T1 + T2 -> FLAIR. Told are the voxel coverage (the mean over test cases),
the same within predicted tissues, and the share of test cases that hold under the case rule with its exact binomial
interval. `low` and `high` are the extremes over models and tasks. One division of the held-out cases is one throw of
dice, so the case rule is also told as the mean over DIVISIONS random ones, with the share of them whose interval holds
90 %. `COVERAGE_FOLDER` keeps what was made; `--quick` is a small try.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import Figures, Targets, is_quick_try
from benchmarks.generated import generated_dataset
from core.config import HoldOut
from core.conformal import LEVEL, Numbers, bound_over_cases, bound_within
from core.error_bars import Learnt, errors_of, look
from core.measured_doubt import pair_in
from core.quality.check import check, cohort_of
from core.quality.report import read_report
from core.runs import Run, list_runs
from core.statistics import exact_interval
from core.synthesis import LoadedRun, load_run
from core.train import make_config, train
from core.uncertainty import Pair, measure
from core.workspace import Workspace

N_TRAINING = 20
N_HELD_OUT = 20 if is_quick_try() else 100
DIVISIONS = 1000
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
    "mean_case_share_low": (">=", 0.88),
    "mean_case_share_high": ("<=", 0.93),
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
            loaded = trained(workspace, model)
            record = measure(loaded, pairs=list(TASKS.values()))
            for name, pair in TASKS.items():
                found = pair_in(record, *pair)
                told = _figures(found) | _redivided(_case_bounds(loaded, pair, found), found["n_calibration"])
                figures |= {f"{model}_{name}_{key}": value for key, value in told.items()}
    return figures | _extremes(figures)


def trained(workspace: Workspace, model: str, epochs: int = EPOCHS) -> LoadedRun:
    """A model that learnt from the first cases; the one that an earlier measurement left, if it is there."""
    n_cases = N_TRAINING + N_HELD_OUT
    dataset = generated_dataset(workspace, f"coverage-{n_cases}", n_cases, "easy", spacing_mm=SPACING_MM)
    if read_report(dataset) is None:
        check(dataset, cohort_of(workspace, dataset))  # as every preparing does: who resembles whom is then known
    judged = dataset.case_ids[N_TRAINING:]
    limits: dict[str, Any] = {"modalities": MODALITIES, "epochs": epochs, "batch_size": 8, "max_minutes": 600}
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


def _case_bounds(loaded: LoadedRun, pair: Pair, found: Mapping[str, Any]) -> Numbers:
    """Of each held-out case, how many times its expected errors hold a share LEVEL of its voxels."""
    given, target = pair
    learnt = Learnt.from_json(found["learnt"])
    bounds = []
    for case_id in loaded.split.test:
        if {*given, target} <= set(loaded.dataset.record(case_id)["modalities"]):
            looked = look(loaded, case_id, given, (target,), found["draws"])[target]
            bounds.append(bound_within(errors_of(loaded, looked, target) / learnt.expected(looked)))
    return np.asarray(bounds)


def _redivided(bounds: Numbers, n_calibration: int) -> Figures:
    """The case rule, calibrated on some of the cases and tested on the others, over and over."""
    rng = np.random.default_rng(0)
    shares, contain = [], 0
    for _ in range(DIVISIONS):
        mixed = rng.permutation(bounds)
        bound, tested = bound_over_cases(mixed[:n_calibration].tolist()), mixed[n_calibration:]
        held = int((tested <= bound).sum())
        low, high = exact_interval(held, len(tested))
        shares.append(held / len(tested))
        contain += low <= LEVEL <= high
    return {"mean_case_share": float(np.mean(shares)), "intervals_that_hold": contain / DIVISIONS}


def _extremes(figures: Figures) -> Figures:
    def ending(*names: str) -> list[float]:
        return [v for key, v in figures.items() if key.endswith(names)]

    return {
        "voxel_low": min(ending("ct_voxel", "flair_voxel")),
        "voxel_high": max(ending("ct_voxel", "flair_voxel")),
        "tissue_low": min(ending("tissue_low")),
        "tissue_high": max(ending("tissue_high")),
        "mean_case_share_low": min(ending("mean_case_share")),
        "mean_case_share_high": max(ending("mean_case_share")),
        "case_interval_low": max(ending("case_interval_low")),
        "case_interval_high": min(ending("case_interval_high")),
    }
