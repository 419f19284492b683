"""Train in its states: nothing to train on, a form, a run under way, runs that ended well or badly."""

from __future__ import annotations

import io
import json
import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from core.dataset import Dataset
from core.jobs import BACKENDS
from core.models import MODELS
from core.prepare import prepare
from core.processes import process_start
from core.recipes import make_recipe
from core.runs import Job, Run, list_jobs, list_runs
from core.train import make_config
from core.workspace import Workspace, atomic_write
from tests.pages.driving import button, open_page, words
from ui.run_form import model_cards
from ui.run_history import MAX_POINTS, Tail, steps_per_second, thinned
from ui.state import State

PAGE = str(Path(__file__).resolve().parents[2] / "pages" / "train.py")
opened = partial(open_page, PAGE)


def line(step: int, split: str = "train", **values: float) -> dict[str, object]:
    return {"step": step, "epoch": 1, "split": split, "total": 1.0 / step, "seconds": step / 4, "lr": 1e-3, **values}


@pytest.fixture
def running(workspace: Workspace, dataset: Dataset) -> Run:
    """A run under way in a living process (this one), with a history and two previews."""
    run = Run.new(workspace, make_config(dataset, "ae", {}, {}, seed=1))
    pid = os.getpid()
    run.update(state="running", pid=pid, pid_start=process_start(pid), done=40, total=200, eta_s=40, device="cpu")
    for step in range(10, 50, 10):
        run.append_history(line(step, reconstruction=2.0))
    for step in (10, 40):
        write_preview(run, step)
    return run


def write_preview(run: Run, step: int) -> None:
    picture = np.full((20, 24), step / 100, np.float16)
    stream = io.BytesIO()
    np.savez(stream, source__T1=picture, target__T2=picture, T1__T2=picture)
    atomic_write(run.folder / "previews" / f"{step:06d}.npz", stream.getvalue())


def test_an_empty_workspace_says_what_to_do(workspace):
    page = opened()
    assert not page.exception
    assert "Nothing to train on yet" in words(page)
    page.button_group(key=State.TRAIN_VIEW).set_value("runs").run()
    assert "No run yet" in words(page)


def test_every_model_can_be_chosen_and_its_form_draws(dataset):
    model_cards.clear()  # another test may have had a model of its own
    page = opened()
    assert not page.exception and not page.error
    models = page.radio(key="train-model")
    assert len(models.options) == len(MODELS)
    assert all("baseline" in option for option in models.options[-3:])
    for model in ("ae", "dense_ae", "unet", "vae", "constant"):
        page.radio(key="train-model").set_value(model).run()
        assert not page.exception and not page.error
        assert not button(page, "Start training").disabled


def test_a_models_own_training_defaults_are_filled_in(dataset):
    page = opened()
    page.radio(key="train-model").set_value("dense_ae").run()
    assert page.number_input(key="train-dense_ae-epochs").value == 100
    assert page.number_input(key="train-dense_ae-batch_size").value == 32


def test_the_split_is_shown_case_by_case(dataset):
    page = opened()
    page.button_group(key="split-kind").set_value("fold").run()
    page.number_input(key="folds-4").set_value(4).run()
    page.number_input(key="fold-4").set_value(3).run()
    table = page.dataframe[0].value
    held_out = set(table["Case"][table["Use"] == "Held out"])
    assert held_out == set(dataset.split(0, 2, 4).test)
    assert set(table["Case"]) == set(dataset.case_ids)


def test_too_few_cases_disable_the_start_with_the_reason(cohort, workspace):
    for case_id in cohort.case_ids[1:]:
        cohort.delete_case(case_id)
    prepare(workspace, cohort, "one", make_recipe("generic"))
    page = opened()
    assert button(page, "Start training").disabled
    assert "at least 2 cases" in words(page)


def test_a_run_starts_ends_and_is_found_again_after_a_reload(dataset, workspace):
    page = opened()
    page.radio(key="train-model").set_value("linear").run()
    button(page, "Start training").click().run()
    run = list_runs(workspace)[0]
    assert page.selectbox(key=State.RUN).value == run.id
    BACKENDS["local"].wait(run, timeout_s=120)
    assert run.state == "finished"
    again = opened(run=run.id)
    assert not again.exception and not again.error
    assert "Finished" in words(again)
    assert not button(again, "Evaluate").disabled
    assert button(again, "Embed").disabled  # a baseline has no shared code


def test_a_run_under_way_shows_curve_pace_time_left_and_a_stop_button(running):
    page = opened(run=running.id)
    assert not page.exception and not page.error
    said = words(page)
    assert "20 %" in said and "40 steps" in said and "4.0 steps/s" in said and "about 40 s left" in said
    assert len(page.get("plotly_chart")) == 1
    page.button(key=f"stop-{running.id}")
    assert "Delete run" not in [button.label for button in page.button]


def test_stopping_asks_the_worker_to_stop(running, monkeypatch):
    monkeypatch.setattr(os, "kill", lambda pid, signal: None)
    page = opened(run=running.id)
    page.button(key=f"stop-{running.id}").click().run()
    assert running.is_cancel_requested
    assert page.button(key=f"stop-{running.id}").label == "Stopping"


def test_one_slider_over_all_steps_follows_the_newest_until_it_is_moved(running):
    page = opened(run=running.id)
    page.button_group(key="run_look").set_value("pictures").run()
    assert not page.exception and not page.error
    slider = page.select_slider[0]
    assert slider.value == 40
    assert len(page.get("image")) == 3  # given, made, as it is
    write_preview(running, 70)
    page.run()
    assert page.select_slider[0].value == 70
    page.select_slider[0].set_value(10).run()
    write_preview(running, 90)
    page.run()
    assert page.select_slider[0].value == 10
    assert "learnt from" in words(page)


@pytest.mark.parametrize("look", ["log", "settings"])
def test_log_and_settings_are_there(running, look):
    (running.folder / "log.txt").write_text("first\nlast words\n")
    page = opened(run=running.id)
    page.button_group(key="run_look").set_value(look).run()
    assert not page.exception and not page.error
    if look == "log":
        assert "last words" in page.code[0].value
    else:
        assert "Learning rate" in list(page.dataframe[1].value["Setting"])


def test_a_failed_run_says_its_sentence(running):
    running.update(state="failed", error="The loss left the finite numbers.", code="DIVERGED")
    page = opened(run=running.id)
    assert "The loss left the finite numbers." in page.error[0].value and "DIVERGED" in page.error[0].value
    assert button(page, "Evaluate").disabled


def test_a_dead_worker_reads_as_lost(running):
    running.update(pid=2**22 - 3, pid_start=1)
    page = opened(run=running.id)
    assert "Lost" in words(page) and "ended without a word" in page.error[0].value


def test_a_failed_evaluation_is_said_where_it_was_started(running, workspace):
    running.update(state="finished")
    job = Job.create(workspace.jobs / "job-9", "evaluate", {"run": running.id})
    job.update(state="failed", error="There is not enough memory.")
    assert "not enough memory" in opened(run=running.id).error[0].value


def test_evaluate_starts_a_job_once(running, workspace, monkeypatch):
    running.update(state="finished")
    running.weights_path.write_bytes(b"x")
    monkeypatch.setattr(type(BACKENDS["local"]), "start", lambda self, job: None)
    page = opened(run=running.id)
    button(page, "Evaluate").click().run()
    assert [(job.kind, job.params["run"]) for job in list_jobs(workspace)] == [("evaluate", running.id)]
    assert button(page, "Evaluate").disabled


def test_deleting_a_run_asks_first(running, workspace):
    running.update(state="cancelled")
    page = opened(run=running.id)
    page.button(key=f"delete-{running.id}").click().run()
    assert "removed with its weights" in words(page)
    page.button(key=f"delete-{running.id}-yes").click().run()
    assert not list_runs(workspace)
    assert not page.exception


def test_history_is_read_on_and_a_half_written_line_waits(running):
    tail = Tail(running.id)
    tail.follow(running)
    assert [one["step"] for one in tail.lines] == [10, 20, 30, 40]
    path = running.folder / "history.jsonl"
    whole = json.dumps(line(50)) + "\n"
    with path.open("a") as stream:
        stream.write(whole[:20])
    tail.follow(running)
    assert len(tail.lines) == 4
    with path.open("a") as stream:
        stream.write(whole[20:])
    tail.follow(running)
    assert [one["step"] for one in tail.lines] == [10, 20, 30, 40, 50]


def test_lines_that_a_run_took_back_are_forgotten(running):
    tail = Tail(running.id)
    tail.follow(running)
    (running.folder / "history.jsonl").write_text("".join(json.dumps(line(step)) + "\n" for step in (10, 20)))
    tail.follow(running)
    assert [one["step"] for one in tail.lines] == [10, 20]


@pytest.mark.parametrize("n", [1, 2, 999, 1000, 1001, 2500, 100_000])
def test_no_curve_has_more_than_a_thousand_points_and_the_last_is_kept(n):
    lines = [line(step) for step in range(1, n + 1)]
    kept = thinned(lines)
    assert len(kept) <= MAX_POINTS
    assert kept[-1]["step"] == n
    assert len(kept) > min(n, MAX_POINTS) / 2.1


def test_the_pace_is_that_of_the_last_lines():
    slow = [{**line(step), "seconds": step * 1.0} for step in range(1, 50)]
    fast = [{**line(step), "seconds": 50 + (step - 50) / 8} for step in range(50, 80)]
    assert steps_per_second(slow + fast) == pytest.approx(8.0)
    assert steps_per_second(slow[:1]) is None
