"""What becomes of a job whose worker died or hangs: it is tried once more, or its end goes on record."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from core.jobs.devices import asked_by
from core.jobs.lock import is_held
from core.jobs.order import Entry, Limits
from core.jobs.queue import Queue, now_monotonic
from core.jobs.ray import RAY, is_far
from core.processes import process_start, stat_fields
from core.runs import Job, Status
from core.uploads import discard
from core.workspace import Workspace, locked, read_json

LOCK = "worker.lock"
A_TRAINING = 10**10  # steps: a training that is done counts more than any step of the next
ARRIVAL_S = 30.0  # from the claim to the worker's lock, on a busy machine
STOPPED_S = 45.0  # without a sign, for a process that the kernel says is stopped
HUNG_S = 900.0  # without a sign, though the process works: one call of a library can hold all threads for minutes


def look_after(queue: Queue, base: Path, entry: Entry) -> None:
    """One running job: nothing to do while its worker lives."""
    folder = base / entry.key
    if not folder.exists():
        if not entry.is_far and process_start(entry.pid) in (0, entry.pid_start):
            _end_group(entry.pid)
        with queue.settling(entry, "cancelled"):
            return
    if is_far(folder, entry):
        if _has_said_its_last(Job(folder), entry) or not RAY.lives(queue, base, entry):
            _settle(queue, Job(folder), entry)
        return
    if is_alive(folder, entry):
        if is_stuck(entry):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(entry.pid, signal.SIGKILL)
        return
    _end_orphans(entry.pid)
    _settle(queue, Job(folder), entry)


def is_alive(folder: Path, entry: Entry) -> bool:
    """The lock decides; before the worker can have taken it, its process or a little patience does."""
    if is_held(folder / LOCK):
        return True
    if entry.pid:
        return process_start(entry.pid) == entry.pid_start
    return now_monotonic() - entry.beat < ARRIVAL_S


def is_stuck(entry: Entry) -> bool:
    """Whether there has been no sign for too long."""
    silence_s = now_monotonic() - entry.beat
    return entry.pid > 0 and silence_s > (STOPPED_S if _is_stopped(entry.pid) else HUNG_S)


def _is_stopped(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return stat_fields(pid)[0] == "T"
    return False


def _settle(queue: Queue, job: Job, entry: Entry) -> None:
    status = _status_on_disk(job)
    now = time.time()
    state: str
    changes: dict[str, Any]
    if _has_said_its_last(job, entry):
        state, changes = status.state, asdict(status)  # it died between its last word and the queue's
    elif job.is_cancel_requested:
        state, changes = "cancelled", {"message": "Stopped", "code": "CANCELLED", "ended": now}
    elif job.is_pause_requested:
        state, changes = "paused", {"message": "Paused", "ended": now}
    elif (entry := _one_death_more(job, entry)).deaths <= Limits.of_environment().retries:
        note = "The worker died; started again from where it was."
        state, changes = "queued", {"message": "", "note": note}
    else:
        error = "The worker ended without a word."
        state, changes = "lost", {"error": error, "code": "LOST", "ended": now}
    with queue.settling(entry, state) as is_first:
        if is_first:
            job.update(**{**changes, "state": state, "in_queue": state == "queued"})
    if state in ("lost", "cancelled"):
        tidy(job)


def _has_said_its_last(job: Job, entry: Entry) -> bool:
    status = _status_on_disk(job)
    return status.state in ("finished", "failed", "cancelled", "paused") and status.attempt == entry.attempt


def tidy(job: Job) -> None:
    """Remove what an import that will not go on still has of persons: the upload, corrections with names."""
    if job.kind != "ingest":
        return
    if upload := job.params.get("upload", ""):
        discard(Workspace(job.folder.parent.parent), upload)
    job.forget("corrections", "folder")


def _one_death_more(job: Job, entry: Entry) -> Entry:
    """A death after which a newer checkpoint is there counts as the first: the work advances all the same.

    So does one after which a search has more trainings behind it.
    """
    checkpoints = [*job.folder.glob("checkpoints/[0-9]*"), *job.folder.glob("runs/*/checkpoints/[0-9]*")]
    n_judged = len(list(job.folder.glob("scores/*.json")))
    reached = n_judged * A_TRAINING + max((int(path.name) for path in checkpoints), default=0)
    return replace(entry, deaths=1 if reached > entry.reached else entry.deaths + 1, reached=reached)


def _status_on_disk(job: Job) -> Status:
    """Opened each time, not remembered by the file's look, which lags behind on network storage: lives depend on it."""
    path = job.folder / "state.json"
    return Status(**read_json(path)) if path.exists() else Status()


def _end_orphans(pid: int) -> None:
    """Kill what a dead worker left in its process group. A leader that lives is somebody else's: the pid was reused."""
    if pid and process_start(pid) == 0:
        _end_group(pid)


def _end_group(pid: int) -> None:
    if pid:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


def mend(queue: Queue, base: Path) -> None:
    """Make sure that the queue can be read, and that it knows what waits and runs. One process at a time."""
    with locked(base):
        set_aside_if_broken(queue)
        find_strays(queue, base)


def find_strays(queue: Queue, base: Path) -> None:
    """Put back what says that it waits or runs and that the queue does not know: its file was lost or is another's."""
    known = {entry.key for entry in queue.entries()}
    for path in sorted(_states(base), key=lambda path: path.stat().st_mtime):
        job = Job(path.parent)
        key = job.folder.relative_to(base).as_posix()
        status = _status_on_disk(job)
        if key not in known and status.in_queue and status.state in ("queued", "running"):
            queue.add(_stray(job, key, status), lambda: None, lambda _: None)


def _stray(job: Job, key: str, status: Status) -> Entry:
    entry = Entry(
        0,
        key,
        job.kind,
        Workspace(job.folder.parent.parent).owner,
        asked_by(job),
        state=status.state,
        attempt=status.attempt,
        created=status.created,
    )
    if status.state == "queued":
        return entry
    return replace(
        entry,
        slot=f"found:{key}",
        pid=status.pid,
        pid_start=status.pid_start,
        started=status.started,
        beat=now_monotonic(),
    )


def _states(base: Path) -> list[Path]:
    return [
        path
        for pattern in ("runs/*", "jobs/*", "workspaces/*/runs/*", "workspaces/*/jobs/*")
        for path in base.glob(f"{pattern}/state.json")
    ]


def set_aside_if_broken(queue: Queue) -> None:
    """A file that SQLite cannot read is kept under another name; the folders tell what was in it."""
    if queue.path.exists() and not queue.is_intact():
        stamp = int(time.time())
        for suffix in ("", "-wal", "-shm"):
            path = queue.path.with_name(queue.path.name + suffix)
            if path.exists():
                shutil.move(path, path.with_name(f"{path.name}.broken-{stamp}"))
