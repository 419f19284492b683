"""Train, Arena: nothing there, a form that says what it will take, a finished arena with its claims."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from core.arena.arena import Arena
from core.arena.settings import ArenaOptions, make_arena_config
from core.jobs import BACKENDS
from core.runs import list_jobs, new_job
from tests.pages.driving import button, open_page, words
from tests.tiny_run import make_dataset
from ui.state import State

PAGE = str(Path(__file__).resolve().parents[2] / "pages" / "train.py")
opened = partial(open_page, PAGE)


@pytest.fixture
def dataset(workspace):
    return make_dataset(workspace, n_cases=6)


def to_arena():
    page = opened()
    page.session_state[State.TRAIN_VIEW] = "arena"
    return page.run()


def test_an_empty_arena_says_what_it_is(dataset):
    page = to_arena()
    assert not page.exception
    assert "No arena yet" in words(page)
    assert "18 trainings" in words(page)  # mvae, hemis and the four that always compete, on three folds
    assert "folds of 2 cases" in words(page)


def test_start_hands_it_to_the_queue(dataset, monkeypatch):
    started = []
    monkeypatch.setattr(BACKENDS["local"], "start", started.append)
    page = to_arena()
    button(page, "Start arena").click().run()
    assert not page.exception and not page.error
    assert [job.kind for job in started] == ["arena"]
    assert started[0].params["config"]["models"] == ["mvae", "hemis"]


def test_a_finished_arena_shows_one_table_one_figure_and_the_claims(workspace, dataset, monkeypatch):
    monkeypatch.setattr("core.arena.settings.ALWAYS", ("linear", "mean_image"))
    config = make_arena_config(dataset, ArenaOptions(models=("constant",), n_folds=2))
    job = new_job(workspace, "arena", {"config": config.model_dump(mode="json"), "device": "cpu"})
    Arena(job, config, dataset, torch.device("cpu")).run()
    job.update(state="finished")
    assert [found.id for found in list_jobs(workspace)] == [job.id]
    page = to_arena()
    assert not page.exception and not page.error
    assert "Finished" in " ".join(str(badge.value) for badge in page.get("badge") or page.markdown)
    assert {"constant", "linear (baseline)", "mean image (baseline)"} <= set(page.dataframe[0].value["name"])
    assert len(page.get("plotly_chart")) == 1
    assert "minus the rival's on the same case" in words(page)
    assert page.query_params[State.ARENA] in (job.id, [job.id])
