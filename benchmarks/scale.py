"""Peak memory and time per epoch of a training, on a dataset and on one ten times as large.

Each trains in a process of its own. Even the smaller one is too large to be held in memory (`core.batches.HELD_BYTES`),
so both read slices from memory-mapped files, which the system may keep in its cache. Memory is the highest resident
size of the process (VmHWM, which counts like ru_maxrss but never a parent's memory), time that of its processor.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks import Figures, Targets, is_quick_try
from core.batches import HELD_BYTES
from core.dataset import Dataset
from core.dataset_writer import DatasetWriter, PreparedCase
from core.runs import Run
from core.train import make_config, train
from core.workspace import Workspace

TARGETS: Targets = {"memory_ratio": ("<=", 1.10), "time_ratio": ("<=", 10.5)}
SIZE, N_SLICES = (128, 112), 48
N_CASES, TIMES = 72, 10
EPOCHS = 2  # the first warms up
TEMPLATES = 4


def measure_scale() -> Figures:
    """Both datasets in turn; the ratios of the larger to the smaller."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        small, large = (_measured(workspace, n) for n in (N_CASES, N_CASES * (2 if is_quick_try() else TIMES)))
    return {
        "small_peak_mb": small["peak_mb"],
        "large_peak_mb": large["peak_mb"],
        "memory_ratio": large["peak_mb"] / small["peak_mb"],
        "small_epoch_s": small["epoch_s"],
        "large_epoch_s": large["epoch_s"],
        "time_ratio": large["epoch_s"] / small["epoch_s"],
        "time_ratio_by_the_clock": large["epoch_wall_s"] / small["epoch_wall_s"],
        "large_data_mb": large["data_mb"],
    }


def _measured(workspace: Workspace, n_cases: int) -> Figures:
    dataset = _dataset(workspace, n_cases)
    command = [sys.executable, "-m", "benchmarks.scale", str(workspace.root), dataset.name]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1])
    dataset.delete()
    return dict(found)


def _dataset(workspace: Workspace, n_cases: int) -> Dataset:
    rng = np.random.default_rng(0)
    mask = np.zeros((*SIZE, N_SLICES), bool)
    mask[8:-8, 4:-4] = True
    templates = [{m: rng.random(mask.shape, np.float32) * mask for m in ("T1", "T2")} for _ in range(TEMPLATES)]
    writer = DatasetWriter(workspace, f"cases-{n_cases}")
    for n in range(n_cases):
        images = templates[n % TEMPLATES]
        scales, units = dict.fromkeys(images, (1.0, 0.0)), dict.fromkeys(images, "a.u.")
        writer.add(PreparedCase(f"case-{n:04d}", images, scales, units, mask, np.eye(4)))
    return writer.finish("noise", {}, simulated=True)


def train_one(workspace: Workspace, name: str) -> Figures:
    """In a process of its own: two epochs, of which the second is timed."""
    torch.set_num_threads(1)
    dataset = Dataset.open(workspace, name)
    settings = {"epochs": EPOCHS, "batch_size": 32, "max_minutes": 100, "preview_every": 100_000}
    run = Run.new(workspace, make_config(dataset, "dense_ae", {"code": 4}, settings), "cpu")
    n_train = len(dataset.split(0).train)
    data_bytes = n_train * N_SLICES * SIZE[0] * SIZE[1] * 2 * 4
    if data_bytes <= HELD_BYTES:
        raise SystemExit("The dataset of this measurement would be held in memory; give it more cases.")
    ends: dict[str, tuple[float, float]] = {}  # of each epoch

    def watch(done: float, total: float, message: str = "") -> None:
        ends[message] = (time.process_time(), time.perf_counter())

    train(run, dataset, torch.device("cpu"), watch)
    (cpu, wall), (cpu_end, wall_end) = ends.values()
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    figures = {"peak_mb": int(peak.split()[1]) / 1024, "data_mb": data_bytes / 2**20}
    return {**figures, "epoch_s": cpu_end - cpu, "epoch_wall_s": wall_end - wall}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(train_one(Workspace(Path(sys.argv[1])), sys.argv[2])) + "\n")
