"""Real worker processes, started as the app starts them."""

from __future__ import annotations

import os
import signal
import time

import pytest

from core.cohort import Cohort
from core.dataset import Dataset
from core.jobs import BACKENDS
from core.recipes import make_recipe
from core.runs import Job, Run, new_job, process_start
from core.train import make_config
from core.workspace import Workspace

LOCAL = BACKENDS["local"]


def prepare_job(workspace: Workspace, cohort: str) -> Job:
    recipe = make_recipe("generic").model_dump()
    return new_job(workspace, "prepare", {"cohort": cohort, "dataset": "d", "recipe": recipe})


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
    LOCAL.cancel(run)
    LOCAL.wait(run, 30)
    assert run.state == "cancelled"
    assert run.has_weights
    assert run.history()


def test_a_killed_worker_reads_as_lost_at_once(workspace: Workspace, dataset: Dataset) -> None:
    run = long_run(workspace, dataset)
    os.kill(run.status.pid, signal.SIGKILL)
    LOCAL.wait(run, 10)
    assert run.state == "lost"


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
