"""Slices a second of our training loop beside a bare PyTorch loop with the same network, batches and optimiser.

Both hold the data in memory. The bare loop draws rows, computes the loss, goes back through it and takes a step. Ours
does besides what a run does: moving average of the weights, clipping by the usual norm, a look whether loss and
gradient are finite, the learning rate's course, a log each 10 steps, a checkpoint each 30 s. With augmentation both
loops augment, by the same function. Beside the clock's time stands the processor's, on which other work does not fall;
on a GPU, where its precision is bfloat16, only the clock counts.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks import Figures, Targets, is_quick_try
from benchmarks.timing import Duel, duel_by
from core.assembly import build_model
from core.augment import augment
from core.batches import informative_rows, make_batch
from core.compute import precision_of
from core.dataset import Dataset
from core.dataset_writer import DatasetWriter, PreparedCase
from core.models.base import Batch, place
from core.progress import silent
from core.runs import Run
from core.train import Training, make_config
from core.workspace import Workspace

HAS_GPU = torch.cuda.is_available()
LEAST = 0.90 if HAS_GPU else 0.95
TARGETS: Targets = {"throughput": (">=", LEAST), "augmented_throughput": (">=", LEAST)}
ROUNDS = int(os.environ.get("OVERHEAD_ROUNDS", "40"))
N_CASES, SIZE, N_SLICES, BATCH_SIZE = 4, 64, 32, 32


def measure_train_overhead() -> Figures:
    """Throughput of ours over that of the bare loop (the median of rounds of one epoch each), by both clocks."""
    torch.set_num_threads(1)
    device = torch.device("cuda" if HAS_GPU else "cpu")
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        dataset = _dataset(workspace)
        for name, is_augmented in (("", False), ("augmented_", True)):
            ours = Ours(workspace, dataset, device, is_augmented)
            bare = Bare(ours, is_augmented)
            rounds = 3 if is_quick_try() else ROUNDS
            wall, cpu = duel_by((time.perf_counter, time.process_time), ours.epoch, bare.epoch, rounds)
            judged = wall if HAS_GPU else cpu
            figures |= {f"{name}throughput": _ratio(judged), f"{name}throughput_by_the_clock": _ratio(wall)}
            figures |= {f"{name}slices_a_second": ours.n / statistics.median(wall.ours)}
            figures |= {f"{name}slices_a_second_bare": ours.n / statistics.median(wall.theirs)}
    return {"on_gpu": float(HAS_GPU), **figures}


def _ratio(times: Duel) -> float:
    """Throughput of ours over theirs."""
    return statistics.median(b / a for a, b in zip(times.ours, times.theirs, strict=True))


class Ours:
    """A run under way, an epoch at a time."""

    def __init__(self, workspace: Workspace, dataset: Dataset, device: torch.device, is_augmented: bool) -> None:
        limits = {"epochs": 10_000, "batch_size": BATCH_SIZE, "max_minutes": 1000, "preview_every": 100_000}
        config = make_config(dataset, "mvae", {}, {**limits, "optimiser": "adamw", "augment": is_augmented})
        run = Run.new(workspace, config, device.type)
        torch.manual_seed(0)
        model = build_model(config, dataset)
        place(model, device, to_learn=True)
        self.training = Training(run, dataset, model, dataset.split(0), silent)
        self.training.resume.begin()
        model.train()
        self.n, self.count = len(self.training.slices), 0

    def epoch(self) -> None:
        self.count += 1
        self.training.epoch(self.count)
        _finish()


class Bare:
    """The loop that one writes in a notebook."""

    def __init__(self, ours: Ours, is_augmented: bool) -> None:
        training = ours.training
        self.config, self.device = training.run.config, training.device
        torch.manual_seed(0)
        self.model = build_model(self.config, training.dataset)
        place(self.model, self.device, to_learn=True)
        self.model.train()
        rows = informative_rows(training.dataset, training.split.train, self.model.shapes)
        self.data = make_batch(training.dataset, rows, self.model.shapes).to(self.device, to_learn=True)
        lr = self.config.train.lr
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr, betas=(0.9, 0.999), weight_decay=0.0)
        self.is_half = precision_of(self.config.train, self.device) != "32-true"
        self.rng = np.random.default_rng(0) if is_augmented else None
        self.step = 0

    def epoch(self) -> None:
        for rows in torch.randperm(self.data.size).to(self.device).split(BATCH_SIZE):
            batch = self._batch(rows)
            if self.rng is not None:
                batch = augment(batch, self.rng)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.is_half):
                loss = self.model.loss(batch, "model", self.step)["total"]
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            self.step += 1
        _finish()

    def _batch(self, rows: torch.Tensor) -> Batch:
        data = self.data
        x = {m: images[rows] for m, images in data.x.items()}
        present = {m: there[rows] for m, there in data.present.items()}
        return Batch(x, present, data.mask[rows], data.case_index[rows], data.position[rows])


def _finish() -> None:
    if HAS_GPU:
        torch.cuda.synchronize()


def _dataset(workspace: Workspace) -> Dataset:
    """Noise in a box, of two modalities."""
    writer = DatasetWriter(workspace, "overhead")
    rng = np.random.default_rng(0)
    mask = np.zeros((SIZE, SIZE, N_SLICES), bool)
    mask[4:-4, 6:-6] = True
    for n in range(N_CASES):
        images = {m: rng.random(mask.shape, np.float32) * mask for m in ("T1", "T2")}
        scales, units = dict.fromkeys(images, (1.0, 0.0)), dict.fromkeys(images, "a.u.")
        writer.add(PreparedCase(f"case-{n}", images, scales, units, mask, np.eye(4)))
    return writer.finish("noise", {}, simulated=True)
