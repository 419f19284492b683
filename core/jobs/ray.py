"""Workers on a Ray cluster: one Ray job each, which gets the same folder over shared storage."""

from __future__ import annotations

import contextlib
import shlex
import time
from pathlib import Path

from core import cluster
from core.errors import UserError
from core.jobs import ray_api
from core.jobs.handed import Handed, hand_over, handed_of, sign_of, withdraw
from core.jobs.order import Entry
from core.jobs.queue import Queue, now_monotonic
from core.runs import Job

ROOT = Path(__file__).resolve().parents[2]
ARRIVAL_S = 30.0  # from the hand-over until the cluster must know the job
ASK_EVERY_S = 1.0
STOP_PATIENCE_S = 30.0  # a worker looks for the flag between steps; after this time the cluster is asked, and again
HUNG_S = 900.0


class RayWorkers:
    """What this process knows of workers on the cluster; all that matters lies in the jobs' folders."""

    def __init__(self) -> None:
        self._asked: dict[str, tuple[float, ray_api.Told]] = {}  # submission -> when, and what Ray said
        self._signs: dict[str, str] = {}

    def launch(self, queue: Queue, base: Path, entry: Entry) -> None:
        """Hand the job over and return at once. Where the cluster does not answer, it is taken for dead later."""
        job = Job(base / entry.key)
        job.update(message="Waits for a free place in the cluster")
        try:
            _submit(base, entry)
        except ray_api.Unreachable:
            return
        except UserError as error:
            withdraw(job.folder)
            with queue.settling(entry, "failed") as is_first:
                if is_first:
                    ended = {"ended": time.time(), "message": str(error), "in_queue": False}
                    job.update(state="failed", error=str(error), code=error.code, **ended)

    def lives(self, queue: Queue, base: Path, entry: Entry) -> bool:
        """Whether the worker lives, as far as can be told. Passes its signs of life on, and ends one that must."""
        job, handed = Job(base / entry.key), handed_of(base / entry.key, entry.attempt)
        is_new = now_monotonic() - entry.beat < ARRIVAL_S
        if handed is None:
            return is_new
        told = self._told(handed)
        asked = job.is_cancel_requested or job.is_pause_requested
        if told.status == ray_api.GONE:
            return is_new and not asked
        if told.error_type == ray_api.NO_PLACE and not asked:
            return _waits_again(base, entry)
        if told.status in ray_api.ENDED:
            _log(job.folder, told)
            return False
        if told.status == "PENDING" and asked:
            withdraw(job.folder)  # whenever the cluster comes to it, it leaves at once
            ray_api.stop(handed.submission)
            return False
        if told.status == "RUNNING":
            self._heed(queue, job, entry, handed)
        return True

    def _heed(self, queue: Queue, job: Job, entry: Entry, handed: Handed) -> None:
        sign = sign_of(job.folder, handed.submission)
        if sign and self._signs.get(entry.key) != sign:
            self._signs[entry.key] = sign
            queue.beat(entry.key, entry.attempt)
        elif sign and now_monotonic() - entry.beat > HUNG_S:
            ray_api.stop(handed.submission)
        if is_overdue(job, STOP_PATIENCE_S):
            ray_api.stop(handed.submission)

    def _told(self, handed: Handed) -> ray_api.Told:
        when, told = self._asked.get(handed.submission, (-ASK_EVERY_S, ray_api.Told(ray_api.UNKNOWN)))
        if time.monotonic() - when < ASK_EVERY_S:
            return told
        told = ray_api.status_of(handed.submission)
        self._asked[handed.submission] = (time.monotonic(), told)
        return told


RAY = RayWorkers()


def is_far(folder: Path, entry: Entry) -> bool:
    """Whether a running job's worker is on the cluster; the folder tells where the queue was lost."""
    return entry.is_far or handed_of(folder, entry.attempt) is not None


def _submit(base: Path, entry: Entry) -> None:
    folder = base / entry.key
    handed = hand_over(folder, entry.attempt)
    share = cluster.share_of(entry.device.partition("*")[0], entry.n_gpus)
    resources = {} if entry.kind == "search" else {"cpus": share.cpus, "gpus": share.gpus}
    ray_api.submit(handed.submission, _command(folder, handed.submission), _environment(base), resources)


def _waits_again(base: Path, entry: Entry) -> bool:
    """Put a job at the end of the cluster's line that had waited too long there: that is no death."""
    with contextlib.suppress(ray_api.Unreachable, UserError):
        _submit(base, entry)
    return True


def is_overdue(job: Job, patience_s: float) -> bool:
    """Whether a stop was asked for longer ago than that, and the worker has not been heard of for as long."""
    with contextlib.suppress(FileNotFoundError):
        asked = (job.folder / "cancel").stat().st_mtime
        return time.time() - max(asked, job.status.heartbeat) > patience_s
    return False


def _command(folder: Path, submission: str) -> str:
    log = shlex.quote(str(folder / "log.txt"))
    return f"exec python -m core.jobs.far {shlex.quote(str(folder))} {submission} >> {log} 2>&1"


def _environment(base: Path) -> dict[str, str]:
    """The program lies at the same place on all machines of the cluster, as in the container; so does the storage."""
    own = {"PYTHONPATH": str(ROOT), "CROSSMODAL_WORKSPACE": str(base), cluster.ABOARD: "ray"}
    return {**own, **cluster.settings()}


def _log(folder: Path, told: ray_api.Told) -> None:
    """Keep Ray's word for what went wrong, its first line: such as a node that died."""
    lines = told.message.strip().splitlines()
    if told.status == "FAILED" and lines:
        with contextlib.suppress(OSError), (folder / "log.txt").open("a") as log:
            log.write(f"The cluster says: {lines[0][:300]}\n")
