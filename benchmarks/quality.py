"""Which model makes the better image in the same time? T1 -> T2 and T1+T2 -> FLAIR, held-out cases, three seeds.

Every model trains with its default settings (the one rule: they were chosen on inner validation cases, none for this
measurement) but augmentation, since in so short a time hardly a slice is seen more than four times, for the same
seconds of one core's own time (`QUALITY_SECONDS`, 180), on the same half of the same generated cases (`QUALITY_CASES`,
60). The U-Net that others are held against serves every subset and target with one set of weights, as the models with a
shared code do; beside it stands one that learns nothing but the task itself (`unet_alone`), with a training of that
length for each task. The best model with a shared code (MM-Synthesis, by the same inner validation cases) must keep up.

A case's figure is the mean absolute error in the mask, averaged over the seeds. An excess is the mean over cases of
model / U-Net - 1, its bound the upper end of the 95 % interval over cases. `QUALITY_MODELS` names others (`all`) and
`QUALITY_TASKS` other tasks (ct, pet): `make quality-slow` measures all of both. With `QUALITY_FOLDER` what was measured
is kept there, and an interrupted measurement goes on: a folder for one version of the program.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from benchmarks import Figures, Targets, is_quick_try
from benchmarks.generated import generated_dataset
from core.assembly import build_model
from core.dataset import Dataset
from core.fit import fit_once
from core.judging import judged_mask
from core.metrics import mae
from core.models import MODELS
from core.models.base import Shapes, place
from core.progress import silent
from core.runs import Run
from core.schedule import Clock
from core.statistics import mean_interval
from core.synthesis import LoadedRun, synthesise_case
from core.train import Training, make_config
from core.workspace import Workspace, write_json

SECONDS = float(os.environ.get("QUALITY_SECONDS", "5" if is_quick_try() else "180"))
N_CASES = int(os.environ.get("QUALITY_CASES", "12" if is_quick_try() else "60"))
N_SEEDS = int(os.environ.get("QUALITY_SEEDS", "1" if is_quick_try() else "3"))
ASKED = os.environ.get("QUALITY_MODELS", "unet,mm_synthesis,unet_alone,hemis,mvae,ae,pix2pix,linear").split(",")
ALL_TASKS = {
    "t2": (("T1",), "T2"),
    "flair": (("T1", "T2"), "FLAIR"),
    "ct": (("T1",), "CT"),
    "pet": (("T1", "CT"), "PET"),
}
TASKS = {task: ALL_TASKS[task] for task in os.environ.get("QUALITY_TASKS", "t2,flair").split(",")}
MODALITIES = tuple(dict.fromkeys(m for given, target in TASKS.values() for m in (*given, target)))
RIVAL, ALONE, BEST = "unet", "unet_alone", "mm_synthesis"
COMPETES = ASKED == ["all"] or {BEST, RIVAL} <= set(ASKED)
TARGETS: Targets = {f"{BEST}_{task}_excess_bound": ("<=", 0.05) for task in TASKS if COMPETES}
CPU = torch.device("cpu")
Errors = dict[str, float]  # case -> error


class ProcessorClock(Clock):
    """Counts this process's own time, on which other work does not fall."""

    begun = 0.0

    @property
    def seconds(self) -> float:
        return time.process_time() - self.begun


@dataclass(frozen=True)
class Bench:
    """Measures, and keeps what it found in the workspace's folder."""

    workspace: Workspace
    dataset: Dataset

    def errors(self, name: str, task: str) -> Errors:
        """The mean over seeds of each held-out case's error."""
        found = [self._one(name, task, seed) for seed in range(1 if _is_fitted(name) else N_SEEDS)]
        return {case: fmean(one[case] for one in found) for case in found[0]}

    def _one(self, name: str, task: str, seed: int) -> Errors:
        kept = self._file(name, task, seed)
        if not kept.exists():
            loaded = self._trained(name, task, seed)
            for each in [task] if name == ALONE else TASKS:
                write_json(self._file(name, each, seed), dict(_errors(loaded, *TASKS[each])))
        return dict(json.loads(kept.read_text()))

    def _file(self, name: str, task: str, seed: int) -> Path:
        learnt_from = "-".join(MODALITIES)
        return self.workspace.root / f"errors-{name}-{learnt_from}-{SECONDS:.0f}s-{task}-{seed}.json"

    def _trained(self, name: str, task: str, seed: int) -> LoadedRun:
        given, target = TASKS[task]
        settings = {"given": given, "target": (target,)} if name == ALONE else {}
        kind = RIVAL if name == ALONE else name
        limits: dict[str, Any] = {"modalities": MODALITIES}
        if not _is_fitted(name):
            limits |= {"augment": False, "epochs": 1000, "max_minutes": 600, "preview_every": 100_000}
        config = make_config(self.dataset, kind, settings, limits, seed=seed, fold=0, n_folds=2)
        run, split = Run.new(self.workspace, config, "cpu"), self.dataset.split(0, 0, 2)
        torch.manual_seed(seed)
        model = build_model(config, self.dataset)
        place(model, CPU, to_learn=True)
        if _is_fitted(name):
            learnt = fit_once(run, self.dataset, model, split, silent)
        else:
            training = Training(run, self.dataset, model, split, silent)
            clock = ProcessorClock(training.clock.total_steps, SECONDS)
            clock.begun, training.clock = time.process_time(), clock
            learnt = training.run_all()
            sys.stderr.write(f"{name} {task} seed {seed}: {clock.step} steps in {clock.seconds:.0f} s\n")
        return LoadedRun(run, self.dataset, learnt.eval(), learnt.shapes.modalities, split, CPU)


def _names() -> list[str]:
    """The models asked for; of all there are, those that make every task's target, which no size decides."""
    if ASKED != ["all"]:
        return ASKED
    shapes = Shapes(MODALITIES, (16, 16), 1)
    built = {name: kind(kind.Config(), shapes) for name, kind in MODELS.items() if kind.makes_images}
    able = [name for name, model in built.items() if all(model.supports(*task) for task in TASKS.values())]
    return [*able, ALONE]


def _is_fitted(name: str) -> bool:
    return name != ALONE and MODELS[name].is_fitted


def _errors(loaded: LoadedRun, given: tuple[str, ...], target: str) -> Iterator[tuple[str, float]]:
    for case_id in loaded.split.test:
        made = synthesise_case(loaded, case_id, given, [target])[target]
        truth = np.asarray(loaded.dataset.volume(case_id, target))
        yield case_id, mae(made, truth, judged_mask(loaded.dataset, case_id, target))


def measure_quality() -> Figures:
    """Mean error of each model and task, and the excess over the U-Net with its upper bound where cases suffice."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(os.environ.get("QUALITY_FOLDER", folder)))
        bench = Bench(workspace, generated_dataset(workspace, "quality", N_CASES))
        errors = {name: {task: bench.errors(name, task) for task in TASKS} for name in _names()}
    figures: Figures = {}
    for name, found in errors.items():
        for task, values in found.items():
            figures[f"{name}_{task}_mae"] = fmean(values.values())
            if name != RIVAL and RIVAL in errors:
                figures |= _excess(f"{name}_{task}_excess", values, errors[RIVAL][task])
            if name == BEST and ALONE in errors:
                figures |= _excess(f"{name}_{task}_over_alone", values, errors[ALONE][task])
    return figures


def _excess(name: str, values: Errors, rival: Errors) -> Figures:
    excess = mean_interval([value / rival[case] - 1 for case, value in values.items()])
    return {name: excess.mean} | ({f"{name}_bound": excess.high} if excess.high is not None else {})
