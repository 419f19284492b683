"""Train the demo run and put it into assets/demo_run, from where every workspace gets it: `make demo-run`.

Same machine, same thread count: the same weights to the bit. Elsewhere the metrics agree within 1 %.
With `--judge` the shipped weights are judged anew, and only the results are replaced: `make demo-results`.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from core.dataset import Dataset
from core.evaluate import evaluate
from core.jobs.kinds import embed
from core.measured_doubt import FILE as DOUBT
from core.measured_doubt import write_doubt
from core.runs import Run, Status, new_job
from core.showcase import DERIVED, RUN_ID, SHIPPED, SKETCH, make_showcase, sketch_of
from core.synthesis import LoadedRun, load_run, pick_device
from core.train import make_config, train
from core.uncertainty import Pair, measure
from core.workspace import Workspace, read_json, write_json

MODEL = "hemis"
MODEL_SETTINGS: dict[str, object] = {"width": 16}  # as fine after so short a training, and quicker on pages
TRAIN_SETTINGS: dict[str, object] = {
    "epochs": 5,
    "augment": False,  # so short a training sees no slice often enough to learn it by heart
    "max_minutes": 600,
    "preview_every": 250,
    "modalities": ["T1", "T2", "FLAIR", "CT", "PET"],  # ultrasound shows a small sector, elsewhere for everyone
}
N_THREADS = 2
KEPT_PREVIEWS = 8
MAPS = [("umap", 2, "slice"), ("pca", 2, "slice"), ("umap", 2, "case"), ("pca", 2, "case")]
BARS: list[Pair] = [(("T1",), "CT")]
FILES = ("config.json", "job.json", "state.json", "history.jsonl", "weights.safetensors", "weights.sha256", *DERIVED)


def say(done: float, total: float, message: str = "") -> None:
    """Progress on stderr, one line."""
    sys.stderr.write(f"\r\033[K{100 * done / max(total, 1e-9):5.1f} % {message}")
    sys.stderr.flush()


def main() -> None:
    torch.set_num_threads(N_THREADS)
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        if "--judge" in sys.argv:
            judge_shipped(workspace)
            return
        run = learn(workspace)
        judge(workspace, run)
        ship(run)
        np.savez_compressed(SHIPPED / SKETCH, **sketch_of(Dataset.open(workspace, "demo")))


def judge_shipped(workspace: Workspace) -> None:
    """The numbers of the weights that ship, by today's metrics."""
    make_showcase(workspace, progress=say)
    loaded = load_run(workspace, Run.open(workspace, RUN_ID), "cpu")
    Run(SHIPPED).write_result({**evaluate(loaded, progress=say), "run": RUN_ID})
    write_doubt(Run(SHIPPED), bars_of(loaded))


def learn(workspace: Workspace) -> Run:
    """The demo cohort and its dataset, and a run trained on it."""
    make_showcase(workspace, progress=say)
    dataset = Dataset.open(workspace, "demo")
    run = Run.new(workspace, make_config(dataset, MODEL, MODEL_SETTINGS, TRAIN_SETTINGS), "cpu")
    began = time.monotonic()
    train(run, dataset, pick_device("cpu"), say)
    sys.stderr.write(f"\nTrained in {time.monotonic() - began:.0f} s.\n")
    return run


def judge(workspace: Workspace, run: Run) -> None:
    """Results on the held-out cases, the embedding and its maps."""
    now = time.time()
    started = now - run.history()[-1]["seconds"]
    run.write_status(Status("finished", 1, 1, "Finished", 0, started, started, now, now, device="cpu"))
    loaded = load_run(workspace, run, "cpu")
    run.write_result(evaluate(loaded, progress=say))
    bars_of(loaded)
    job = new_job(workspace, "embed", {"run": run.id, "maps": MAPS})
    embed(job, workspace, say)


def bars_of(loaded: LoadedRun) -> dict[str, Any]:
    """Error bars of BARS, which `measure` keeps in the run's folder too; others are a button away."""
    return measure(loaded, pairs=BARS, progress=say)


def ship(run: Run) -> None:
    """Copy what a workspace needs; of the previews, a few over the whole training."""
    shutil.rmtree(SHIPPED, ignore_errors=True)
    (SHIPPED / "previews").mkdir(parents=True)
    for name in FILES:
        shutil.copy(run.folder / name, SHIPPED / name)
    shutil.copytree(run.folder / "projections", SHIPPED / "projections")
    previews = run.previews
    step = max(1, -(-len(previews) // KEPT_PREVIEWS))
    for path in [*previews[:-1:step], previews[-1]]:
        shutil.copy(path, SHIPPED / "previews" / path.name)
    results = json.loads((SHIPPED / "results.json").read_text())
    write_json(SHIPPED / "results.json", {**results, "run": RUN_ID})
    write_json(SHIPPED / DOUBT, {**read_json(SHIPPED / DOUBT), "run": RUN_ID})


if __name__ == "__main__":
    main()
