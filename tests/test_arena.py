"""The arena: same folds for all, every case judged once by who never saw it, claims that an own computation repeats."""

from __future__ import annotations

from xml.dom import minidom

import numpy as np
import pytest
import torch
from scipy.stats import wilcoxon

from benchmarks.results import SPACING_MM, Part, figure, headline, page
from core.arena.arena import Arena
from core.arena.settings import ALWAYS, ArenaOptions, make_arena_config
from core.arena.table import by_case, pairs_of, standings
from core.commands.arena import arena
from core.dataset import Dataset
from core.errors import InvalidConfigError
from core.models import MODELS
from core.progress import Interrupted
from core.recipes import make_recipe
from core.runs import Job, Run, list_runs, new_job
from core.statistics import holm
from core.workspace import Workspace
from tests.tiny_run import make_dataset

CPU = torch.device("cpu")
FITTED = ("linear", "mean_image")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make_dataset(Workspace(tmp_path_factory.mktemp("arena")), n_cases=9)


def start(dataset: Dataset, **options: object) -> Arena:
    config = make_arena_config(dataset, ArenaOptions(**{"models": ("constant",), "n_folds": 3, **options}))
    place = Workspace(dataset.folder.parent.parent)
    job = new_job(place, "arena", {"config": config.model_dump(mode="json"), "device": "cpu"})
    return Arena(job, config, dataset, CPU)


@pytest.fixture(scope="module")
def fitted(dataset: Dataset) -> Arena:
    """An arena of what is fitted in an instant; the two networks are left out."""
    found = start(dataset)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("core.arena.settings.ALWAYS", FITTED)
        found.run()
    return found


def test_the_usual_rivals_always_compete():
    assert {"unet", "pix2pix", "linear", "mean_image"} == set(ALWAYS) <= set(MODELS)


def test_every_case_is_judged_once_and_by_nobody_who_saw_it(fitted, dataset):
    found = fitted.job.result
    cases = [case for fold in found["folds"] for case in fold]
    assert sorted(cases) == sorted(dataset.case_ids)
    for model in ("constant", *FITTED):
        own = by_case(found["rows"], (("CT",), "T1"), "mae")[model]
        assert sorted(own) == sorted(dataset.case_ids)
    runs = [Run(path.parent) for path in fitted.job.folder.glob("runs/*/config.json")]
    assert len(runs) == 9
    judged = {run.config.model: [] for run in runs}
    for run in runs:
        split = dataset.split_of(run.config)
        assert not set(split.test) & {*split.train, *split.val}
        judged[run.config.model] += split.test
    assert all(sorted(found) == sorted(dataset.case_ids) for found in judged.values())


def test_its_trainings_do_not_stand_among_the_runs(fitted, dataset):
    assert list_runs(Workspace(dataset.folder.parent.parent)) == []


def test_numbers_are_those_of_an_evaluation(fitted, dataset):
    from core.evaluate import judge_case, tasks_of
    from core.synthesis import load_run

    run = next(
        Run(path.parent) for path in fitted.job.folder.glob("runs/*/config.json") if "linear" in path.read_text()
    )
    loaded = load_run(Workspace(dataset.folder.parent.parent), run)
    case = loaded.split.test[0]
    expected = {(tuple(r["given"]), r["target"]): r["mae"] for r in judge_case(loaded, case, tasks_of(loaded, case))}
    own = [row for row in fitted.job.result["rows"] if (row["model"], row["case"]) == ("linear", case)]
    assert own
    for row in own:
        assert row["mae"] == pytest.approx(expected[tuple(row["given"]), row["target"]], rel=1e-5)


def test_what_is_done_is_not_done_again(fitted, dataset, monkeypatch):
    monkeypatch.setattr("core.arena.settings.ALWAYS", FITTED)
    monkeypatch.setattr("core.arena.arena.train_run", lambda *_: pytest.fail("trained twice"))
    before = fitted.job.result
    again = Arena(Job(fitted.job.folder), fitted.config, dataset, CPU).run()
    assert again["rows"] == before["rows"]


def test_a_stop_keeps_what_is_done(dataset, monkeypatch):
    monkeypatch.setattr("core.arena.settings.ALWAYS", FITTED)
    found = start(dataset)

    def stop(done: float, total: float, message: str = "") -> None:
        if done >= 4:
            raise Interrupted

    found.progress = stop
    with pytest.raises(Interrupted):
        found.run()
    assert len(found.job.result["rows"]) > 0
    assert [one["folds"] for one in found.job.result["entrants"]] == [2, 1, 1]


def test_claims_are_paired_case_by_case_and_corrected(fitted):
    rows = fitted.job.result["rows"]
    lines = {line["model"]: line for line in standings(rows, (("T1",), "T2"), "mae", reference="mean_image")}
    values = by_case(rows, (("T1",), "T2"), "mae")
    assert lines["linear"]["difference"]["mean"] < 0  # T2 is half of T1
    cases = sorted(values["linear"])
    apart = {m: np.array([values[m][c] - values["mean_image"][c] for c in cases]) for m in ("constant", "linear")}
    assert lines["linear"]["difference"]["mean"] == pytest.approx(apart["linear"].mean())
    assert "difference" not in lines["mean_image"]
    assert len(cases) == 7  # of nine cases two have no T2: too few for a test
    assert lines["linear"]["p_holm"] is None
    ct = {line["model"]: line for line in standings(rows, (("T1",), "CT"), "mae", reference="mean_image")}
    values = by_case(rows, (("T1",), "CT"), "mae")
    raw = [wilcoxon([values[m][c] - values["mean_image"][c] for c in values[m]]).pvalue for m in ("constant", "linear")]
    assert [ct[m]["p_holm"] for m in ("constant", "linear")] == pytest.approx(holm(raw))
    assert ct["linear"]["claim"] == "better"


def test_the_best_stands_first_and_no_modality_is_made_from_itself(fitted):
    rows = fitted.job.result["rows"]
    assert all(target not in given for given, target in pairs_of(rows))
    for metric, sign in (("mae", 1), ("psnr", -1)):
        means = [sign * line["mean"] for line in standings(rows, (("T1",), "T2"), metric)]
        assert means == sorted(means)


@pytest.mark.slow
def test_a_model_that_fails_is_told_and_the_others_go_on(dataset, monkeypatch):
    failing = start(dataset, models=("constant", "linear"), n_folds=2)
    monkeypatch.setattr("core.arena.settings.ALWAYS", FITTED)
    real = Arena._score

    def fail(self: Arena, run: Run, split: object) -> object:
        if run.config.model == "constant":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return real(self, run, split)

    monkeypatch.setattr(Arena, "_score", fail)
    found = failing.run()
    failed = next(one for one in found["entrants"] if one["model"] == "constant")
    assert "too little memory" in failed["error"] and failed["folds"] == 0
    assert {row["model"] for row in found["rows"]} == set(FITTED)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"models": ("contrastive",)}, "NO-IMAGES"),
        ({"models": ("nobody",)}, "NO-MODEL"),
        ({"n_folds": 20}, None),
        ({"modalities": ("CT",)}, "FEW-MODALITIES"),
        ({"modalities": ("CT", "XX")}, "NO-MODALITY"),
    ],
)
def test_what_cannot_compete_is_refused_before_anything_is_trained(dataset, options, code):
    with pytest.raises(InvalidConfigError) as error:
        start(dataset, **options)
    assert code is None or error.value.code == code


def test_another_dataset_is_refused(fitted, dataset):
    config = fitted.config.model_copy(update={"dataset_fingerprint": "another"})
    with pytest.raises(InvalidConfigError, match="changed"):
        Arena(fitted.job, config, dataset, CPU)


@pytest.mark.slow
def test_the_command_line_tells_one_table(dataset, monkeypatch):
    monkeypatch.setattr("core.arena.settings.ALWAYS", FITTED)
    monkeypatch.setattr("core.jobs.worker.heed_signals", lambda job: None)
    place = dataset.folder.parent.parent
    answer = arena("tiny", "constant", 2, 1.0, "CT,T1", "small", 0, "cpu", False, place, True)
    assert {line["model"] for line in answer["table"][0]["mae"]} <= {"constant", *FITTED}
    assert answer["protocol"]["held_out"] is True
    assert [len(fold) for fold in answer["folds"]] == [5, 4]


def test_the_page_of_results_repeats_the_numbers(fitted):
    found = fitted.job.result
    text = page([Part("demo", "nine heads", found)])
    for pair in headline(found):
        for line in standings(found["rows"], pair, "mae"):
            said = f"{line['mean']:.1f}" if pair[1] == "CT" else f"{line['mean']:.4f}"
            assert f"| {line['model']} | {said} |" in text
    assert "CT (HU)" in text and found["protocol"]["fingerprint"] in text
    drawn = minidom.parseString(figure(found))
    n_cases = sum(len(by_case(found["rows"], pair, "mae")["linear"]) for pair in headline(found))
    assert len(drawn.getElementsByTagName("circle")) == 3 * n_cases


def test_the_measured_cohorts_are_asked_for_as_recipes_allow():
    for name in ("brain-mr-ct", "brain-mr"):
        assert make_recipe(name, {"spacing_mm": SPACING_MM}).resample.spacing_mm == (3.0,)
