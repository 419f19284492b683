"""Search on Train: what it will cost, what cannot be searched, what was found, and the best setting in the form."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from core.dataset import Dataset
from core.jobs import BACKENDS
from core.jobs.worker import execute
from core.runs import list_jobs, new_job
from core.search.plan import make_search_config
from core.search.settings import SearchOptions
from core.workspace import Workspace
from tests.pages.driving import button, open_page, words
from tests.tiny_run import make_dataset
from ui.state import State

PAGE = str(Path(__file__).resolve().parents[2] / "pages" / "train.py")
opened = partial(open_page, PAGE)


@pytest.fixture
def dataset(workspace: Workspace) -> Dataset:
    return make_dataset(workspace, n_cases=8)


def searching(**link: str):
    page = opened(**link)
    return page.button_group(key=State.TRAIN_VIEW).set_value("search").run()


def test_without_a_dataset_the_tab_says_what_to_do(workspace):
    page = searching()
    assert not page.exception
    assert "Nothing to train on yet" in words(page)


def test_the_form_tells_the_number_of_trainings_and_the_time_beforehand(dataset):
    page = searching()
    assert not page.exception and not page.error
    assert "No search yet" in words(page)
    assert "45 trainings** of 9 settings, at most 6.0 h, by the time limit" in words(page)
    page.toggle(key="search-options-nested").set_value(True).run()
    assert "180 trainings** of 9 settings" in words(page)
    assert "5 folds of 1 or 2 cases; 2 test cases stay unseen" in words(page)


def test_what_cannot_be_searched_disables_the_start_with_the_reason(dataset):
    page = searching()
    page.text_input(key="search-hemis-train.lr").set_value("0.1, 0.1").run()
    assert button(page, "Start search").disabled and "the value 0.1 is there twice" in words(page)
    page.text_input(key="search-hemis-train.lr").set_value("0.1, fast").run()
    assert "train.lr: Input should be a valid number" in words(page)
    page.multiselect(key="search-vary-hemis").set_value([]).run()
    assert button(page, "Start search").disabled and "at least two values" in words(page)
    page.number_input(key="search-options-n_folds").set_value(7).run()
    assert "7 folds need 7 cases" in words(page)


def test_every_model_of_the_list_proposes_a_grid_that_can_be_searched(dataset):
    page = searching()
    for model in ("pca", "unet", "cyclegan", "mhvae"):
        page.selectbox(key="search-model").set_value(model).run()
        assert not page.exception and not page.error
        assert not button(page, "Start search").disabled, model


def test_what_is_filled_in_is_what_is_searched(dataset, workspace):
    page = searching()
    page.selectbox(key="search-model").set_value("pca").run()
    page.multiselect(key="search-vary-pca").set_value(["model.components", "model.pixels"]).run()
    page.text_input(key="search-pca-model.components").set_value("1, 6").run()
    page.text_input(key="search-pca-model.pixels").set_value("100").run()
    page.number_input(key="search-options-n_folds").set_value(2).run()
    button(page, "Start search").click().run()
    job = list_jobs(workspace)[0]
    BACKENDS["local"].cancel(job)
    config = job.params["config"]
    assert (config["model"], config["n_folds"]) == ("pca", 2)
    assert config["grid"] == {"model.components": [1, 6], "model.pixels": [100]}
    assert page.selectbox(key=State.SEARCH).value == job.id
    BACKENDS["local"].wait(job, timeout_s=60)
    assert job.state == "cancelled"


def test_what_a_search_found_is_told_and_its_best_setting_fills_the_form(dataset, workspace):
    grid = {"model.components": ("1", "6"), "model.pixels": ("100",)}
    config = make_search_config(dataset, "pca", {}, grid, SearchOptions(n_folds=2))
    job = new_job(workspace, "search", {"config": config.model_dump(mode="json"), "device": "cpu"})
    execute(job, workspace)
    page = opened(search=job.id, dataset=dataset.name)
    assert not page.exception and not page.error
    best = next(row for row in job.result["points"] if row["point"] == job.result["best"])
    n = best["values"]["model.components"]
    assert f"**Best: components {n}, pixels 100.** MAE {best['mean']:.4f} (95 % interval" in words(page)
    assert "Cost: 4 trainings" in words(page)
    assert "To look at images on Compare, press “Use the best”" in words(page)
    table = next(frame.value for frame in page.dataframe if "Verdict" in frame.value)
    assert next(iter(table["Verdict"])) == "best" and list(table["Folds"]) == ["2 of 2"] * 2
    for look in ("intervals", "all"):
        page.button_group(key="search_look").set_value(look).run()
        assert not page.exception and len(page.get("plotly_chart")) == 1
    button(page, "Use the best").click().run()
    assert page.radio(key=f"train-model-{job.id}").value == "pca"
    assert page.number_input(key=f"model-pca-{job.id}-components").value == n
    assert page.number_input(key=f"model-pca-{job.id}-pixels").value == 100
    button(page, "Usual settings").click().run()
    assert page.radio(key="train-model").value == "hemis"
