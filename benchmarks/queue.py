"""How soon a training starts, and how many tiny ones go through the queue in a minute."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks import Figures
from benchmarks.kill import tiny_dataset
from core.dataset import Dataset
from core.jobs import BACKENDS
from core.runs import Run
from core.train import make_config
from core.workspace import Workspace

RUNS = "CROSSMODAL_QUEUE_RUNS"
N_RUNS = 100
PATIENCE_S = 1800.0


def measure_queue() -> Figures:
    """Real workers on this machine's processor; CROSSMODAL_QUEUE_RUNS sets how many go through."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        tiny_dataset(workspace)
        first = statistics.median(_seconds_to_first_step(workspace) for _ in range(3))
        n_runs = int(os.environ.get(RUNS, N_RUNS))
        took_s, n_finished = _through(workspace, n_runs)
    return {
        "first_step_s": first,
        "runs": n_runs,
        "not_finished": n_runs - n_finished,
        "seconds_a_run": took_s / n_runs,
    }


def _run(workspace: Workspace, model: str, epochs: int) -> Run:
    settings = {"width": 4} if model == "ae" else {}
    return Run.new(workspace, make_config(Dataset.open(workspace, "tiny"), model, settings, {"epochs": epochs}), "cpu")


def _seconds_to_first_step(workspace: Workspace) -> float:
    backend, run = BACKENDS["local"], _run(workspace, "ae", 5000)
    began = time.monotonic()
    backend.start(run)
    backend.wait_for(run, lambda: run.status.done >= 1, PATIENCE_S)
    took_s = time.monotonic() - began
    backend.cancel(run)
    backend.wait(run, PATIENCE_S)
    return took_s


def _through(workspace: Workspace, n_runs: int) -> tuple[float, int]:
    backend = BACKENDS["local"]
    runs = [_run(workspace, "ae", 1) for _ in range(n_runs)]
    began = time.monotonic()
    for run in runs:
        backend.start(run)
    for run in runs:
        backend.wait(run, PATIENCE_S)
    return time.monotonic() - began, sum(run.state == "finished" for run in runs)


TARGETS = {"first_step_s": ("<=", 8.0), "not_finished": ("<=", 0.0)}
