"""Evaluate, Further checks: what each asks, the button that starts it, what was found, why one cannot be done."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from core import frozen
from core.audit import audit
from core.evaluate import evaluate
from core.jobs import BACKENDS
from core.jobs.worker import execute
from core.runs import EXPORT, Run, list_jobs
from core.synthesis import load_run
from core.train import make_config, train
from tests.known_heads import heads
from tests.pages.driving import open_page, words
from ui.audit_view import ASKS, CHECKS
from ui.run_view import delete_run
from ui.state import State

PAGE = str(Path(__file__).resolve().parents[2] / "pages" / "evaluate.py")
opened = partial(open_page, PAGE, run_view="audits")


@pytest.fixture
def run(workspace, monkeypatch) -> Run:
    """A judged run of the linear baseline, whose answer is right up to noise."""
    dataset = heads(workspace, 6)
    made = Run.new(workspace, make_config(dataset, "linear", {}, {}, seed=1))
    train(made, dataset, torch.device("cpu"))
    made.update(state="finished")
    monkeypatch.setattr(frozen, "STEPS", 40)
    made.write_result(evaluate(load_run(workspace, made), subsets="small"))
    return made


def test_a_check_says_what_it_asks_and_its_button_starts_a_job(run, monkeypatch):
    started = []
    monkeypatch.setattr(BACKENDS["local"], "start", started.append)
    page = opened()
    assert not page.exception and not page.error
    assert ASKS["usefulness"] in words(page)
    page.button(key="audit-usefulness").click().run()
    assert [job.kind for job in started] == ["audit"]
    assert started[0].params == {"run": run.id, "names": ["usefulness"], "device": "auto"}
    assert "At work" in words(page)


@pytest.mark.slow
def test_what_was_found_stands_on_the_page(run, workspace):
    audit(load_run(workspace, run), list(CHECKS))
    page = opened()
    said = {}
    for name in CHECKS:
        page.session_state[State.AUDIT] = name
        page.run()
        assert not page.exception and not page.error
        said[name] = words(page) + " ".join(str(element.value) for element in page.get("success"))
    assert "100 %: as good as the real image" in said["usefulness"]
    assert "Means over 1 held-out case and" in said["misalignment"]
    assert "syntheses" in said["memorisation"]
    assert "hold out 2 at least" in said["realism"]  # of six cases one is held out


def test_a_generated_cohort_is_locked_until_copies_were_looked_for_and_goes_with_its_run(run, workspace, monkeypatch):
    monkeypatch.setattr(BACKENDS["local"], "start", lambda job: execute(job, workspace))
    page = opened()
    assert not page.exception and not page.error
    assert page.button(key="generate").disabled
    assert "First press “Check” under “Copies?”" in words(page) and "First press" in page.button(key="generate").help
    audit(load_run(workspace, run), ["memorisation"])
    page.run()
    assert not page.button(key="generate").disabled and "First press" not in words(page)
    page.selectbox(key="_generated-cases").select("lacking").run()
    assert page.button(key="generate").disabled and "No case lacks" in words(page)
    page.selectbox(key="_generated-cases").select("held-out").run()
    page.button(key="generate").click().run()
    assert not page.exception and not page.error
    assert "1 image of 1 case, just now. Nothing was left out." in words(page)
    (job,) = [job for job in list_jobs(workspace) if job.kind == "generate"]
    assert job.params["settings"] == {"given": ["T1"], "targets": ["T2"], "cases": "held-out"}
    assert (job.folder / EXPORT).exists()
    assert any(element.label.startswith("Save ") for element in page.get("download_button"))
    delete_run(run)
    assert not job.folder.exists()
