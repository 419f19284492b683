from __future__ import annotations

import os
import time

from core.config import RunConfig
from core.processes import process_start
from core.runs import Job, Run, Status, list_jobs, list_runs, new_job
from core.workspace import Workspace


def test_a_running_job_whose_process_is_gone_reads_as_lost(workspace: Workspace) -> None:
    job = new_job(workspace, "prepare", {})
    job.update(state="running", pid=os.getpid(), pid_start=process_start(os.getpid()))
    assert job.state == "running"
    job.update(pid_start=process_start(os.getpid()) - 1)  # the pid was taken over by another process
    assert job.state == "lost"
    job.update(pid=2**22 + 1)
    assert job.state == "lost"


def test_a_queued_job_that_nobody_took_up_reads_as_lost(workspace: Workspace) -> None:
    job = new_job(workspace, "prepare", {})
    assert job.state == "queued"
    job.write_status(Status(created=time.time() - 3600))
    assert job.state == "lost"


def test_half_a_line_of_history_is_not_read(workspace: Workspace) -> None:
    job = new_job(workspace, "prepare", {})
    job.append_history({"step": 1, "total": 0.5})
    with (job.folder / "history.jsonl").open("a") as stream:
        stream.write('{"step": 2, "tot')
    assert job.history() == [{"step": 1, "total": 0.5}]


def test_a_run_is_found_again_with_its_config_and_says_what_it_is(workspace: Workspace) -> None:
    config = RunConfig(dataset="d", model="mvae", model_settings={"latent_dim": 8}, fold=1, n_folds=3)
    run = Run.new(workspace, config, "cpu")
    found = Run.open(workspace, run.id)
    assert found.config == config
    assert found.params == {"device": "cpu"}
    assert found.title.startswith("mvae on d, fold 2 of 3")
    assert [r.id for r in list_runs(workspace)] == [run.id]
    assert list_jobs(workspace) == []


def test_ids_are_made_by_us_and_do_not_repeat(workspace: Workspace) -> None:
    ids = {new_job(workspace, "embed", {}).id for _ in range(50)}
    assert len(ids) == 50
    assert all(Job(workspace.jobs / job_id).kind == "embed" for job_id in ids)
