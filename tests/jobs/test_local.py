"""Real worker processes, started as the app starts them."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from core.cohort import Cohort
from core.dataset import Dataset
from core.errors import RefusedError
from core.jobs import BACKENDS
from core.jobs.care import LOCK
from core.jobs.local import PAGE_TICK_S, LocalBackend
from core.jobs.lock import is_held
from core.jobs.order import Entry
from core.jobs.queue import Queue
from core.jobs.worker import Alone, JobProgress
from core.processes import process_start
from core.recipes import make_recipe
from core.runs import Job, Run, new_job
from core.train import make_config
from core.uploads import stage
from core.workspace import Workspace
from tests.conftest import REPOSITORY

LOCAL = BACKENDS["local"]
PERSON = "DOE_JANE_19700101"


def prepare_job(workspace: Workspace, cohort: str) -> Job:
    recipe = make_recipe("generic").model_dump()
    return new_job(workspace, "prepare", {"cohort": cohort, "dataset": "d", "recipe": recipe})


def import_job(workspace: Workspace) -> Job:
    data = np.random.default_rng(0).integers(1, 900, (4, 5, 6)).astype(np.int16)
    content = nib.nifti1.Nifti1Image(data, np.diag([1.0, 2, 3, 1])).to_bytes()
    upload = stage(workspace, [("T1.nii", io.BytesIO(content))])
    corrections = {"0000": {"case": PERSON, "modality": "T1"}}
    return new_job(workspace, "ingest", {"upload": upload, "cohort": "c", "layout": "auto", "corrections": corrections})


def until(condition: Callable[[], object], timeout_s: float = 40.0) -> None:
    """Wait, looking after the queue as an open page does."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        LOCAL.tick(Workspace.default())
        time.sleep(0.05)


def until_running(job: Job, timeout_s: float = 40.0) -> None:
    end = time.monotonic() + timeout_s
    while job.status.done < 1 and time.monotonic() < end:
        time.sleep(0.05)
    assert job.state == "running", job.log_tail()


def long_run(workspace: Workspace, dataset: Dataset) -> Run:
    config = make_config(dataset, "ae", {}, {"epochs": 5000, "max_minutes": 60})
    run = Run.new(workspace, config, "cpu")
    LOCAL.start(run)
    until_running(run)
    return run


def test_a_job_runs_to_its_end_and_leaves_its_result(workspace: Workspace, cohort: Cohort) -> None:
    job = prepare_job(workspace, cohort.name)
    LOCAL.start(job)
    LOCAL.wait(job, 60)
    assert job.state == "finished", job.log_tail()
    assert job.result["cases"] == 4
    assert Dataset.open(workspace, "d").modalities == ("CT", "T1", "T2")


def test_what_the_user_can_mend_ends_the_job_with_its_sentence(workspace: Workspace) -> None:
    job = prepare_job(workspace, "nothing")
    LOCAL.start(job)
    LOCAL.wait(job, 60)
    assert (job.state, job.status.code) == ("failed", "NOT-FOUND")
    assert "no cohort" in job.status.error


def test_a_stopped_training_keeps_what_it_learnt(workspace: Workspace, dataset: Dataset) -> None:
    run = long_run(workspace, dataset)
    until(run.history)
    LOCAL.cancel(run)
    LOCAL.wait(run, 30)
    assert run.state == "cancelled"
    assert run.has_weights
    assert run.history()


def test_a_killed_worker_is_started_again_and_given_up_where_that_does_not_help(
    workspace: Workspace, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSMODAL_RETRIES", "1")
    run = long_run(workspace, dataset)
    first = run.status
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: run.status.attempt == 2 and run.status.done >= 1)
    assert run.status.pid != first.pid
    assert "started again" in run.status.note
    os.kill(run.status.pid, signal.SIGKILL)
    LOCAL.wait(run, 10)
    assert run.state == "lost"


def kill_once_it_runs(job: Job) -> None:
    LOCAL.start(job)
    until(lambda: job.status.pid)
    os.kill(job.status.pid, signal.SIGKILL)
    LOCAL.wait(job, 60)
    assert (job.state, job.status.attempt) == ("finished", 2), job.log_tail()


def test_a_preparation_whose_worker_is_killed_comes_to_its_end(workspace: Workspace, cohort: Cohort) -> None:
    job = prepare_job(workspace, cohort.name)
    kill_once_it_runs(job)
    assert list(Dataset.open(workspace, "d").case_ids) == list(cohort.case_ids)


def test_an_import_whose_worker_is_killed_comes_to_its_end_and_keeps_no_name(workspace: Workspace) -> None:
    job = import_job(workspace)
    kill_once_it_runs(job)
    assert PERSON not in (job.folder / "job.json").read_text()
    assert not list(workspace.uploads.glob("*/*"))


def test_an_import_that_is_cancelled_while_it_waits_keeps_no_name(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(LOCAL), "tick", lambda self, place: None)
    monkeypatch.setattr(type(LOCAL), "_ensure_keeper", lambda self, base: None)
    job = import_job(workspace)
    LOCAL.start(job)
    LOCAL.cancel(job)
    assert job.state == "cancelled"
    assert PERSON not in (job.folder / "job.json").read_text()
    assert not list(workspace.uploads.glob("*/*"))


def test_an_attempt_whose_place_was_taken_ends_and_writes_nothing_more(workspace: Workspace, dataset: Dataset) -> None:
    run = long_run(workspace, dataset)
    old, queue = run.status.pid, Queue(workspace.base)
    os.kill(old, signal.SIGSTOP)
    entry = queue.entries()[0]
    with queue.settling(entry, "queued"):
        run.update(state="queued", in_queue=True)
    until(lambda: queue.entries()[0].attempt == 2)
    os.kill(old, signal.SIGCONT)
    until(lambda: process_start(old) == 0)
    until(lambda: run.status.attempt == 2 and run.status.done >= 1)
    LOCAL.cancel(run)
    LOCAL.wait(run, 20)
    steps = [line["step"] for line in run.history() if line["split"] == "train"]
    assert steps == sorted(set(steps))


@pytest.mark.parametrize(
    "harm", [lambda path: path.write_bytes(b"not what it was" * 400), lambda path: path.unlink(missing_ok=True)]
)
def test_a_queue_that_breaks_under_a_training_is_mended_and_the_training_goes_on(
    workspace: Workspace, dataset: Dataset, harm: Callable[[Path], object]
) -> None:
    run = long_run(workspace, dataset)
    pid, queue = run.status.pid, Queue(workspace.base)
    for path in workspace.base.glob("queue.sqlite*"):
        harm(path)
    end = time.monotonic() + 30
    while not queue.is_intact() and time.monotonic() < end:
        time.sleep(0.1)  # the keeper's work
    until(lambda: queue.entries("running"))
    assert (run.state, run.status.pid) == ("running", pid)
    done = run.status.done
    until(lambda: run.status.done > done)
    LOCAL.cancel(run)
    LOCAL.wait(run, 20)
    assert (run.state, queue.entries()[0].state) == ("cancelled", "cancelled")


def test_thirty_guests_press_train_and_each_knows_its_place(
    workspace: Workspace, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = os.getpid()
    queue = Queue(workspace.base)
    monkeypatch.setattr(
        type(LOCAL), "_launch", lambda self, base, entry: queue.arrive(entry.key, 1, pid, process_start(pid))
    )
    monkeypatch.setattr(type(LOCAL), "_ensure_keeper", lambda self, base: None)
    config = make_config(dataset, "ae", {}, {})
    guests = [Workspace(workspace.root / "workspaces" / f"guest{n}") for n in range(30)]
    runs = [Run.new(guest, config, "cpu") for guest in guests for _ in range(2)]
    for run in runs:
        LOCAL.start(run)
    assert len(queue.entries("running")) == 1
    places = [place.position if (place := LOCAL.place(run)) else 0 for run in runs]
    firsts, seconds = places[0::2], places[1::2]
    assert firsts == list(range(30))  # the first runs, then everybody's first in turn, then everybody's second
    assert sorted(seconds) == list(range(30, 60))


def test_the_time_left_of_a_training_is_never_more_than_its_time_limit(workspace: Workspace, dataset: Dataset) -> None:
    run = Run.new(workspace, make_config(dataset, "ae", {}, {"epochs": 5000, "max_minutes": 2}), "cpu")
    slow, quick = JobProgress(run, Alone()), JobProgress(run, Alone())
    slow.began -= 50  # seconds ago
    slow(1, 30_000)
    assert 60 < run.status.eta_s <= 70
    quick(0, 30_000)
    quick.began, quick.written = quick.began - 50, 0.0
    quick(25_000, 30_000)
    assert run.status.eta_s == pytest.approx(10, abs=1)


def test_trainings_wait_for_each_other_and_a_waiting_one_can_be_cancelled(
    workspace: Workspace, dataset: Dataset
) -> None:
    first = long_run(workspace, dataset)
    second, third = (Run.new(workspace, first.config, "cpu") for _ in range(2))
    LOCAL.start(second)
    LOCAL.start(third)
    assert (first.state, second.state, third.state) == ("running", "queued", "queued")
    places = [LOCAL.place(run) for run in (first, second, third)]
    assert [place and place.position for place in places] == [None, 1, 2]
    LOCAL.cancel(second)
    assert second.state == "cancelled"
    LOCAL.cancel(first)
    until(lambda: third.status.done >= 1)
    LOCAL.cancel(third)
    LOCAL.wait(third, 20)
    assert [entry.state for entry in Queue(workspace.base).entries()] == ["cancelled"] * 3


def test_a_guest_is_told_when_too_many_wait(workspace: Workspace, dataset: Dataset) -> None:
    guest = Workspace(workspace.root / "workspaces" / "anna")
    config = make_config(dataset, "ae", {}, {})
    queue = Queue(workspace.base)
    for n in range(3):
        queue.add(Entry(0, f"waits-{n}", "train", "anna"), lambda: None, lambda _: None)
    run = Run.new(guest, config, "cpu")
    with pytest.raises(RefusedError, match="3 trainings are waiting"):
        LOCAL.start(run)
    assert queue.entry(f"workspaces/anna/runs/{run.id}") is None


def test_a_paused_training_frees_its_place_and_goes_on_when_resumed(workspace: Workspace, dataset: Dataset) -> None:
    run = long_run(workspace, dataset)
    LOCAL.pause(run)
    until(lambda: run.state == "paused")
    until(lambda: not is_held(run.folder / LOCK))
    assert [entry.state for entry in Queue(workspace.base).entries()] == ["paused"]
    LOCAL.resume(run)
    until(lambda: run.state == "running" and run.status.attempt == 2 and run.status.done >= 1)
    LOCAL.cancel(run)
    LOCAL.wait(run, 20)
    assert run.state == "cancelled"


def test_a_worker_that_the_machine_ends_goes_back_into_the_queue(workspace: Workspace, dataset: Dataset) -> None:
    run = long_run(workspace, dataset)
    os.kill(run.status.pid, signal.SIGTERM)
    until(lambda: run.status.attempt == 2 and run.status.done >= 1)
    assert "from where it was" in run.status.note
    assert [entry.deaths for entry in Queue(workspace.base).entries()] == [0]
    LOCAL.cancel(run)
    LOCAL.wait(run, 20)
    assert run.state == "cancelled"


def test_work_goes_on_when_the_app_that_started_it_is_killed(workspace: Workspace, dataset: Dataset) -> None:
    """A second app finds the first one's training, and a worker that dies meanwhile is started again by the keeper."""
    run = Run.new(workspace, make_config(dataset, "ae", {}, {"epochs": 5000, "max_minutes": 60}), "cpu")
    code = "import sys, time; from pathlib import Path; from core.jobs import BACKENDS; from core.runs import Job\n"
    code += "BACKENDS['local'].start(Job(Path(sys.argv[1]))); print('started', flush=True); time.sleep(60)"
    app = subprocess.Popen([sys.executable, "-c", code, str(run.folder)], stdout=subprocess.PIPE, cwd=REPOSITORY)
    assert app.stdout is not None and app.stdout.readline()
    app.kill()
    app.wait()
    until_running(run)
    os.kill(run.status.pid, signal.SIGKILL)
    end = time.monotonic() + 40
    while run.status.attempt < 2 and time.monotonic() < end:
        time.sleep(0.1)  # nobody ticks here
    assert run.status.attempt == 2
    LOCAL.cancel(run)
    LOCAL.wait(run, 20)
    assert run.state == "cancelled"


def test_a_worker_that_does_not_answer_is_killed(
    workspace: Workspace, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.jobs.local.STOP_PATIENCE_S", 0.5)
    run = long_run(workspace, dataset)
    pid = run.status.pid
    os.kill(pid, signal.SIGSTOP)
    LOCAL.cancel(run)
    LOCAL.wait(run, 20)
    assert run.state == "cancelled"
    assert process_start(pid) == 0


def test_pages_of_many_visitors_together_look_after_the_queue_no_more_often_than_its_keeper(
    workspace: Workspace,
) -> None:
    class Counting(LocalBackend):
        ticks = 0

        def tick(self, workspace: Workspace) -> None:
            self.ticks += 1
            super().tick(workspace)

    backend, job = Counting(), new_job(workspace, "scan", {})
    began = time.monotonic()
    for _ in range(50):
        backend.enforce(job)
    assert 1 <= backend.ticks <= 1 + (time.monotonic() - began) / PAGE_TICK_S
    so_far = backend.ticks
    time.sleep(PAGE_TICK_S)
    backend.enforce(job)
    assert backend.ticks == so_far + 1
