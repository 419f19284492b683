"""The demo, whole: the generated cohort, its dataset, and the trained run that ships with the program."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from core.dataset import Dataset
from core.demo import make_cohort
from core.prepare import prepare
from core.progress import Progress, part, silent
from core.quality.check import check
from core.recipes import make_recipe
from core.runs import Run
from core.workspace import Workspace, read_json, write_json

NAME = "demo"
RECIPE = "brain-mr-ct"
SHIPPED = Path(__file__).resolve().parents[1] / "assets" / "demo_run"
RUN_ID = "run-demo"
N_CASES, SEED, LEVEL = 24, 0, "medium"  # what the shipped run was trained on
DERIVED = ("results.json", "embedding.npz")  # right for exactly the arrays that they were computed from


def make_showcase(
    workspace: Workspace, n_cases: int = N_CASES, seed: int = SEED, level: str = LEVEL, progress: Progress = silent
) -> dict[str, Any]:
    """Generate the cohort, prepare it and, where it is the cohort that the shipped run learnt from, add that run.

    What is there already is made again, to the same bytes.
    """
    cohort = make_cohort(workspace, n_cases, seed, level, NAME, part(progress, 0.0, 0.7))
    dataset = prepare(workspace, cohort, NAME, make_recipe(RECIPE), part(progress, 0.7, 0.85))
    check(dataset, cohort, part(progress, 0.85, 0.99))
    result: dict[str, Any] = {"cohort": cohort.name, "dataset": dataset.name, "cases": len(dataset.case_ids)}
    if (n_cases, seed, level) == (N_CASES, SEED, LEVEL) and (SHIPPED / "config.json").exists():
        result["run"] = install_shipped_run(workspace, dataset).id
    progress(1.0, 1.0, "The demo is ready")
    return result


def install_shipped_run(workspace: Workspace, dataset: Dataset) -> Run:
    """Copy the shipped run into the workspace.

    Another processor can round a few voxels of the generated arrays differently. The weights serve all the same; what
    was computed from the other arrays (DERIVED) is then left out, to be computed here.
    """
    folder = workspace.runs / RUN_ID
    shutil.rmtree(folder, ignore_errors=True)
    draft = workspace.runs / f".{RUN_ID}"
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(SHIPPED, draft)
    config = read_json(draft / "config.json")
    if config["dataset_fingerprint"] != dataset.fingerprint:
        write_json(draft / "config.json", {**config, "dataset_fingerprint": dataset.fingerprint})
        for name in DERIVED:
            (draft / name).unlink(missing_ok=True)
        shutil.rmtree(draft / "projections", ignore_errors=True)
    draft.rename(folder)
    return Run(folder)


def is_ready(workspace: Workspace) -> bool:
    """Whether the demo's dataset and run are in the workspace."""
    return (workspace.datasets / NAME / "index.json").exists() and (workspace.runs / RUN_ID / "config.json").exists()
