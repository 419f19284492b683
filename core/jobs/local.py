"""The backend on this machine: one detached process per job, in its own session, so that it outlives page and app."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from core.runs import ENDED, Job, process_start

ROOT = Path(__file__).resolve().parents[2]
STOP_PATIENCE_S = 10.0  # a worker looks for the cancel flag between steps; after this time it is killed


class LocalBackend:
    """Starts workers with this very interpreter."""

    def __init__(self) -> None:
        self._children: list[subprocess.Popen[bytes]] = []

    def start(self, job: Job) -> None:
        """Start the worker and return at once."""
        self._reap()
        job.update(state="queued", created=time.time())
        with (job.folder / "log.txt").open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "core.jobs.worker", str(job.folder)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._children.append(child)

    def cancel(self, job: Job) -> None:
        """Ask the worker to stop: it keeps what was learnt. `enforce` ends one that does not answer."""
        if job.state in ENDED:
            return
        (job.folder / "cancel").touch()
        if job.state == "running":
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(job.status.pid, signal.SIGTERM)

    def enforce(self, job: Job) -> None:
        """Kill the process group of a job that was asked to stop too long ago."""
        flag = job.folder / "cancel"
        status = job.status
        if status.state != "running" or not flag.exists() or time.time() - flag.stat().st_mtime < STOP_PATIENCE_S:
            return
        if process_start(status.pid) == status.pid_start:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(status.pid, signal.SIGKILL)
        job.update(state="cancelled", ended=time.time(), message="Stopped", code="CANCELLED")

    def wait(self, job: Job, timeout_s: float) -> None:
        """Until the job has ended or the time is up; a cancel that is not answered is enforced."""
        until = time.monotonic() + timeout_s
        while job.state not in ENDED and time.monotonic() < until:
            self.enforce(job)
            time.sleep(0.1)

    def _reap(self) -> None:
        """Collect ended children, so that none stays as a zombie."""
        self._children = [child for child in self._children if child.poll() is None]
