"""Trainings of a search side by side: one Ray task each, which writes a score as the search itself would.

Only what lies on shared storage counts; a task that a lost node takes with it is started again elsewhere, and goes on
from its newest checkpoint.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.cluster import share_of
from core.config import HoldOut, build
from core.dataset import Dataset
from core.errors import UserError
from core.progress import Cancelled, Paused, Progress
from core.runs import Job
from core.search.grid import Point, points_of
from core.search.rounds import Verdict
from core.search.settings import SearchConfig
from core.search.trial import ENDS_ALL, Trials
from core.synthesis import pick_device
from core.workspace import Workspace

ASK_EVERY_S = 0.5
LEAVE_S = 60.0  # for trainings that were asked to stop, until they have kept what they have
DEATHS = 6  # of a task, before its search fails


class RayCrew:
    """Trains on the cluster whose driver this process is."""

    def __init__(self, job: Job, config: SearchConfig, device: str) -> None:
        import ray  # here alone, and only for a search on a cluster

        ray.init(log_to_driver=False, logging_level="ERROR")
        share = share_of(device, int(config.train.get("devices", 1)))
        self.ray, self.job, self.device = ray, job, device
        self.task = ray.remote(num_cpus=share.cpus, num_gpus=share.gpus, max_retries=DEATHS)(train_and_judge)
        self.under_way: dict[str, Any] = {}

    def begin(self, key: str, point: Point, hold_out: HoldOut) -> None:
        """Start a training, unless it is under way."""
        if key not in self.under_way:
            about = (str(self.job.folder), point.number, list(hold_out.judged), list(hold_out.unseen), self.device)
            self.under_way[key] = self.task.remote(*about)

    def result(self, key: str, progress: Progress) -> Verdict:
        """Wait for a training that was begun.

        Raises:
            UserError: It ends the whole search: no other could succeed, or its process died again and again.
            Cancelled: `progress` raised it.
        """
        task = self.under_way[key]
        try:
            while not self.ray.wait([task], timeout=ASK_EVERY_S)[0]:
                progress(0, 1)
            found = self.ray.get(task)
        except (self.ray.exceptions.WorkerCrashedError, self.ray.exceptions.OutOfMemoryError) as error:
            said = f"A training died {DEATHS + 1} times on the cluster. Look at its memory, then resume the search."
            raise UserError(said, "PROCESS-LOST") from error
        del self.under_way[key]
        if found is None:  # it saw the wish to stop before we did
            progress(0, 1)
            raise Cancelled
        verdict = Verdict(**found)
        if verdict.code in ENDS_ALL:
            raise UserError(verdict.error, verdict.code)
        return verdict

    def leave(self) -> None:
        """End what nobody waits for any more; who was asked to stop may keep what it has."""
        tasks = list(self.under_way.values())
        self.under_way.clear()
        if tasks and (self.job.is_cancel_requested or self.job.is_pause_requested):
            self.ray.wait(tasks, num_returns=len(tasks), timeout=LEAVE_S)
        for task in tasks:
            self.ray.cancel(task, force=True)


def train_and_judge(
    folder: str, number: int, judged: list[str], unseen: list[str], device: str
) -> dict[str, Any] | None:
    """One training in a process of the cluster; None where a stop was asked for."""
    job = Job(Path(folder))
    config = build(SearchConfig, job.params["config"])
    dataset = Dataset.open(Workspace(job.folder.parent.parent), config.dataset)
    trials = Trials(job.folder, config, dataset, pick_device(device))
    hold_out = HoldOut(judged=tuple(judged), unseen=tuple(unseen))
    try:
        return asdict(trials.judge(points_of(config.grid)[number - 1], hold_out, _heeding(job)))
    except UserError as error:
        return asdict(Verdict({}, 0.0, error=str(error), code=error.code))
    except Cancelled:
        return None


def _heeding(job: Job) -> Progress:
    def progress(done: float, total: float, message: str = "") -> None:
        if job.is_cancel_requested:
            raise Cancelled
        if job.is_pause_requested:
            raise Paused

    return progress
