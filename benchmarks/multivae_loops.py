"""Both training loops in the library's environment, timed in turn; see `multivae_speed`."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from multivae.data.datasets import MultimodalBaseDataset
from multivae.models import MVAE, MVAEConfig
from multivae.trainers import BaseTrainer, BaseTrainerConfig

from benchmarks import Figures
from benchmarks.multivae_side import Decoder, Encoder
from core.assembly import build_model
from core.batches import informative_rows, make_batch
from core.config import RunConfig
from core.dataset import Dataset
from core.dataset_writer import DatasetWriter, PreparedCase
from core.models.base import Model, place
from core.progress import silent
from core.runs import Run
from core.train import Training, make_config
from core.workspace import Workspace

SIZE, N_CASES, SLICES, BATCH_SIZE = 64, 5, 64, 32
MODALITIES = ("one", "two")
EPOCHS, ROUNDS = 5, 3
LR = 1e-3
CPU = torch.device("cpu")
Work = Callable[[], object]


class Loops:
    """Trainings of either side, each ready to run from its first step."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.workspace = folder, Workspace(folder / "workspace")
        self.dataset = _write(self.workspace)
        self.split = self.dataset.split(0)
        stacks = np.concatenate([np.array(self.dataset.slices(case_id)) for case_id in self.split.train])
        rows = torch.from_numpy(stacks)
        self.images = {m: rows[:, n : n + 1].contiguous() for n, m in enumerate(self.dataset.modalities)}

    @property
    def n_images(self) -> int:
        """That a training looks at."""
        return EPOCHS * sum(len(x) for x in self.images.values())

    def config(self) -> RunConfig:
        plain = {"optimiser": "adamw", "schedule": "constant", "augment": False}
        limits = {"epochs": EPOCHS, "batch_size": BATCH_SIZE, "max_minutes": 600, "preview_every": 100_000}
        train = {**plain, **limits, "lr": LR}
        return make_config(self.dataset, "mvae", {"cross_weight": 0.0, "n_subsets": 0}, train)

    def our_model(self) -> Model:
        model = build_model(self.config(), self.dataset)
        place(model, CPU, to_learn=True)
        return model

    def ours(self) -> Work:
        run = Run.new(self.workspace, self.config(), "cpu")
        return Training(run, self.dataset, self.our_model(), self.split, silent).run_all

    def their_model(self) -> MVAE:
        """The library's model around networks like ours."""
        own = build_model(self.config(), self.dataset)
        config, d = own.config, own.config.latent_dim
        told = MVAEConfig(
            n_modalities=len(MODALITIES),
            latent_dim=d,
            decoders_dist=dict.fromkeys(MODALITIES, config.likelihood),
            decoder_dist_params={m: {"scale": config.scale} for m in MODALITIES},
        )
        encoders = {m: Encoder(own.encoders[m], d) for m in MODALITIES}
        return MVAE(told, encoders, {m: Decoder(own.decoders[m], d) for m in MODALITIES})

    def theirs(self) -> Work:
        model = self.their_model()
        config = BaseTrainerConfig(
            output_dir=str(self.folder / "theirs"),
            per_device_train_batch_size=BATCH_SIZE,
            num_epochs=EPOCHS,
            learning_rate=LR,
            no_cuda=True,
        )
        train: Work = BaseTrainer(model, MultimodalBaseDataset(self.images), training_config=config).train
        return train

    def steps(self) -> dict[str, Work]:
        """One loss and its gradient of each, on one batch."""
        ours, theirs = self.our_model(), self.their_model()
        rows = informative_rows(self.dataset, self.split.train)[:BATCH_SIZE]
        batch = make_batch(self.dataset, rows, ours.shapes).to(CPU, to_learn=True)
        inputs, late = MultimodalBaseDataset(dict(batch.x)), 1000  # warm-ups are over
        return {
            "our_step": lambda: ours.loss(batch, "model", late)["total"].backward(),
            "their_step": lambda: theirs(inputs, epoch=late).loss.backward(),
        }


def _write(workspace: Workspace) -> Dataset:
    rng = np.random.default_rng(0)
    writer = DatasetWriter(workspace, "speed")
    for n in range(N_CASES):
        images = {m: rng.random((SIZE, SIZE, SLICES), np.float32) for m in MODALITIES}
        mask = np.ones((SIZE, SIZE, SLICES), bool)
        scales, units = dict.fromkeys(images, (1.0, 0.0)), dict.fromkeys(images, "a.u.")
        writer.add(PreparedCase(f"case-{n}", images, scales, units, mask, np.eye(4)))
    return writer.finish("speed", {}, simulated=False)


def _rounds(makers: dict[str, Callable[[], Work]], n_rounds: int) -> dict[str, Any]:
    """(wall, processor) seconds of each in each round, after one that warms up; who begins changes."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in makers}
    for n in range(n_rounds + 1):
        for name in makers if n % 2 else reversed(makers):
            work = makers[name]()
            wall, processor = time.perf_counter(), time.process_time()
            work()
            times[name].append((time.perf_counter() - wall, time.process_time() - processor))
    return {name: np.array(found[1:]) for name, found in times.items()}


def measure(folder: Path, n_rounds: int) -> Figures:
    """See `multivae_speed`."""
    loops = Loops(folder)
    times = _rounds({"ours": loops.ours, "theirs": loops.theirs}, n_rounds)
    found = {f"{name}_images_a_s": loops.n_images / statistics.median(t[:, 0]) for name, t in times.items()}
    wall, processor = np.median(times["theirs"] / times["ours"], axis=0)
    found |= {"ours_over_theirs": float(wall), "ours_over_theirs_processor": float(processor)}
    steps = loops.steps()
    alone = _rounds({name: lambda work=work: work for name, work in steps.items()}, 3 * n_rounds)
    found |= {f"{name}_ms": 1000 * statistics.median(t[:, 1]) for name, t in alone.items()}
    return {
        **found,
        "step_alone_ours_over_theirs": float(np.median(alone["their_step"] / alone["our_step"], axis=0)[1]),
    }


def main() -> None:
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    folder = Path(sys.argv[2])
    quick = json.loads((folder / "jobs.json").read_text())["quick"]
    (folder / "answers.json").write_text(json.dumps(measure(folder, 1 if quick else ROUNDS)))


if __name__ == "__main__":
    main()
