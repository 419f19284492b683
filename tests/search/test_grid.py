"""Grids as they are typed: what they mean, and one clear sentence for each that makes no sense."""

from __future__ import annotations

import pytest

from core.errors import InvalidConfigError
from core.metrics import METRICS
from core.models.ae import AE
from core.search.grid import parse_grid, points_of, typed
from core.search.plan import MAX_TRAININGS, count_trainings, make_search_config
from core.search.settings import SearchOptions
from core.workspace import Workspace
from tests.tiny_run import make_dataset


def test_every_combination_is_a_point_with_values_of_the_settings_own_type():
    grid = typed(parse_grid(["model.latent_dim=8,16", "train.lr=1e-3, 3e-4", "train.augment=no"]), AE.Config)
    points = points_of(grid)
    assert grid == {"model.latent_dim": (8, 16), "train.lr": (1e-3, 3e-4), "train.augment": (False,)}
    assert [point.number for point in points] == [1, 2, 3, 4]
    assert points[1].values == {"model.latent_dim": 8, "train.lr": 3e-4, "train.augment": False}
    assert points[2].of("model") == {"latent_dim": 16} and points[2].of("train") == {"lr": 1e-3, "augment": False}
    assert points[1].words == "latent_dim 8, lr 0.0003, augment no"


def test_lists_of_modalities_can_vary():
    grid = typed(parse_grid(['train.modalities=[["T1"],["T1","CT"]]']), AE.Config)
    assert grid == {"train.modalities": (["T1"], ["T1", "CT"])}


@pytest.mark.parametrize(
    ("pairs", "code", "words"),
    [
        (["model.width_of_all=1,2"], "GRID-VALUE", "there is no such setting"),
        (["model.latent_dim=8,many"], "GRID-VALUE", "model.latent_dim: Input should be a valid integer"),
        (["train.lr=0.1,5"], "GRID-VALUE", "train.lr: Input should be less than or equal to 1"),
        (["latent_dim=8,16"], "GRID", "starts with model. or train."),
        (["train.lr=0.1,1e-1"], "GRID-TWICE", "the value 0.1 is there twice"),
        (["train.lr=0.1,0.2", "train.lr=0.3"], "GRID", "in the grid twice"),
        (["train.lr=0.1"], "GRID-EMPTY", "at least two values"),
        (["train.lr="], "GRID-EMPTY", "at least two values"),
        (["train.init_from=a,b"], "GRID", "cannot be searched"),
        (["train.lr"], "CONFIG", "key=value"),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused_with_one_sentence(pairs, code, words):
    with pytest.raises(InvalidConfigError, match=words) as error:
        typed(parse_grid(pairs), AE.Config)
    assert error.value.code == code


def test_the_search_offers_every_metric_of_the_evaluation_that_looks_at_the_truth():
    offered = SearchOptions.model_fields["metric"].annotation.__args__
    assert offered == tuple(name for name, metric in METRICS.items() if metric.needs_truth)


def test_the_number_of_trainings_is_told_beforehand_and_has_a_limit(workspace: Workspace):
    assert count_trainings(6, SearchOptions()) == 30
    assert count_trainings(6, SearchOptions(nested=True)) == 30 + 5 * 6 * 3
    assert count_trainings(8, SearchOptions(halving=True)) == 8 + 4 + 2 * 3
    dataset = make_dataset(workspace, n_cases=10)
    values = ",".join(str(k) for k in range(1, MAX_TRAININGS))
    with pytest.raises(InvalidConfigError, match="1,000 are the most") as error:
        make_search_config(dataset, "ae", {}, parse_grid([f"model.latent_dim={values}"]), SearchOptions(n_folds=2))
    assert error.value.code == "GRID-TOO-LARGE"


@pytest.mark.parametrize(
    ("model", "fixed", "options", "code"),
    [
        ("contrastive", {}, {}, "NO-IMAGES"),
        ("ae", {}, {"judged": "PET"}, "NO-TARGET"),
        ("ae", {"train": {"init_from": "run-1"}}, {}, "LEAK"),
        ("ae", {}, {"n_folds": 9}, "TOO-FEW-CASES"),
        ("ae", {}, {"n_folds": 4, "nested": True, "inner_folds": 7}, "TOO-FEW-CASES"),
        ("aee", {}, {}, "NO-MODEL"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_any_training(workspace, model, fixed, options, code):
    dataset = make_dataset(workspace, n_cases=9)
    options = SearchOptions(**{"n_folds": 3, **options})
    with pytest.raises(InvalidConfigError) as error:
        make_search_config(dataset, model, fixed, {"train.lr": ("0.1", "0.2")}, options)
    assert error.value.code == code
