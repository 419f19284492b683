"""Does the whole way hold on real images? Leave one patient out, T1 -> T2, on a cohort of real brains.

`CROSSMODAL_DATA` names the folder that holds `brain_ms_2mm` (three patients; see the README's data section).
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks import Figures
from core.cohort import Cohort
from core.dataset import Dataset
from core.evaluate import evaluate
from core.ingest import ingest
from core.prepare import prepare
from core.recipes import make_recipe
from core.runs import Run
from core.synthesis import load_run, pick_device
from core.train import make_config, train
from core.workspace import Workspace

DATA = Path(os.environ.get("CROSSMODAL_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
N_FOLDS = 3


def measure_real() -> Figures:
    """Default settings throughout. Per fold: U-Net over linear, MVAE over constant, MVAE's error with a swapped T1."""
    if not (DATA / "brain_ms_2mm").is_dir():
        raise SystemExit("Set CROSSMODAL_DATA to the folder that holds brain_ms_2mm.")
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        ingest(workspace, [DATA / "brain_ms_2mm"], "ms")
        dataset = prepare(workspace, Cohort.open(workspace, "ms"), "ms", make_recipe("brain-mr"))
        for fold in range(N_FOLDS):
            for model, baseline in (("unet", "linear"), ("mvae", "constant")):
                result, minutes = _judge(workspace, dataset, model, fold)
                mae, other = _mae(result, model), _mae(result, baseline)
                figures[f"fold{fold}_{model}_mae"] = mae
                figures[f"fold{fold}_{baseline}_mae"] = other
                figures[f"fold{fold}_{model}_over_{baseline}"] = mae / other
                figures[f"fold{fold}_{model}_minutes"] = minutes
                figures[f"fold{fold}_{model}_swapped_over_own"] = _swap(result, model)
    return figures


def _judge(workspace: Workspace, dataset: Dataset, model: str, fold: int) -> tuple[dict[str, Any], float]:
    run = Run.new(workspace, make_config(dataset, model, {}, {}, 0, fold, N_FOLDS), "cpu")
    began = time.perf_counter()
    train(run, dataset, pick_device("cpu"))
    minutes = (time.perf_counter() - began) / 60
    return evaluate(load_run(workspace, run, "cpu")), minutes


def _mae(result: dict[str, Any], model: str) -> float:
    rows = [row for row in result["rows"] if (row["model"], row["given"], row["target"]) == (model, ["T1"], "T2")]
    return fmean(row["mae"] for row in rows)


def _swap(result: dict[str, Any], model: str) -> float:
    checks = [c for c in result["checks"] if (c["model"], c["given"], c["target"]) == (model, ["T1"], "T2")]
    return fmean(check["ratio"] for check in checks)


TARGETS = {
    f"fold{fold}_{key}": limit
    for fold in range(N_FOLDS)
    for key, limit in {
        "unet_over_linear": ("<=", 1.0),
        "mvae_over_constant": ("<=", 1.0),
        "mvae_swapped_over_own": (">=", 1.1),
        "unet_minutes": ("<=", 10.0),
        "mvae_minutes": ("<=", 10.0),
    }.items()
}
