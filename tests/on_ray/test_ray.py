"""Trainings and searches on a real Ray head that is started here: `make ray`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from core import cluster
from core.dataset import Dataset
from core.jobs import BACKENDS
from core.jobs.handed import handed
from core.jobs.local import KEEPER_LOCK
from core.jobs.lock import is_held
from core.jobs.queue import Queue
from core.jobs.ray_api import status_of
from core.runs import Job, Run, new_job
from core.search.grid import parse_grid
from core.search.plan import make_search_config
from core.search.settings import SearchOptions
from core.train import make_config
from core.workspace import Workspace
from tests.conftest import REPOSITORY
from tests.jobs.test_resume import history, same
from tests.on_ray.ray_head import RayHead, ray_head, working_on
from tests.search.test_search import without_times
from tests.test_cli import call
from tests.tiny_run import make_dataset

pytest.importorskip("ray", reason="Ray is not installed: make ray")
pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]
RAY, LOCAL = BACKENDS["ray"], BACKENDS["local"]
SHORT = {"epochs": 3, "batch_size": 4, "preview_every": 1000, "max_minutes": 60}
LONG = {**SHORT, "epochs": 5000}
MODEL = {"width": 4, "latent_dim": 4}


@pytest.fixture(scope="module")
def head() -> Iterator[RayHead]:
    with ray_head() as found:
        yield found


@pytest.fixture
def ready(head: RayHead, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """A dataset on a machine whose trainings go to the cluster."""
    monkeypatch.setenv(cluster.BACKEND, "ray")
    monkeypatch.setenv(cluster.GPUS, "0")
    return make_dataset(workspace, n_cases=8)


def new_run(dataset: Dataset, settings: dict[str, object], seed: int = 1) -> Run:
    workspace = Workspace(dataset.folder.parent.parent)
    return Run.new(workspace, make_config(dataset, "ae", MODEL, settings, seed=seed), "cpu")


def trained_here(dataset: Dataset, settings: dict[str, object]) -> Run:
    run = new_run(dataset, settings)
    os.environ[cluster.BACKEND] = "local"
    try:
        LOCAL.start(run)
        LOCAL.wait(run, 120)
    finally:
        os.environ[cluster.BACKEND] = "ray"
    assert run.state == "finished", run.log_tail()
    until(run, lambda: not is_held(dataset.folder.parent.parent / KEEPER_LOCK))  # which would keep work on this machine
    return run


def until(job: Job, condition: Callable[[], object], timeout_s: float = 90.0) -> None:
    RAY.wait_for(job, condition, timeout_s)
    assert condition(), f"{job.status}\n{job.log_tail()}"


def worker_of(run: Run) -> int:
    """The worker's process, found by its command line."""
    found = [pid for pid in working_on(str(run.folder)) if pid != os.getpid()]
    assert len(found) == 1, found
    return found[0]


def test_a_training_on_the_cluster_gives_the_weights_of_one_on_this_machine(ready: Dataset) -> None:
    far, here = new_run(ready, SHORT), trained_here(ready, SHORT)
    RAY.start(far)
    RAY.wait(far, 120)
    assert (far.state, far.status.pid, far.status.attempt) == ("finished", 0, 1), far.log_tail()
    same(far, here)


def test_a_cancel_holds_and_keeps_what_was_learnt(ready: Dataset, workspace: Workspace) -> None:
    run = new_run(ready, LONG)
    RAY.start(run)
    until(run, lambda: run.status.done > 3)
    RAY.cancel(run)
    RAY.wait(run, 60)
    assert run.state == "cancelled" and run.has_weights
    until(run, lambda: not working_on(str(run.folder)))
    found = handed(run.folder)
    assert found is not None
    until(run, lambda: status_of(found.submission).status in ("SUCCEEDED", "STOPPED"))
    assert Queue(workspace.root).entry(f"runs/{run.id}").state == "cancelled"


def test_what_waits_in_the_cluster_can_be_cancelled_and_never_starts(ready: Dataset) -> None:
    first, second, third = (new_run(ready, LONG, seed) for seed in (1, 2, 3))
    for run in (first, second):
        RAY.start(run)
        until(run, lambda run=run: run.status.done > 0)
    RAY.start(third)
    until(third, lambda: status_of(handed(third.folder).submission).status == "PENDING")
    RAY.cancel(third)
    RAY.wait(third, 20)
    assert third.state == "cancelled"
    for run in (first, second):
        RAY.cancel(run)
        RAY.wait(run, 60)
    time.sleep(3)  # now the cluster has room
    assert third.state == "cancelled" and not third.history() and not working_on(str(third.folder))


def test_a_killed_task_goes_on_from_its_checkpoint_though_the_app_is_gone(
    ready: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, run = trained_here(ready, SHORT), new_run(ready, SHORT)
    monkeypatch.setenv("CROSSMODAL_CHECKPOINT_S", "0")
    start = "import sys; from pathlib import Path; from core.jobs import backend; from core.runs import Job\n"
    start += "backend().start(Job(Path(sys.argv[1])))"
    subprocess.run([sys.executable, "-c", start, str(run.folder)], cwd=REPOSITORY, check=True)
    end = time.monotonic() + 90
    while not any(run.folder.glob("checkpoints/[0-9]*")) and time.monotonic() < end:
        time.sleep(0.05)  # nobody looks but the keeper
    os.kill(worker_of(run), signal.SIGKILL)
    while run.status.attempt < 2 and time.monotonic() < end:
        time.sleep(0.1)
    assert run.status.attempt == 2 and "started again" in run.status.note, run.log_tail()
    RAY.adopt(Workspace(ready.folder.parent.parent))  # an app that comes back
    RAY.wait(run, 120)
    assert run.state == "finished", run.log_tail()
    same(run, whole)


def test_a_paused_training_goes_on_to_the_same_end(ready: Dataset) -> None:
    whole, run = trained_here(ready, SHORT | {"epochs": 15}), new_run(ready, SHORT | {"epochs": 15})
    RAY.start(run)
    until(run, lambda: run.status.done > 3)
    RAY.pause(run)
    until(run, lambda: run.state == "paused")
    done = len(history(run))
    RAY.resume(run)
    RAY.wait(run, 120)
    assert run.state == "finished" and 0 < done <= len(history(run)), run.log_tail()
    same(run, whole)


def kill_one_of(name: str) -> bool:
    """Whether one was at work just now, and is no more."""
    pids = working_on(name)
    for pid in pids[:1]:
        os.kill(pid, signal.SIGKILL)
    return bool(pids)


def search_job(dataset: Dataset) -> Job:
    """Twelve trainings: four settings on three folds."""
    fixed = {"model": {"width": 4}, "train": SHORT | {"epochs": 2}}
    grid = parse_grid(["model.latent_dim=2,4", "train.lr=0.001,0.01"])
    config = make_search_config(dataset, "ae", fixed, grid, SearchOptions(n_folds=3))
    params = {"config": config.model_dump(mode="json"), "device": "cpu"}
    return new_job(Workspace(dataset.folder.parent.parent), "search", params)


@pytest.fixture(scope="module")
def found_here(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, object], float]:
    """What a search finds on this machine alone, and the seconds that it takes."""
    job = search_job(make_dataset(Workspace(tmp_path_factory.mktemp("here")), n_cases=8))
    began = time.monotonic()
    LOCAL.start(job)
    LOCAL.wait(job, 300)
    assert job.state == "finished", job.log_tail()
    return without_times(job.result), time.monotonic() - began


def test_the_same_search_gives_the_same_table_here_and_on_the_cluster(
    found_here: tuple[dict[str, object], float], ready: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    table, seconds_here = found_here
    job = search_job(ready)
    began = time.monotonic()
    RAY.start(job)
    RAY.wait(job, 300)
    seconds = time.monotonic() - began
    assert job.state == "finished", job.log_tail()
    assert without_times(job.result) == table and table["trainings"] == 12
    with capsys.disabled():
        words = f"12 trainings: {seconds_here:.1f} s on this machine, {seconds:.1f} s on a Ray head of two cores"
        sys.stdout.write(f"\n{words}\n")


def test_a_search_whose_task_is_killed_and_that_is_paused_ends_in_the_same_table(
    found_here: tuple[dict[str, object], float], ready: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSMODAL_CHECKPOINT_S", "0")
    job = search_job(ready)
    RAY.start(job)
    until(job, lambda: len(list(job.folder.glob("runs/*/checkpoints/[0-9]*"))) > 1)
    until(job, lambda: kill_one_of("ray::train_and_judge"))
    until(job, lambda: len(list(job.folder.glob("scores/*.json"))) >= 2)
    RAY.pause(job)
    until(job, lambda: job.state == "paused")
    assert len(list(job.folder.glob("scores/*.json"))) < 12
    RAY.resume(job)
    RAY.wait(job, 200)
    assert job.state == "finished" and job.status.attempt == 2, job.log_tail()
    assert without_times(job.result) == found_here[0]


def test_the_command_line_trains_on_the_cluster_too(ready: Dataset, workspace: Workspace) -> None:
    settings = [word for name, value in SHORT.items() for word in ("--set", f"train.{name}={value}")]
    said = call("train", ready.name, "--model", "ae", *settings, workspace=workspace.root)
    run = Run.open(workspace, said["run"])
    assert (said["state"], run.status.pid, bool(handed(run.folder))) == ("finished", 0, True)


def test_a_wrong_token_is_refused(ready: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    assert status_of("anything").status == "UNKNOWN"
    run = new_run(ready, SHORT)
    with pytest.raises(Exception, match="refuses the token"):
        RAY.start(run)
