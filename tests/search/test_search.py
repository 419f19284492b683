"""A whole search with real trainings: what it scores, what it never sees, how it goes on after a break."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch

from core.dataset import Dataset
from core.errors import InvalidConfigError, UserError
from core.models import MODELS
from core.models.pca import PCA
from core.progress import Interrupted
from core.runs import Job, Run, list_runs, new_job
from core.search.grid import parse_grid
from core.search.plan import count_trainings, inner_folds, make_search_config
from core.search.search import Search
from core.search.settings import SearchOptions
from core.statistics import mean_interval
from core.synthesis import load_run, synthesise_case
from core.workspace import Workspace, read_json
from tests.tiny_run import make_dataset

CPU = torch.device("cpu")
LEARNT = {"train": {"epochs": 2, "batch_size": 16, "preview_every": 1000}}


def start(workspace: Workspace, dataset: Dataset, model: str, grid: list[str], fixed=None, **options) -> Search:
    chosen = SearchOptions(**{"n_folds": 3, **options})
    config = make_search_config(dataset, model, fixed or {}, parse_grid(grid), chosen)
    job = new_job(workspace, "search", {"config": config.model_dump(mode="json"), "device": "cpu"})
    return Search(job, config, dataset, CPU)


def without_times(table):
    """A table but for the seconds that its trainings took."""
    if isinstance(table, dict):
        return {key: without_times(value) for key, value in table.items() if key != "seconds"}
    return [without_times(item) for item in table] if isinstance(table, list) else table


def runs_of(job: Job) -> list[Run]:
    return [Run(path.parent) for path in sorted(job.folder.glob("runs/*/config.json"))]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make_dataset(Workspace(tmp_path_factory.mktemp("search")), n_cases=12)


@pytest.fixture(scope="module")
def place(dataset: Dataset) -> Workspace:
    return Workspace(dataset.folder.parent.parent)


@pytest.fixture(scope="module")
def nested(dataset: Dataset, place: Workspace) -> Search:
    """Finished: two sizes of PCA on three folds, chosen anew without each of them."""
    search = start(place, dataset, "pca", ["model.components=1,6"], nested=True, inner_folds=2)
    search.run()
    return search


def mae_by_hand(run: Run, place: Workspace, case_id: str) -> float:
    """Mean over targets of the mean over what each is made from: every other modality alone, and both together."""
    loaded = load_run(place, run)
    dataset, has = loaded.dataset, loaded.dataset.record(case_id)["modalities"]
    mask, by_target = np.array(dataset.mask(case_id)), []
    for target in has:
        others = [m for m in has if m != target]
        subsets = [(m,) for m in others] + ([tuple(others)] if len(others) > 1 else [])
        field = mask & (np.array(dataset.label_map(case_id, "T1_fov")) > 0) if target == "T1" else mask
        truth = np.array(dataset.volume(case_id, target))[field].astype(float)
        made = [synthesise_case(loaded, case_id, given, [target])[target][field] for given in subsets]
        by_target.append(np.mean([np.abs(image - truth).mean() for image in made]))
    return float(np.mean(by_target))


def test_each_case_of_the_search_is_scored_once_by_a_run_that_did_not_see_it(nested, dataset, place):
    table = nested.job.result
    assert sorted(itertools.chain(*table["folds"])) == sorted(set(dataset.case_ids) - set(dataset.split(0).test))
    for row in table["points"]:
        assert sorted(row["scores"]) == sorted(itertools.chain(*table["folds"]))
        assert row["mean"] == pytest.approx(np.mean(list(row["scores"].values())))
        interval = mean_interval(list(row["scores"].values()))
        assert (row["low"], row["high"], row["n"]) == (interval.low, interval.high, 10)


def test_a_score_is_the_masked_error_on_the_0_to_1_scale(nested, place):
    row = nested.job.result["points"][0]
    fold = nested.job.result["folds"][1]
    run = next(
        run
        for run in runs_of(nested.job)
        if list(run.config.hold_out.judged) == fold
        and run.config.model_settings["components"] == row["values"]["model.components"]
    )
    for case_id in fold[:2]:
        assert row["scores"][case_id] == pytest.approx(mae_by_hand(run, place, case_id), rel=1e-5)


def test_no_training_of_a_search_ever_sees_a_test_case(nested, dataset):
    test = set(dataset.split(0).test)
    for run in runs_of(nested.job):
        split = dataset.split_of(run.config)
        assert not test & {*split.train, *split.val, *split.test}
    assert not list_runs(Workspace(dataset.folder.parent.parent))  # they do not crowd the list of runs


def test_choices_of_a_nested_search_never_see_their_outer_fold(nested, dataset):
    table = nested.job.result
    fold_sets = [set(fold) for fold in table["folds"]]
    inner = [run for run in runs_of(nested.job) if set(run.config.hold_out.unseen) != set(table["test"])]
    assert len(runs_of(nested.job)) == count_trainings(2, nested.config) == 6 + 3 * 2 * 2 == 6 + len(inner)
    assert table["trainings"] == 18
    for run in inner:
        split = dataset.split_of(run.config)
        hidden = set(run.config.hold_out.unseen) - set(table["test"])
        assert hidden in fold_sets
        assert not hidden & {*split.train, *split.val, *split.test}


def test_the_nested_estimate_is_each_fold_judged_by_what_the_others_chose(nested, dataset):
    table, metric = nested.job.result, {}
    for run in runs_of(nested.job):
        hold_out, size = run.config.hold_out, run.config.model_settings["components"]
        score = read_json(nested.job.folder / "scores" / f"{run.id.removeprefix('run-')}.json")["scores"]
        metric[frozenset(hold_out.judged), frozenset(hold_out.unseen), size] = {c: s["mae"] for c, s in score.items()}
    expected, chosen = {}, []
    for fold in table["folds"]:
        rest = [case_id for case_id in itertools.chain(*table["folds"]) if case_id not in fold]
        hidden = frozenset({*table["test"], *fold})
        parts = inner_folds(dataset, nested.config, rest)
        means = {s: np.mean([v for part in parts for v in metric[frozenset(part), hidden, s].values()]) for s in (1, 6)}
        best = min(means, key=means.__getitem__)
        chosen.append({1: 1, 6: 2}[best])
        expected |= metric[frozenset(fold), frozenset(table["test"]), best]
    found = table["nested"]
    assert found["chosen"] == chosen and found["scores"] == expected
    assert found["mean"] == pytest.approx(np.mean(list(expected.values())))
    flat = next(row for row in table["points"] if row["point"] == table["best"])["scores"]
    assert found["optimism"]["mean"] == pytest.approx(np.mean([expected[c] - flat[c] for c in expected]))


def test_what_is_far_behind_is_told_apart_and_copies_are_not(nested, place, dataset):
    behind = nested.job.result["points"][1]
    best = nested.job.result["points"][0]["scores"]
    difference = mean_interval([behind["scores"][c] - best[c] for c in sorted(best)])
    assert behind["behind"] == vars(difference) and behind["is_told_apart"] is (difference.low > 0)
    search = start(place, dataset, "pca", ["train.lr=0.1,0.2"])  # which a fitted model does not read
    table = search.run()
    assert table["points"][1]["is_told_apart"] is False
    assert table["points"][0]["scores"] == table["points"][1]["scores"]


class Breaker:
    """Ends the work in the middle of its n-th training, as the end of the machine would."""

    def __init__(self, n: int) -> None:
        self.n, self.seen = n, []

    def __call__(self, done: float, total: float, message: str = "") -> None:
        self.seen.append((done, total, message))
        if done > self.n + 0.4:
            raise Interrupted


def test_a_search_that_was_broken_off_goes_on_to_the_very_same_table(place, dataset):
    grid = ["model.code=2,3", "train.lr=0.01"]
    whole = start(place, dataset, "dense_ae", grid, LEARNT, n_folds=2, nested=True, inner_folds=2)
    unbroken = whole.run()
    broken = start(place, dataset, "dense_ae", grid, LEARNT, n_folds=2, nested=True, inner_folds=2)
    for n in (1, 5):
        broken.progress = Breaker(n)
        with pytest.raises(Interrupted):
            broken.run()
        broken = Search(broken.job, broken.config, dataset, CPU)
    before = {path: path.stat().st_mtime_ns for path in broken.job.folder.glob("scores/*.json")}
    assert len(before) == 5 and any(broken.job.folder.glob("runs/*/checkpoints/[0-9]*"))
    broken.progress = Breaker(1000)
    table = broken.run()
    assert without_times(table) == without_times(unbroken) == without_times(broken.job.result)
    assert all(path.stat().st_mtime_ns == changed for path, changed in before.items())
    done, total, message = broken.progress.seen[0]
    assert (done, total) == (5, 4 + 2 * 4) and message.startswith("Training 6 of 12: code")


class Fragile(PCA):
    """Cannot be fitted with three components."""

    def fit(self, batches):
        if self.config.components == 3:
            raise UserError("Three is too many.", "THREE")
        super().fit(batches)


def test_a_setting_that_cannot_be_trained_is_named_and_the_others_are_judged(place, dataset, monkeypatch):
    monkeypatch.setitem(MODELS, "fragile", Fragile)
    table = start(place, dataset, "fragile", ["model.components=3,2,5"]).run()
    assert [row["state"] for row in table["points"]] == ["done", "done", "failed"]
    worst = table["points"][-1]
    assert (worst["values"], worst["error"], worst["code"]) == ({"model.components": 3}, "Three is too many.", "THREE")
    with pytest.raises(UserError, match=r"No setting could be trained.*Three") as error:
        start(place, dataset, "fragile", ["model.components=3", "train.lr=0.1,0.2"]).run()
    assert error.value.code == "THREE"


def test_halving_says_what_was_stopped_and_when(place, dataset):
    table = start(place, dataset, "pca", ["model.components=1,2,4,6"], halving=True).run()
    assert [(row["state"], row["folds"]) for row in table["points"]] == [("done", 3)] * 2 + [("stopped", 1)] * 2
    whole = start(place, dataset, "pca", ["model.components=1,2,4,6"]).run()
    by_point = {row["point"]: row for row in whole["points"]}
    first = set(table["folds"][0])
    means = {n: np.mean([v for c, v in row["scores"].items() if c in first]) for n, row in by_point.items()}
    kept = {row["point"] for row in table["points"] if row["state"] == "done"}
    assert kept == set(sorted(means, key=means.__getitem__)[:2])
    for row in table["points"]:
        assert row["scores"] == {c: by_point[row["point"]]["scores"][c] for c in row["scores"]}


def test_a_model_that_makes_each_modality_from_itself_alone_is_judged_by_that(place, dataset):
    search = start(place, dataset, "dense_ae", ["model.code=2,3"], LEARNT, n_folds=2)
    scores = search.run()["points"][0]["scores"]
    run = next(run for run in runs_of(search.job) if next(iter(scores)) in run.config.hold_out.judged)
    assert len(scores) == 10 and load_run(place, run).model.supports(("T1",), "T1")


def test_a_target_and_another_metric_are_judged_alone(place, dataset):
    search = start(place, dataset, "pca", ["model.components=1,3"], n_folds=2, metric="psnr", judged="T2")
    table = search.run()
    assert table["better"] == "high" and all(row["mean"] > 0 for row in table["points"])
    without_t2 = [c for fold in table["folds"] for c in fold if "T2" not in dataset.record(c)["modalities"]]
    assert without_t2 and not set(without_t2) & set(table["points"][0]["scores"])
    json.dumps(table, allow_nan=False)


def test_optimisers_are_compared_at_a_rate_that_was_chosen(place, dataset):
    with pytest.raises(InvalidConfigError) as error:
        start(place, dataset, "ae", ["train.optimiser=adamw,muon"])
    assert error.value.code == "NO-RATE"
    start(place, dataset, "ae", ["train.optimiser=adamw,muon", "train.lr=0.002"])
