"""The process that works through one job: `python -m core.jobs.worker FOLDER ATTEMPT`."""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

from core.discreet import DiscreetFormatter
from core.disk import CODE as DISK_FULL
from core.disk import disk_full, is_disk_full, reserve
from core.errors import UserError
from core.jobs.care import LOCK
from core.jobs.kinds import KINDS
from core.jobs.lock import hold
from core.jobs.order import TRAINS
from core.jobs.queue import Queue, Superseded
from core.jobs.ticket import Alone, FarTicket, Ticket
from core.jobs.usage import gpu_bytes, memory_bytes
from core.processes import process_start
from core.progress import Cancelled, Interrupted, Paused
from core.runs import Job, Run
from core.shortage import told_of_memory
from core.workspace import Workspace

WRITE_EVERY_S = 0.5
LEAVE_S = 20.0


class JobProgress:
    """Writes state.json now and then, works out the time left, and raises `Cancelled` when a stop was asked for."""

    def __init__(self, job: Job, ticket: Ticket | FarTicket | Alone) -> None:
        self.job = job
        self.ticket = ticket
        self.began = time.monotonic()
        self.limit_s = _limit_s(job)
        self.first = -1.0  # what was done before this attempt
        self.written = 0.0

    def __call__(self, done: float, total: float, message: str = "") -> None:
        now = time.monotonic()
        if self.first < 0:
            self.first = done if done > 1 else 0.0
        if now - self.written < WRITE_EVERY_S and done < total:
            return
        self.ticket.check()
        if self.job.is_cancel_requested:
            self.job.update(heartbeat=time.time())  # from now on there is time to keep what was learnt
            raise Cancelled
        if self.job.is_pause_requested:
            raise Paused
        if self.ticket.is_leaving:
            raise Interrupted
        self.written = now
        newly = done - self.first
        eta_s = (now - self.began) * (total - done) / newly if newly > 0 else -1.0
        eta_s = min(eta_s, max(0.0, self.limit_s - (now - self.began)))
        used = {"memory_bytes": memory_bytes(), "gpu_bytes": gpu_bytes()}
        self.job.update(done=done, total=total, message=message, eta_s=eta_s, heartbeat=time.time(), **used)


def _limit_s(job: Job) -> float:
    """A training ends with its time limit, however many steps are left."""
    return 60 * Run(job.folder).config.train.max_minutes if job.kind == "train" else math.inf


def execute(job: Job, workspace: Workspace, ticket: Ticket | FarTicket | Alone | None = None) -> Any:
    """Work through a job in this process and record how it ended. Returns what the job found.

    Raises:
        UserError: What the user can mend; recorded as the job's error too.
        Cancelled: A stop or a pause was asked for.
        Superseded: Another attempt at this job counts now; nothing was recorded.
    """
    ticket = ticket or Alone()
    _begin(job, ticket)
    try:
        with reserve(job.folder):
            result = _work(job, workspace, ticket)
    except Superseded:
        raise
    except Interrupted:
        _end(job, ticket, "queued", message="", note="The machine ended the worker; goes on from where it was.")
        raise
    except Paused:
        _end(job, ticket, "paused", message="Paused; goes on from here when you resume it")
        raise
    except (Cancelled, KeyboardInterrupt):
        _end(job, ticket, "cancelled", message="Stopped; what was learnt is kept", code="CANCELLED")
        raise
    except UserError as error:
        rests = error.code == DISK_FULL and job.kind in TRAINS
        _end(job, ticket, "paused" if rests else "failed", error=str(error), code=error.code, message=str(error))
        raise
    except BaseException:
        logging.getLogger("core").exception("The job failed")
        sentence = "Something went wrong inside the program. The log of this job has the details."
        _end(job, ticket, "failed", error=sentence, code="BUG")
        raise
    _end(job, ticket, "finished", message="Finished", eta_s=0.0)
    return result


def _begin(job: Job, ticket: Ticket | FarTicket | Alone) -> None:
    now = time.time()
    pid = os.getpid() if ticket.is_here else 0  # elsewhere the number would mean another process
    start = process_start(pid)
    try:
        job.update(state="running", started=now, heartbeat=now, pid=pid, pid_start=start, attempt=ticket.attempt)
    except OSError as error:  # nothing can be recorded either: the keeper starts the job again when there is room
        if is_disk_full(error):
            raise disk_full() from error
        raise


def _work(job: Job, workspace: Workspace, ticket: Ticket | FarTicket | Alone) -> Any:
    try:
        with told_of_memory():
            return KINDS[job.kind](job, workspace, JobProgress(job, ticket))
    except OSError as error:
        if is_disk_full(error):
            raise disk_full() from error
        raise


def _end(job: Job, ticket: Ticket | FarTicket | Alone, state: str, **changes: Any) -> None:
    with ticket.publishing(state):
        job.update(state=state, ended=time.time(), in_queue=state == "queued", **changes)
    logging.getLogger("core").info("Attempt %d: %s", ticket.attempt, state)


def heed_signals(job: Job) -> None:
    """Let SIGTERM and Ctrl-C ask the job to stop, so that it keeps what it has; a second Ctrl-C ends it at once."""
    flag = job.folder / "cancel"

    def stop(number: int, _: Any) -> None:
        if number == signal.SIGINT and flag.exists():
            raise KeyboardInterrupt
        flag.touch()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


def heed_end_of_machine(job: Job, ticket: Ticket | FarTicket) -> None:
    """SIGTERM that nobody's cancel explains comes from a machine that shuts down: back into the queue, then."""

    def leave(*_: object) -> None:
        ticket.is_leaving = not job.is_cancel_requested

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)


def _held_soon(path: Path) -> IO[bytes] | None:
    """The lock, once the attempt before has left; it may be on its way out still."""
    until = time.monotonic() + LEAVE_S
    while (lock := hold(path)) is None and time.monotonic() < until:
        time.sleep(0.05)
    return lock


def main(folder: Path, attempt: int) -> int:
    """Exit code 0: finished, stopped as asked or not wanted any more; 2: the user can mend it; 1: a bug."""
    job, workspace = Job(folder), Workspace(folder.parent.parent)
    log_discreetly()
    lock = _held_soon(folder / LOCK)
    ticket = Ticket(Queue(workspace.base), folder.relative_to(workspace.base).as_posix(), attempt)
    if lock is None or not ticket.queue.arrive(ticket.key, attempt, os.getpid(), process_start(os.getpid())):
        return 0
    os.nice(10)  # the pages answer first
    return serve(job, workspace, ticket)


def log_discreetly() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(DiscreetFormatter("%(asctime)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def serve(job: Job, workspace: Workspace, ticket: Ticket | FarTicket) -> int:
    """Work through the job and give signs of life meanwhile; returns the process's exit code."""
    heed_end_of_machine(job, ticket)
    threading.Thread(target=ticket.keep_alive, daemon=True).start()
    try:
        execute(job, workspace, ticket)
    except (Cancelled, Superseded):
        return 0
    except UserError as error:
        logging.getLogger("core").info("%s: %s", error.code, error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
