"""Which model makes the better image in the same time? One training each, T1 -> T2 and T1+T2 -> FLAIR, held-out cases.

Every model trains with its default settings for the same seconds on one core (`QUALITY_SECONDS`, 180) on the same
generated cases, half of which are held out (`QUALITY_CASES`, 60). A case's figure is the mean absolute error in the
mask; an excess is the mean over cases of model / U-Net - 1, and its bound the upper end of the 95 % interval over
cases. `QUALITY_MODELS` names others, such as the slower ones.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from statistics import fmean

import numpy as np
import torch

from benchmarks import Figures, Targets
from core.compare import judged_mask
from core.dataset import Dataset
from core.demo import make_cohort
from core.metrics import mae
from core.models import MODELS
from core.prepare import prepare
from core.recipes import make_recipe
from core.runs import Run
from core.statistics import mean_interval
from core.synthesis import LoadedRun, load_run, synthesise_case
from core.train import make_config, train
from core.workspace import Workspace

SECONDS = float(os.environ.get("QUALITY_SECONDS", "180"))
N_CASES = int(os.environ.get("QUALITY_CASES", "60"))
NAMES = os.environ.get("QUALITY_MODELS", "unet,mvae,mmvae,mopoe,mvtcae,jmvae").split(",")
MODALITIES = ("T1", "T2", "FLAIR")
TASKS = {"t2": (("T1",), "T2"), "flair": (("T1", "T2"), "FLAIR")}
TARGETS: Targets = {}


def measure_quality() -> Figures:
    """Mean error of each model and task, and the excess over the U-Net with its upper bound where cases suffice."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        workspace = Workspace(Path(place))
        cohort = make_cohort(workspace, N_CASES, 0, "medium", "quality")
        dataset = prepare(workspace, cohort, "quality", make_recipe("brain-mr-ct"))
        figures: Figures = {}
        errors = {name: _errors(_trained(workspace, dataset, name)) for name in NAMES}
    for name, found in errors.items():
        for task, values in found.items():
            figures[f"{name}_{task}_mae"] = fmean(values)
            if name != "unet" and "unet" in errors:
                excess = mean_interval([a / b - 1 for a, b in zip(values, errors["unet"][task], strict=True)])
                figures[f"{name}_{task}_excess"] = excess.mean
                if excess.high is not None:
                    figures[f"{name}_{task}_excess_bound"] = excess.high
    return figures


def _trained(workspace: Workspace, dataset: Dataset, name: str) -> LoadedRun:
    limits = {"modalities": MODALITIES, "max_minutes": SECONDS / 60, "epochs": 1000}
    if not MODELS[name].can_embed:
        limits = {"modalities": MODALITIES}
    run = Run.new(workspace, make_config(dataset, name, {}, limits, seed=0, fold=0, n_folds=2), "cpu")
    train(run, dataset, torch.device("cpu"))
    return load_run(workspace, run, "cpu")


def _errors(loaded: LoadedRun) -> dict[str, list[float]]:
    """Task -> the error of each held-out case."""
    dataset, config = loaded.dataset, loaded.run.config
    cases = dataset.split_of(config).test
    return {task: [_error(loaded, case_id, *what) for case_id in cases] for task, what in TASKS.items()}


def _error(loaded: LoadedRun, case_id: str, given: tuple[str, ...], target: str) -> float:
    made = synthesise_case(loaded, case_id, given, [target])[target]
    truth = np.asarray(loaded.dataset.volume(case_id, target))
    return mae(made, truth, judged_mask(loaded.dataset, case_id, target))
