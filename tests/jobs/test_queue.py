"""The queue's file: attempts as a fence, order, what a crash leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from core.jobs.care import find_strays, look_after, set_aside_if_broken
from core.jobs.lock import is_held
from core.jobs.order import Entry, Limits
from core.jobs.queue import Queue, Superseded
from core.processes import process_start
from core.runs import Job, new_job
from core.workspace import Workspace

LIMITS = Limits()


def put(queue: Queue, key: str, **values: object) -> None:
    queue.add(Entry(0, key, "train", **values), lambda: None, lambda _: None)  # type: ignore[arg-type]


def queued_job(workspace: Workspace, queue: Queue) -> tuple[Job, str]:
    job = new_job(workspace, "prepare", {})
    job.update(in_queue=True)
    key = f"jobs/{job.id}"
    queue.add(Entry(0, key, "prepare"), lambda: None, lambda _: None)
    return job, key


def test_jobs_start_in_order_one_a_device_each_with_its_attempt(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    put(queue, "a")
    put(queue, "b")
    first = queue.claim([], LIMITS)
    assert first is not None and (first.key, first.attempt, first.slot) == ("a", 1, "cpu")
    assert queue.claim([], LIMITS) is None
    with queue.publishing("a", 1, "finished"):
        pass
    second = queue.claim([], LIMITS)
    assert second is not None and second.key == "b"


def test_a_stale_attempt_writes_nothing(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    put(queue, "a")
    old = queue.claim([], LIMITS)
    assert old is not None
    with queue.settling(replace(old, deaths=1), "queued") as is_first:
        assert is_first
    new = queue.claim([], LIMITS)
    assert new is not None and (new.attempt, new.deaths) == (2, 1)
    assert not queue.arrive("a", 1, 7, 7)
    assert not queue.beat("a", 1)
    written = []
    with pytest.raises(Superseded), queue.publishing("a", 1, "finished"):
        written.append(1)
    assert not written
    with queue.publishing("a", 2, "finished"):
        written.append(2)
    with pytest.raises(Superseded), queue.publishing("a", 2, "finished"):
        written.append(3)
    assert written == [2]


def test_what_is_settled_by_one_is_not_settled_again_by_another(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    put(queue, "a")
    entry = queue.claim([], LIMITS)
    assert entry is not None
    with queue.settling(entry, "queued") as first:
        pass
    with queue.settling(entry, "lost") as second:
        pass
    assert (first, second) == (True, False)
    assert queue.entries()[0].state == "queued"


def test_an_exception_undoes_the_change(tmp_path: Path) -> None:
    queue = Queue(tmp_path)

    def fail() -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError):
        queue.add(Entry(0, "a", "train"), fail, lambda _: None)
    assert queue.entries() == []


def test_a_job_that_waits_or_runs_is_not_put_in_twice(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    put(queue, "a")
    queue.claim([], LIMITS)
    put(queue, "a")
    assert [(entry.state, entry.attempt) for entry in queue.entries()] == [("running", 1)]


def test_a_job_waits_however_long_in_the_queue(workspace: Workspace) -> None:
    job = new_job(workspace, "prepare", {})
    job.update(created=1.0, in_queue=True)
    assert job.state == "queued"


def die(queue: Queue, workspace: Workspace, job: Job) -> None:
    """The next attempt starts and its process is gone."""
    entry = queue.claim([], LIMITS)
    assert entry is not None
    queue.arrive(entry.key, entry.attempt, 2**22 + 1, 5)
    job.update(state="running", pid=2**22 + 1, pid_start=5, attempt=entry.attempt)
    look_after(queue, workspace.base, queue.entries()[0])


def test_a_worker_that_dies_again_and_again_is_given_up(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSMODAL_RETRIES", "2")
    queue = Queue(workspace.base)
    job, _ = queued_job(workspace, queue)
    for expected in ("queued", "queued", "lost"):
        die(queue, workspace, job)
        assert (queue.entries()[0].state, job.state) == (expected, expected)
    assert job.status.code == "LOST"


def test_deaths_are_forgiven_as_long_as_the_work_advances(workspace: Workspace) -> None:
    queue = Queue(workspace.base)
    job, _ = queued_job(workspace, queue)
    for step in range(10, 70, 10):
        (job.folder / "checkpoints" / f"{step:08d}").mkdir(parents=True)
        die(queue, workspace, job)
        assert (job.state, queue.entries()[0].deaths) == ("queued", 1)


def test_a_worker_that_died_after_its_last_word_is_believed(workspace: Workspace) -> None:
    queue = Queue(workspace.base)
    job, key = queued_job(workspace, queue)
    entry = queue.claim([], LIMITS)
    assert entry is not None
    queue.arrive(key, 1, 2**22 + 1, 5)
    job.update(state="finished", attempt=1, message="Finished")
    look_after(queue, workspace.base, queue.entries()[0])
    assert queue.entries()[0].state == "finished"
    assert (job.state, job.status.message, job.status.in_queue) == ("finished", "Finished", False)


def test_a_living_worker_is_left_alone(workspace: Workspace) -> None:
    queue = Queue(workspace.base)
    job, key = queued_job(workspace, queue)
    queue.claim([], LIMITS)
    queue.arrive(key, 1, os.getpid(), process_start(os.getpid()))
    look_after(queue, workspace.base, queue.entries()[0])
    assert queue.entries()[0].state == "running"
    job.delete()


def test_what_a_dead_worker_started_ends_with_it(workspace: Workspace) -> None:
    code = "import subprocess, sys; print(subprocess.Popen(['sleep', '60']).pid, flush=True); sys.stdin.read()"
    worker = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert worker.stdout is not None
    orphan = int(worker.stdout.readline())
    queue = Queue(workspace.base)
    job, key = queued_job(workspace, queue)
    queue.claim([], LIMITS)
    queue.arrive(key, 1, worker.pid, process_start(worker.pid))
    worker.kill()
    worker.wait()
    assert process_start(orphan)
    look_after(queue, workspace.base, queue.entries()[0])
    end = time.monotonic() + 5
    while process_start(orphan) and time.monotonic() < end:
        time.sleep(0.02)
    assert not process_start(orphan)
    assert job.state == "queued"


def test_the_kernel_frees_the_lock_of_a_killed_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = "import sys; from pathlib import Path; from core.jobs.lock import hold\n"
    code += "lock = hold(Path(sys.argv[1])); print(lock is not None, flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stdout.readline().strip() == "True"
    assert is_held(path)
    holder.kill()
    holder.wait()
    assert not is_held(path)
    assert not is_held(tmp_path / "never")


@pytest.mark.parametrize("damage", [b"no database at all", b""])
def test_a_lost_or_broken_queue_is_made_again_from_the_folders(workspace: Workspace, damage: bytes) -> None:
    queue = Queue(workspace.base)
    waits, _ = queued_job(workspace, queue)
    runs, _ = queued_job(workspace, queue)
    runs.update(state="running", attempt=3, pid=os.getpid(), pid_start=process_start(os.getpid()))
    done = new_job(workspace, "prepare", {})
    done.update(state="finished")
    for path in workspace.base.glob("queue.sqlite*"):
        path.write_bytes(damage) if path.suffix == ".sqlite" else path.unlink()
    set_aside_if_broken(queue)
    find_strays(queue, workspace.base)
    found = {entry.key: (entry.state, entry.attempt) for entry in queue.entries()}
    assert found == {f"jobs/{waits.id}": ("queued", 0), f"jobs/{runs.id}": ("running", 3)}
    assert queue.is_intact()
