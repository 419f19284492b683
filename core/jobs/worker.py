"""The process that works through one job: `python -m core.jobs.worker FOLDER`."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.jobs.kinds import KINDS
from core.progress import Cancelled
from core.runs import Job, process_start
from core.workspace import Workspace

WRITE_EVERY_S = 0.5


class JobProgress:
    """Writes state.json now and then, works out the time left, and raises `Cancelled` when a stop was asked for."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.began = time.monotonic()
        self.written = 0.0

    def __call__(self, done: float, total: float, message: str = "") -> None:
        now = time.monotonic()
        if now - self.written < WRITE_EVERY_S and done < total:
            return
        if self.job.is_cancel_requested:
            raise Cancelled
        self.written = now
        eta_s = (now - self.began) * (total - done) / done if done > 0 else -1.0
        self.job.update(done=done, total=total, message=message, eta_s=eta_s, heartbeat=time.time())


def execute(job: Job, workspace: Workspace) -> Any:
    """Work through a job in this process and record how it ended. Returns what the job found.

    Raises:
        UserError: What the user can mend; recorded as the job's error too.
        Cancelled: A stop was asked for.
    """
    now = time.time()
    pid = os.getpid()
    job.update(state="running", started=now, heartbeat=now, pid=pid, pid_start=process_start(pid))
    try:
        result = KINDS[job.kind](job, workspace, JobProgress(job))
    except (Cancelled, KeyboardInterrupt):
        job.update(state="cancelled", ended=time.time(), message="Stopped; what was learnt is kept", code="CANCELLED")
        raise
    except UserError as error:
        job.update(state="failed", ended=time.time(), error=str(error), code=error.code)
        raise
    except BaseException:
        logging.getLogger("core").exception("The job failed")
        sentence = "Something went wrong inside the program. The log of this job has the details."
        job.update(state="failed", ended=time.time(), error=sentence, code="BUG")
        raise
    job.update(state="finished", ended=time.time(), message="Finished", eta_s=0.0)
    return result


def heed_signals(job: Job) -> None:
    """Let SIGTERM and Ctrl-C ask the job to stop, so that it keeps what it has; a second Ctrl-C ends it at once."""
    flag = job.folder / "cancel"

    def stop(number: int, _: Any) -> None:
        if number == signal.SIGINT and flag.exists():
            raise KeyboardInterrupt
        flag.touch()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


def main(folder: Path) -> int:
    """Exit code 0: finished or stopped as asked; 2: the user can mend it; 1: a bug."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    job = Job(folder)
    heed_signals(job)
    os.nice(5)  # the pages answer first
    try:
        execute(job, Workspace(folder.parent.parent))
    except Cancelled:
        return 0
    except UserError as error:
        logging.getLogger("core").info("%s: %s", error.code, error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
