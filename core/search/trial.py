"""One training of a search: an ordinary run in the search's folder, judged as an evaluation judges, on its fold."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import torch

from core.config import HoldOut, RunConfig
from core.dataset import Dataset
from core.disk import CODE as DISK_FULL
from core.errors import UserError
from core.evaluate import Task, judge_case, tasks_of
from core.metrics import IN_UNIT, METRICS
from core.models import MODELS
from core.progress import Cancelled, Progress
from core.runs import Run
from core.search.grid import Point
from core.search.rounds import Verdict
from core.search.settings import UNSAID, SearchConfig
from core.shortage import told_of_memory
from core.synthesis import LoadedRun, load_run, supported_targets
from core.train import make_config, train
from core.versions import TRAINING
from core.workspace import digest_of, read_json, write_json

ENDS_ALL = (DISK_FULL, "DATASET-CHANGED", "NO-GPU", "NO-COMPILER")  # what no other point could escape either


def run_config(dataset: Dataset, search: SearchConfig, point: Point, hold_out: HoldOut) -> RunConfig:
    """What one point is trained with, its fold held out."""
    of_model = {**search.model_settings, **point.of("model")}
    of_training = {**UNSAID, **search.train, **point.of("train")}
    return make_config(dataset, search.model, of_model, of_training, search.seed, hold_out=hold_out)


class Crew(Protocol):
    """Those who train in place of this process, several at once; see crew.py."""

    def begin(self, key: str, point: Point, hold_out: HoldOut) -> None: ...

    def result(self, key: str, progress: Progress) -> Verdict: ...

    def leave(self) -> None: ...


class Trials:
    """Trains and judges; what has been judged before is read, never done again."""

    def __init__(
        self, folder: Path, search: SearchConfig, dataset: Dataset, device: torch.device, crew: Crew | None = None
    ) -> None:
        """folder: of the search."""
        self.folder, self.search, self.dataset, self.device, self.crew = folder, search, dataset, device, crew

    def begin(self, point: Point, hold_out: HoldOut) -> None:
        """Say that this training will be asked for: where there is a crew, it starts now."""
        if self.crew is None:
            return
        config = run_config(self.dataset, self.search, point, hold_out)
        if not self._score_path(key_of(config)).exists():
            self.crew.begin(key_of(config), point, hold_out)

    def judge(self, point: Point, hold_out: HoldOut, progress: Progress) -> Verdict:
        """The point's scores on the judged cases.

        Raises:
            UserError: No other training could succeed either. A fault of this one alone is its verdict.
            Cancelled: `progress` raised it; the training goes on from there the next time.
        """
        config = run_config(self.dataset, self.search, point, hold_out)
        key = key_of(config)
        path = self._score_path(key)
        if path.exists():
            return Verdict(**read_json(path))
        if self.crew is not None:
            self.crew.begin(key, point, hold_out)
            return self.crew.result(key, progress)
        try:
            with told_of_memory():
                verdict = self._train_and_score(config, key, progress)
        except UserError as error:
            if error.code in ENDS_ALL:
                raise
            verdict = Verdict({}, 0.0, error=str(error), code=error.code)
        write_json(path, asdict(verdict))
        return verdict

    def _score_path(self, key: str) -> Path:
        return self.folder / "scores" / f"{key}.json"

    def _train_and_score(self, config: RunConfig, key: str, progress: Progress) -> Verdict:
        run = Run(self.folder / "runs" / f"run-{key}")
        if not (run.has_weights and run.state == "finished"):
            run = train_run(config, run.folder, self.dataset, self.device, progress)
        began = time.monotonic()
        loaded = load_run(self.dataset.workspace, run, self.device)
        scores = {case_id: score(loaded, case_id, self.search.judged) for case_id in loaded.split.test}
        judged = {case_id: values for case_id, values in scores.items() if values}
        if not judged:
            raise UserError(
                "Nothing could be judged: no case of this fold has both what is given and what is made.",
                "NOTHING-JUDGED",
            )
        last = run.history()[-1]
        seconds = round(last["seconds"] + time.monotonic() - began, 3)
        return Verdict(judged, seconds, is_cut=_is_cut(config, last["epoch"]))


def train_run(config: RunConfig, folder: Path, dataset: Dataset, device: torch.device, progress: Progress) -> Run:
    """A run in this very folder, trained in this process; a training that was stopped goes on.

    Raises:
        UserError: It failed; recorded as the run's error too.
        Cancelled: `progress` raised it; the run rests.
    """
    run = Run.make(folder, config, device.type)
    run.update(state="running", started=time.time(), device=str(device))
    try:
        train(run, dataset, device, progress)
    except Cancelled:
        run.update(state="paused", ended=time.time())
        raise
    except UserError as error:
        run.update(state="failed", ended=time.time(), error=str(error), code=error.code)
        raise
    run.update(state="finished", ended=time.time())
    return run


def key_of(config: RunConfig) -> str:
    """The same for the same config, which gives the same result as long as models learn as they do today."""
    return digest_of({**config.model_dump(), "version": TRAINING})


def score(loaded: LoadedRun, case_id: str, target: str = "") -> dict[str, float]:
    """Every metric on the 0-1 scale: the mean over what is made of the mean over what it is made from.

    Given are single modalities and all others together. Making a modality from itself counts only where the model can
    do nothing else.
    """
    rows = judge_case(loaded, case_id, _wanted(tasks_of(loaded, case_id, "small"), target, _crosses(loaded)))
    by_target: dict[str, list[dict[str, float]]] = {}
    for row in rows:
        scale = loaded.dataset.unit_scale(row["target"], case_id)
        values = {name: row.get(name, math.nan) / (scale if name in IN_UNIT else 1) for name in METRICS}
        by_target.setdefault(row["target"], []).append(values)
    means = [{name: _mean([row[name] for row in found]) for name in METRICS} for found in by_target.values()]
    whole = {name: _mean([mean[name] for mean in means]) for name in METRICS} if means else {}
    return {name: value for name, value in whole.items() if math.isfinite(value)}


def _crosses(loaded: LoadedRun) -> bool:
    """Whether the model makes any modality from another."""
    known = loaded.learnt
    subsets = {*((m,) for m in known), *(tuple(m for m in known if m != target) for target in known)}
    return any(target not in given for given in subsets for target in supported_targets(loaded, given))


def _wanted(tasks: Sequence[Task], target: str, is_across: bool) -> list[Task]:
    kept = [
        Task(task.given, tuple(t for t in task.targets if (t not in task.given) == is_across and target in ("", t)))
        for task in tasks
    ]
    return [task for task in kept if task.targets]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _is_cut(config: RunConfig, epoch: int) -> bool:
    return not MODELS[config.model].is_fitted and not config.train.patience and epoch < config.train.epochs
