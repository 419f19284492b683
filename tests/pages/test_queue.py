"""Train and the banner with a queue: who waits and how long, pause and resume, what happened on the way."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from core.dataset import Dataset
from core.jobs import BACKENDS
from core.jobs.queue import Queue
from core.processes import process_start
from core.runs import Run, new_job
from core.train import make_config
from core.workspace import Workspace
from tests.pages.driving import open_page, words
from ui.jobs_banner import job_words

PAGE = str(Path(__file__).resolve().parents[2] / "pages" / "train.py")
opened = partial(open_page, PAGE)


def new_run(workspace: Workspace, dataset: Dataset) -> Run:
    return Run.new(workspace, make_config(dataset, "ae", {}, {"epochs": 5000, "max_minutes": 60}), "cpu")


@pytest.fixture
def waiting(workspace: Workspace, dataset: Dataset) -> Run:
    """The second of two that wait behind one that runs, as the queue has it (in this very process: nothing starts)."""
    backend = BACKENDS["local"]
    first, second, third = (new_run(workspace, dataset) for _ in range(3))
    queue = Queue(workspace.base)
    pid, start = os.getpid(), process_start(os.getpid())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(backend), "_launch", lambda self, base, entry: queue.arrive(entry.key, 1, pid, start))
        patch.setattr(type(backend), "_ensure_keeper", lambda self, base: None)
        for run in (first, second, third):
            backend.start(run)
        first.update(state="running", pid=pid, pid_start=start, done=10, total=100, eta_s=120.0, attempt=1)
        yield third


def test_a_waiting_training_says_its_place_and_about_when_it_starts(waiting: Run) -> None:
    said = words(opened(run=waiting.id))
    assert "Waiting, number 2 in the queue, starts in about 7 min." in said  # 2 min left, and one of 5 min before it
    assert job_words(waiting) == "waiting, number 2 in the queue, starts in about 7 min"


def test_a_waiting_training_can_be_paused_and_resumed(waiting: Run, workspace: Workspace) -> None:
    page = opened(run=waiting.id)
    page.button(key=f"pause-{waiting.id}").click().run()
    assert not page.exception
    assert waiting.state == "paused" and "Paused" in words(page)
    page.button(key=f"resume-{waiting.id}").click().run()
    assert not page.exception
    assert waiting.state == "queued" and "number 2 in the queue" in words(page)
    assert not waiting.is_pause_requested


def test_pausing_a_running_training_asks_its_worker(waiting: Run, workspace: Workspace) -> None:
    running = next(
        Run(path.parent) for path in workspace.runs.glob("*/state.json") if Run(path.parent).state == "running"
    )
    page = opened(run=running.id)
    page.button(key=f"pause-{running.id}").click().run()
    assert running.is_pause_requested
    assert page.button(key=f"pause-{running.id}").label == "Pausing"
    assert page.button(key=f"pause-{running.id}").disabled


@pytest.mark.parametrize(("state", "offered"), [("cancelled", True), ("lost", True), ("finished", False)])
def test_a_run_that_broke_off_can_go_on(state: str, offered: bool, workspace: Workspace, dataset: Dataset) -> None:
    run = new_run(workspace, dataset)
    (run.folder / "checkpoints" / "00000007").mkdir(parents=True)
    run.update(state=state, error="The worker ended without a word.", code="LOST", note="Started again.")
    page = opened(run=run.id)
    assert any(button.key == f"resume-{run.id}" for button in page.button) == offered
    assert "Started again." in words(page)


def test_without_a_checkpoint_nothing_is_offered(workspace: Workspace, dataset: Dataset) -> None:
    run = new_run(workspace, dataset)
    run.update(state="cancelled")
    assert not any(button.key == f"resume-{run.id}" for button in opened(run=run.id).button)


def test_a_training_that_rests_for_want_of_room_says_so(workspace: Workspace, dataset: Dataset) -> None:
    run = new_run(workspace, dataset)
    run.update(state="paused", error="The disk is full. Make room, then go on.", code="DISK-FULL")
    page = opened(run=run.id)
    assert "The disk is full" in page.warning[0].value
    page.button(key=f"resume-{run.id}")


def banner() -> None:
    from ui.jobs_banner import jobs_banner

    jobs_banner()


def test_the_end_of_a_training_is_said_once_wherever_one_is(waiting: Run, workspace: Workspace) -> None:
    page = AppTest.from_function(banner, default_timeout=30).run()
    assert not page.exception and not page.toast
    waiting.update(state="finished", in_queue=False)
    page.run()
    assert [toast.value for toast in page.toast] == ["Training ae on phantoms: finished."]
    page.run()
    assert not page.toast


def ended_unseen(workspace: Workspace, dataset: Dataset, state: str = "finished") -> Run:
    run = new_run(workspace, dataset)
    run.update(state=state, attempt=1, ended=time.time() - 300)
    return run


def test_what_ended_while_nobody_looked_is_said_until_somebody_does(workspace: Workspace, dataset: Dataset) -> None:
    run = ended_unseen(workspace, dataset)
    for _ in range(2):  # in any session, again and again
        page = AppTest.from_function(banner, default_timeout=30).run()
        assert "Training ae on phantoms**: finished, 5 minutes ago" in words(page)
    opened(run=run.id)  # Train shows the run: seen
    assert not words(AppTest.from_function(banner, default_timeout=30).run())


def test_news_can_be_put_away_all_at_once(workspace: Workspace, dataset: Dataset) -> None:
    runs = [ended_unseen(workspace, dataset, state) for state in ("finished", "failed", "lost")]
    page = AppTest.from_function(banner, default_timeout=30).run()
    assert "and 2 others" in words(page)
    page.button(key="unseen-dismiss").click().run()
    assert not page.exception and not words(page)
    assert all(run.is_seen for run in runs)


def test_looking_at_news_leads_to_the_run(workspace: Workspace, dataset: Dataset) -> None:
    ended_unseen(workspace, dataset, "failed")
    run = ended_unseen(workspace, dataset)
    run.update(ended=time.time())
    page = AppTest.from_file(str(Path(PAGE).parents[1] / "app.py"), default_timeout=30).run()
    page.button(key="unseen-look").click().run()
    assert not page.exception
    assert page.title[0].value == "Train" and page.session_state["run"] == run.id


@pytest.mark.parametrize(
    ("kind", "params", "place", "title", "chosen"),
    [
        ("audit", {"run": "RUN", "names": ["realism"]}, "Evaluate, Further checks", "Evaluate", {"audit": "realism"}),
        ("uncertainty", {"run": "RUN"}, "Evaluate, Error bars", "Evaluate", {"run_view": "uncertainty"}),
        ("generate", {"run": "RUN"}, "Evaluate, Further checks", "Evaluate", {"run_view": "audits"}),
        ("arena", {"config": {"dataset": "phantoms", "models": ["ae"]}}, "Train, Arena", "Train", {"arena": "JOB"}),
        ("search", {"config": {"dataset": "phantoms", "model": "ae", "grid": {}}}, "Train, Search", "Train",
         {"search": "JOB"}),
    ],
)  # fmt: skip
def test_news_says_where_it_is_seen_and_leads_there(
    kind: str, params: dict, place: str, title: str, chosen: dict, workspace: Workspace, dataset: Dataset
) -> None:
    run = ended_unseen(workspace, dataset)
    run.mark_seen()
    job = new_job(workspace, kind, {name: run.id if value == "RUN" else value for name, value in params.items()})
    job.update(state="failed", attempt=1, ended=time.time() - 300, error="It broke.", code="BROKEN")
    page = AppTest.from_file(str(Path(PAGE).parents[1] / "app.py"), default_timeout=30).run()
    assert f"failed, 5 minutes ago, see {place}" in words(page)
    page.session_state["entry"] = "what Evaluate looked into before"
    page.button(key="unseen-look").click().run()
    assert not page.exception
    assert page.title[0].value == title
    for key, value in chosen.items():
        assert page.session_state[key] == (job.id if value == "JOB" else value)
    assert job.is_seen
    if title == "Evaluate":
        assert "entry" not in page.session_state


@pytest.mark.parametrize(("state", "attempt"), [("cancelled", 1), ("running", 1), ("finished", 0)])
def test_what_a_person_stopped_or_ran_by_hand_is_no_news(
    state: str, attempt: int, workspace: Workspace, dataset: Dataset
) -> None:
    run = ended_unseen(workspace, dataset)
    run.update(state=state, attempt=attempt, pid=os.getpid(), pid_start=process_start(os.getpid()))
    page = AppTest.from_function(banner, default_timeout=30).run()
    assert not any(button.key == "unseen-look" for button in page.button)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("Looking at image 14 of 30", "Looking at image 14 of 30, about 40 s left"),
        ("Generating people", "44 of 60, about 40 s left, Generating people"),
    ],
)
def test_a_count_is_told_once(workspace: Workspace, message: str, said: str) -> None:
    job = new_job(workspace, "scan", {})
    job.update(state="running", done=44, total=60, eta_s=40.0, message=message)
    assert job_words(job) == said
