"""A search as the queue runs it: it takes a device like a training, and a dead worker's search goes on."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from core.dataset import Dataset
from core.jobs import BACKENDS
from core.jobs.devices import asked_by
from core.jobs.order import Entry, Limits, free_slot
from core.runs import Job, list_jobs, new_job
from core.search.grid import parse_grid
from core.search.plan import make_search_config
from core.search.settings import SearchOptions
from core.workspace import Workspace
from tests.test_cli import call
from tests.tiny_run import make_dataset

LOCAL = BACKENDS["local"]
GRID = ["model.components=1,2,4,6"]


@pytest.fixture
def dataset(workspace: Workspace) -> Dataset:
    return make_dataset(workspace, n_cases=8)


def search_job(workspace: Workspace, dataset: Dataset) -> Job:
    config = make_search_config(dataset, "pca", {}, parse_grid(GRID), SearchOptions(n_folds=3))
    return new_job(workspace, "search", {"config": config.model_dump(mode="json"), "device": "cpu"})


def scores(job: Job) -> list[Path]:
    return sorted(job.folder.glob("scores/*.json"))


def test_a_search_waits_for_a_device_as_a_training_does(workspace, dataset):
    job = search_job(workspace, dataset)
    entry = Entry(2, "jobs/search-2", "search", device=asked_by(job))
    assert entry.is_training and entry.device == "cpu"
    training = Entry(1, "runs/run-1", "train", state="running", slot="cpu")
    assert free_slot(entry, [training], [], Limits()) == ""
    assert free_slot(entry, [], [], Limits()) == "cpu"
    assert free_slot(Entry(3, "runs/run-3", "train"), [Entry(2, "s", "search", slot="cpu")], [], Limits()) == ""


@pytest.mark.slow
def test_a_killed_search_goes_on_without_training_anything_twice(workspace, dataset):
    job = search_job(workspace, dataset)
    LOCAL.start(job)
    end = time.monotonic() + 60
    while len(scores(job)) < 2 and time.monotonic() < end:
        time.sleep(0.02)
    os.kill(job.status.pid, signal.SIGKILL)
    before = {path: path.stat().st_mtime_ns for path in scores(job)}
    LOCAL.wait(job, 120)
    assert (job.state, job.status.attempt) == ("finished", 2), job.log_tail()
    assert len(scores(job)) == 12
    assert all(path.stat().st_mtime_ns == changed for path, changed in before.items())
    assert job.result["best"] and all(row["state"] == "done" for row in job.result["points"])


def test_the_command_line_prints_the_table_and_refuses_a_bad_grid(workspace, dataset):
    grid = ["--grid", "model.components=1,4", "--folds", "2", "--metric", "ssim"]
    table = call("search", dataset.name, "--model", "pca", *grid, workspace=workspace.root)
    assert table["metric"] == "ssim" and len(table["points"]) == 2
    assert table["points"][0]["mean"] >= table["points"][1]["mean"]
    assert [(job.id, job.state) for job in list_jobs(workspace)] == [(table["search"], "finished")]
    bad = ["--grid", "model.components=1,many"]
    error = call("search", dataset.name, "--model", "pca", *bad, workspace=workspace.root, code=2)["error"]
    assert error["code"] == "GRID-VALUE" and error["message"].startswith("model.components: Input should be")
