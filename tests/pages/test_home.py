"""Home: one screen, the way into the demo."""

from __future__ import annotations

from pathlib import Path

from streamlit.testing.v1 import AppTest

from core.jobs import BACKENDS
from core.runs import Job, list_jobs

ROOT = Path(__file__).resolve().parents[2]


def opened(page: str = "pages/home.py") -> AppTest:
    return AppTest.from_file(str(ROOT / page), default_timeout=30).run()


def test_home_says_what_this_is_and_offers_the_demo(workspace):
    page = opened()
    assert not page.exception
    assert "CT, MRI, PET and ultrasound" in page.markdown[0].value
    assert [button.label for button in page.button] == ["Open the demo"]
    assert any("stay on this machine" in caption.value for caption in page.caption)


def test_the_demo_is_one_press_away(workspace, monkeypatch):
    started: list[Job] = []
    monkeypatch.setattr(BACKENDS["local"], "start", started.append)
    page = opened()
    page.button[0].click().run()
    assert not page.exception
    assert [job.kind for job in started] == ["demo"]
    assert [job.kind for job in list_jobs(workspace)] == ["demo"]
    assert page.button[0].disabled


def test_a_demo_that_is_there_is_gone_to(workspace):
    for file in ("datasets/demo/index.json", "runs/run-demo/config.json"):
        (workspace.root / file).parent.mkdir(parents=True)
        (workspace.root / file).write_text("{}")
    assert [button.label for button in opened().button] == ["Look at the demo", "Pack the workspace"]


def test_a_demo_that_failed_says_so(workspace):
    Job.create(workspace.jobs / "job-1", "demo", {}).update(state="failed", error="The disk is full.", code="DISK")
    assert "The disk is full." in opened().error[0].value


def test_the_app_opens_on_home_with_the_notice(workspace):
    page = opened("app.py")
    assert not page.exception
    assert page.title[0].value == "Crossmodal Studio"
    assert any("Not for clinical use" in caption.value for caption in page.caption)


def test_the_banner_shows_running_work_and_stops_it(workspace, monkeypatch):
    stopped: list[Job] = []
    monkeypatch.setattr(BACKENDS["local"], "cancel", stopped.append)
    job = Job.create(workspace.jobs / "job-1", "prepare", {})
    page = opened("app.py")
    button = next(button for button in page.button if button.label == "Cancel")
    button.click().run()
    assert not page.exception
    assert [one.id for one in stopped] == [job.id]


def test_the_named_workspace_stays_in_the_link(workspace):
    page = AppTest.from_file(str(ROOT / "app.py"), default_timeout=30)
    page.query_params["ws"] = "team-a"
    page.run()
    page.query_params.clear()
    page.run()
    assert page.query_params["ws"] in ("team-a", ["team-a"])


def test_a_workspace_name_cannot_leave_the_workspace(workspace):
    page = AppTest.from_file(str(ROOT / "app.py"), default_timeout=30)
    page.query_params["ws"] = "../../etc"
    page.run()
    assert not page.exception
    assert "ws" not in page.session_state
