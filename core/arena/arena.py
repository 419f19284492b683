"""The arena itself: fold after fold, entrant after entrant, an ordinary run each; its table grows as it goes."""

from __future__ import annotations

import time
from typing import Any

import torch

from core.arena.settings import ArenaConfig, run_settings
from core.cost import cost_of
from core.dataset import Dataset, Split
from core.errors import InvalidConfigError, UserError
from core.evaluate import costs_of, judge_case, tasks_of
from core.leaks import find_leaks, refuse_leaks
from core.progress import Progress, silent
from core.protocol import fingerprint_of, protocol_of
from core.runs import Job, Run
from core.search.trial import ENDS_ALL, key_of, train_run
from core.shortage import told_of_memory
from core.synthesis import load_run
from core.workspace import digest_of, plain, read_json, write_json

Row = dict[str, Any]


class Arena:
    """An arena under way. What is done lies in its folder and is not done again.

    runs/run-KEY/   a training, an ordinary run      scores/KEY.json   its rows, cost and time
    results.json    all rows so far, with their protocol
    """

    def __init__(
        self, job: Job, config: ArenaConfig, dataset: Dataset, device: torch.device, progress: Progress = silent
    ) -> None:
        if config.dataset_fingerprint != dataset.fingerprint:
            raise InvalidConfigError(
                "The dataset has changed since this arena was made. Make a new one.", "DATASET-CHANGED"
            )
        self.job, self.config, self.dataset, self.device, self.progress = job, config, dataset, device, progress
        self.splits = [dataset.split(config.seed, fold, config.n_folds) for fold in range(config.n_folds)]
        self.verdicts: list[Row] = []
        self.checked: list[str] = []

    def run(self) -> dict[str, Any]:
        """All that is not done yet; returns what `results.json` holds.

        Raises:
            InvalidConfigError: Something of a fold's held-out cases was seen in its training (LEAK).
            UserError: Nobody could be trained.
            Cancelled: `progress` raised it; what is done is kept.
        """
        self._look_for_leaks()
        for fold in range(self.config.n_folds):
            for model in self.config.entrants:
                self.verdicts.append(self._judge(model, fold))
                self._write()
        if all(verdict["error"] for verdict in self.verdicts):
            first = self.verdicts[0]
            raise UserError(f"No model could be trained. The first one: {first['error']}", str(first["code"]))
        return self._write()

    @property
    def total(self) -> int:
        return self.config.n_folds * len(self.config.entrants)

    def _look_for_leaks(self) -> None:
        for split in self.splits:
            found = find_leaks(self.dataset, split, split.test, progress=self._look)
            refuse_leaks(found)
            self.checked = list(found.checked)

    def _look(self, done: float, total: float, message: str = "") -> None:
        self.progress(0, self.total, "Looking for leaks")

    def _judge(self, model: str, fold: int) -> Row:
        config = run_settings(self.dataset, self.config, model, fold)
        key = key_of(config)
        path = self.job.folder / "scores" / f"{key}.json"
        if path.exists():
            return dict(read_json(path))
        first = len(self.verdicts)
        words = f"Training {first + 1} of {self.total}: {model}, fold {fold + 1} of {self.config.n_folds}"

        def report(done: float, total: float, message: str = "") -> None:
            self.progress(first + min(done / max(total, 1e-9), 0.999), self.total, words)

        report(0, 1)
        began = time.monotonic()
        verdict: Row = {"model": model, "fold": fold, "rows": [], "cost": {}, "error": "", "code": ""}
        try:
            run = Run(self.job.folder / "runs" / f"run-{key}")
            if not (run.has_weights and run.state == "finished"):
                run = train_run(config, run.folder, self.dataset, self.device, report)
            with told_of_memory():
                verdict |= self._score(run, self.splits[fold])
        except UserError as error:
            if error.code in ENDS_ALL:
                raise
            verdict |= {"error": str(error), "code": error.code}
        verdict["seconds"] = round(time.monotonic() - began, 3)
        write_json(path, plain(verdict))
        return verdict

    def _score(self, run: Run, split: Split) -> Row:
        loaded = load_run(self.dataset.workspace, run, self.device)
        plans = {case_id: tasks_of(loaded, case_id, self.config.subsets) for case_id in split.test}
        rows = [row for case_id, tasks in plans.items() if tasks for row in judge_case(loaded, case_id, tasks)]
        if not rows:
            raise UserError("Nothing could be judged: no case has what this model makes.", "NOTHING-JUDGED")
        first = dict(list(plans.items())[:1])
        return {"rows": rows, "cost": cost_of(loaded, costs_of(loaded, first)), "steps": run.history()[-1]["step"]}

    def _write(self) -> dict[str, Any]:
        table = {
            "config": self.config.model_dump(mode="json"),
            "protocol": self._protocol(),
            "folds": [list(split.test) for split in self.splits],
            "rows": [row for verdict in self.verdicts for row in verdict["rows"]],
            "entrants": [self._summary(model) for model in self.config.entrants],
            "leaks": {"checked": self.checked},
        }
        found: dict[str, Any] = plain(table)
        self.job.write_result(found)
        return found

    def _summary(self, model: str) -> Row:
        """What one entrant took; `costs` as an evaluation has them, one of each fold."""
        own = [verdict for verdict in self.verdicts if verdict["model"] == model]
        return {
            "model": model,
            "folds": sum(not verdict["error"] for verdict in own),
            "seconds": sum(verdict["seconds"] for verdict in own),
            "steps": [verdict["steps"] for verdict in own if not verdict["error"]],
            "costs": [verdict["cost"] for verdict in own if verdict["cost"]],
            "error": next((verdict["error"] for verdict in own if verdict["error"]), ""),
        }

    def _protocol(self) -> dict[str, Any]:
        """Of all folds at once: every case is held out once."""
        cases = sorted(case_id for split in self.splits for case_id in split.test)
        first = self.splits[0]
        parts = [[split.train, split.val, split.test] for split in self.splits]
        protocol = {**protocol_of(self.dataset, first, cases), "held_out": True, "split": digest_of(parts)}
        return {**protocol, "fingerprint": fingerprint_of(protocol)}
