"""The backend on this machine: a queue, and one detached process per running job, which outlives page and app.

Anybody's `tick` starts what can start and looks after what died; the keeper ticks where nobody looks.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from core.disk import disk_full
from core.errors import RefusedError
from core.guests import check_quota
from core.jobs.care import look_after, mend, tidy
from core.jobs.devices import asked_by, gpus_by_free_memory
from core.jobs.lock import is_held
from core.jobs.order import Entry, Limits, Place, is_over_limit, place_of
from core.jobs.queue import Queue
from core.jobs.ray import RAY, is_overdue
from core.processes import process_start
from core.runs import ENDED, Job
from core.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
PAGE_TICK_S = 0.5  # pages of all visitors together look after a queue no more often than its keeper
STOP_PATIENCE_S = 30.0  # a worker looks for the cancel flag between steps; after this time without a word it is killed
KEEPER_LOCK = ".keeper.lock"


class LocalBackend:
    """Starts workers with this very interpreter."""

    def __init__(self) -> None:
        self._children: list[subprocess.Popen[bytes]] = []
        self._mutex = threading.Lock()  # many sessions of one app share this backend
        self._ticked: dict[Path, float] = {}

    def limits(self) -> Limits:
        return Limits.of_environment()

    def start(self, job: Job) -> None:
        """Put the job into the queue, start it if there is a free place, and return at once.

        Raises:
            RefusedError: A guest has too many trainings waiting already, or a full workspace.
        """
        limits = self.limits()
        workspace = workspace_of(job)
        check_quota(workspace)
        now = time.time()
        entry = Entry(0, _key(job), job.kind, workspace.owner, asked_by(job), created=now)

        def check(waiting: Sequence[Entry]) -> None:
            if entry.is_training and is_over_limit(entry.owner, waiting, limits):
                raise RefusedError(
                    f"{limits.guest_waiting} trainings are waiting already, and no more may. Wait, or cancel one.",
                    "QUEUE-FULL",
                )

        created = job.status.created or now
        write = _writer(job, state="queued", created=created, in_queue=True, message="", error="", code="", ended=0.0)
        queue = Queue(workspace.base)
        try:
            queue.add(entry, write, check)
        except sqlite3.OperationalError as error:
            raise disk_full() from error
        except sqlite3.DatabaseError:
            mend(queue, workspace.base)
            queue.add(entry, write, check)
        self.tick(workspace)
        self._ensure_keeper(workspace.base)

    def tick(self, workspace: Workspace) -> None:
        """Look after dead and stuck workers, and start what can start."""
        self._reap()
        base = workspace.base
        queue = Queue(base)
        for entry in queue.entries("running"):
            look_after(queue, base, entry)
        gpus = gpus_by_free_memory() if any(entry.is_training for entry in queue.entries("queued")) else []
        while claimed := queue.claim(gpus, self.limits()):
            self._launch(base, claimed)

    def adopt(self, workspace: Workspace) -> None:
        """What a page does that finds jobs under way: look after them, and see that somebody goes on doing so."""
        self._tick_now_and_then(workspace)
        self._ensure_keeper(workspace.base)

    def _tick_now_and_then(self, workspace: Workspace) -> None:
        now = time.monotonic()
        with self._mutex:
            if now - self._ticked.get(workspace.base, -PAGE_TICK_S) < PAGE_TICK_S:
                return
            self._ticked[workspace.base] = now
        self._tick_if_possible(workspace)

    def _tick_if_possible(self, workspace: Workspace) -> None:
        """A full disk or a broken queue is no reason for a page to fail: the keeper mends what can be mended."""
        try:
            self.tick(workspace)
        except (OSError, sqlite3.DatabaseError) as error:
            logging.getLogger("core").warning("The queue could not be looked after: %s", type(error).__name__)

    def cancel(self, job: Job) -> None:
        """Ask the worker to stop: it keeps what was learnt. `enforce` ends one that does not answer."""
        entry = self._entry(job)
        if job.state in ENDED and (entry is None or entry.state not in ("queued", "running", "paused")):
            return
        (job.folder / "cancel").touch()
        if not self._settle_waiting(job, "cancelled", message="Stopped", code="CANCELLED") and job.state == "running":
            _ask(job)

    def pause(self, job: Job) -> None:
        """Let a training rest: it keeps all it needs to go on exactly where it was."""
        if job.state not in ("queued", "running"):
            return
        (job.folder / "pause").touch()
        self._settle_waiting(job, "paused", message="Paused")

    def resume(self, job: Job) -> None:
        """Go on with a paused, stopped or broken-off job from where it was; it queues up again."""
        if job.state in ("queued", "running", "finished"):
            return
        for flag in ("cancel", "pause"):
            (job.folder / flag).unlink(missing_ok=True)
        self._tick_if_possible(workspace_of(job))  # the queue must know that it rests
        self.start(job)

    def enforce(self, job: Job) -> None:
        """Look after the queue; kill the process group of a job that was asked to stop too long ago."""
        self._tick_now_and_then(workspace_of(job))
        status = job.status
        if status.state != "running" or not status.pid or not is_overdue(job, STOP_PATIENCE_S):
            return
        if process_start(status.pid) == status.pid_start:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(status.pid, signal.SIGKILL)
        if self._entry(job) is None:
            job.update(state="cancelled", ended=time.time(), message="Stopped", code="CANCELLED")
        self._await_death(job, status.pid, status.pid_start)

    def _await_death(self, job: Job, pid: int, pid_start: int) -> None:
        """The kernel takes a moment to end what was killed; then the queue learns of it."""
        for _ in range(20):
            if process_start(pid) != pid_start:
                break
            time.sleep(0.05)
        self.tick(workspace_of(job))

    def place(self, job: Job) -> Place | None:
        """Where a waiting job stands, and about how long it waits; None where it does not wait."""
        base = workspace_of(job).base
        try:
            entries = Queue(base).entries()
        except sqlite3.DatabaseError:
            return None
        entry = next((entry for entry in entries if entry.key == _key(job) and entry.state == "queued"), None)
        if entry is None:
            return None
        left = {other.key: Job(base / other.key).status.eta_s for other in entries if other.state == "running"}
        known = {key: seconds for key, seconds in left.items() if seconds >= 0}
        return place_of(entry, entries, known, self.limits())

    def wait(self, job: Job, timeout_s: float) -> None:
        """Until the job has ended or the time is up; a cancel that is not answered is enforced."""

        def has_ended() -> bool:
            entry = self._entry(job)
            return job.state in ENDED and (entry is None or entry.state not in ("queued", "running"))

        self.wait_for(job, has_ended, timeout_s)

    def wait_for(self, job: Job, condition: Callable[[], bool], timeout_s: float) -> None:
        """Until the condition holds or the time is up, looking after the queue meanwhile."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            self.enforce(job)
            if condition():
                return
            time.sleep(0.1)

    def _entry(self, job: Job) -> Entry | None:
        return Queue(workspace_of(job).base).entry(_key(job))

    def _settle_waiting(self, job: Job, state: str, **changes: str) -> bool:
        """End or pause what is not running at all; False where it runs, or the queue does not know it."""
        entry = self._entry(job)
        if entry is None or entry.state not in ("queued", "paused"):
            return False
        with Queue(workspace_of(job).base).settling(entry, state) as is_first:
            if is_first:
                job.update(state=state, ended=time.time(), in_queue=False, **changes)
        if state == "cancelled":
            tidy(job)
        return is_first

    def _launch(self, base: Path, entry: Entry) -> None:
        folder = base / entry.key
        if entry.is_far:
            RAY.launch(Queue(base), base, entry)
            return
        environment = _environment(base)
        if entry.slot.startswith("cuda:"):
            environment["CUDA_VISIBLE_DEVICES"] = entry.slot.removeprefix("cuda:").partition("/")[0]
        with contextlib.suppress(OSError), (folder / "log.txt").open("ab") as log:  # no worker: taken for dead later
            child = subprocess.Popen(
                [sys.executable, "-m", "core.jobs.worker", str(folder), str(entry.attempt)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=environment,
            )
            Queue(base).arrive(entry.key, entry.attempt, child.pid, process_start(child.pid))
            self._remember(child)

    def _ensure_keeper(self, base: Path) -> None:
        """Start the process that ticks where no page is open, unless there is one."""
        if is_held(base / KEEPER_LOCK):
            return
        child = subprocess.Popen(
            [sys.executable, "-m", "core.jobs.keeper", str(base)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=_environment(base),
        )
        self._remember(child)

    def _reap(self) -> None:
        """Collect ended children, so that none stays as a zombie."""
        with self._mutex:
            self._children = [child for child in self._children if child.poll() is None]

    def _remember(self, child: subprocess.Popen[bytes]) -> None:
        with self._mutex:
            self._children.append(child)


def workspace_of(job: Job) -> Workspace:
    return Workspace(job.folder.parent.parent)


def _environment(base: Path) -> dict[str, str]:
    """A worker starts in another folder than the app: what was relative there is said in full."""
    return {**os.environ, "CROSSMODAL_WORKSPACE": str(base)}


def _key(job: Job) -> str:
    return job.folder.relative_to(workspace_of(job).base).as_posix()


def _writer(job: Job, **changes: object) -> Callable[[], None]:
    return lambda: job.update(**changes)


def _ask(job: Job) -> None:
    """A worker on a cluster finds the flag by itself."""
    if pid := job.status.pid:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGTERM)
