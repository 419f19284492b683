"""Evaluate in its states: nothing trained, nothing judged, results, several protocols, folds, the button."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from streamlit.runtime.media_file_manager import MediaFileManager
from streamlit.testing.v1 import AppTest

from core.dataset import Dataset
from core.evaluate import evaluate
from core.guests import guest, new_token
from core.jobs import BACKENDS
from core.prepare import prepare
from core.recipes import make_recipe
from core.runs import Run, list_jobs
from core.synthesis import load_run
from core.train import make_config, train
from core.workspace import Workspace, read_json, write_json
from tests.conftest import make_cohort
from tests.pages.driving import open_page, words
from ui.csv_table import csv_bytes, safe_cell
from ui.heatmap import SubsetLook, clicked_pair, subset_chart
from ui.results import best_baseline, differences, entries_of, pair_id, pairs_of, pooled_entries, read_judged, studies
from ui.score_charts import Scale, gain
from ui.state import State

PAGE = str(Path(__file__).resolve().parents[2] / "pages" / "evaluate.py")
opened = partial(open_page, PAGE)
APP = str(Path(__file__).resolve().parents[2] / "app.py")
PAIR = (("T1",), "CT")


def add_run(workspace: Workspace, dataset: Dataset, model: str = "linear", fold: int | None = None) -> Run:
    config = make_config(dataset, model, {}, {}, seed=1, fold=fold, n_folds=None if fold is None else 2)
    run = Run.new(workspace, config)
    train(run, dataset, torch.device("cpu"))
    run.update(state="finished")
    return run


def judge(workspace: Workspace, run: Run) -> Run:
    run.write_result(evaluate(load_run(workspace, run)))
    return run


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six cases; a judged run of each of two folds, one judged on the usual split, one that waits."""
    place = Workspace(tmp_path_factory.mktemp("evaluate"))
    dataset = prepare(place, make_cohort(place, n_cases=6), "phantoms", make_recipe("generic"))
    for fold in (0, 1, None):
        judge(place, add_run(place, dataset, fold=fold))
    judge(place, add_run(place, dataset, "mean_image", fold=0))
    add_run(place, dataset, "constant")
    return place.root


@pytest.fixture
def judged_place(prepared: Path, workspace: Workspace) -> Workspace:
    """A copy that a test may change."""
    shutil.copytree(prepared, workspace.root)
    return workspace


def runs_of(place: Workspace) -> list[Run]:
    return [Run(path.parent) for path in sorted(place.runs.glob("*/config.json"))]


def test_an_empty_workspace_says_what_to_do(workspace):
    page = opened()
    assert not page.exception
    assert "Nothing to evaluate yet" in words(page)


def test_a_run_without_results_offers_their_start(workspace, dataset):
    run = add_run(workspace, dataset)
    page = opened()
    assert "no results yet" in words(page)
    page.button(key="evaluate-one").click().run()
    assert not page.exception
    job = next(job for job in list_jobs(workspace) if job.kind == "evaluate")
    BACKENDS["local"].wait(job, 120)
    assert job.state == "finished", job.log_tail()
    assert Run(run.folder).result["rows"]
    assert not page.run().exception
    assert "worst case first" in words(page)


def test_the_table_holds_runs_and_baselines_of_one_protocol(judged_place):
    page = opened()
    assert not page.exception and not page.error, words(page)
    frame = page.dataframe[0].value
    group = {"linear", "mean image (baseline)", "mean_image", "constant (baseline)"} & set(frame["name"])
    assert {"linear", "constant (baseline)"} <= group
    assert "not in this table" in words(page) or "folds together" in str(page.selectbox(key=State.JUDGED_ON).options)


def test_numbers_on_the_page_are_those_of_the_results(judged_place):
    run = next(run for run in runs_of(judged_place) if run.config.fold is None and run.result)
    fingerprint = run.result["protocol"]["fingerprint"]
    page = opened(judged_on=fingerprint, pair="T1>CT", metric="mae")
    frame = page.dataframe[0].value.set_index("name")
    own = [
        row["mae"]
        for row in run.result["rows"]
        if row["model"] == "linear" and row["given"] == ["T1"] and row["target"] == "CT"
    ]
    assert frame.loc["linear", "mae"] == pytest.approx(sum(own) / len(own))
    assert frame.loc["linear", "n"] == len(own)
    assert "single cases shown, no interval" in words(page)
    assert "interval" not in frame


def test_a_run_that_learnt_without_pairs_is_labelled(judged_place):
    for run in runs_of(judged_place):
        if run.result and run.config.model == "linear":
            run.write_result({**run.result, "paired": False})
    page = opened()
    assert not page.exception
    names = set(page.dataframe[0].value["name"])
    assert "linear (without pairs)" in names
    assert "constant (baseline)" in names


def test_folds_are_taken_together_case_by_case(judged_place):
    judged = read_judged(runs_of(judged_place))
    (study,) = studies(judged).values()
    entries, lacking = pooled_entries(study)
    linear = next(entry for entry in entries if entry.model == "linear")
    cases = [row["case"] for row in linear.rows[PAIR]]
    assert sorted(cases) == sorted(set(cases))
    assert linear.stat(PAIR, "mae").n == 6
    assert linear.stat(PAIR, "mae").low is not None
    assert lacking == ["mean_image"]
    for case, run_id in linear.run_of.items():
        assert case in Run(judged_place.runs / run_id).result["protocol"]["cases"]


def test_folds_whose_numbers_are_standardised_each_by_its_own_cases_stay_together(judged_place):
    for run in runs_of(judged_place):
        config = read_json(run.folder / "config.json")
        task = {"name": "score", "kind": "number", "mean": float(config["fold"] or 0), "sd": 2.0}
        write_json(run.folder / "config.json", {**config, "tasks": [task]})
    (study,) = studies(read_judged(runs_of(judged_place))).values()
    entries, lacking = pooled_entries(study)
    assert "linear" in {entry.model for entry in entries if not entry.is_baseline}
    assert lacking == ["mean_image"]


def test_runs_of_two_protocols_never_share_a_table(judged_place):
    judged = read_judged(runs_of(judged_place))
    by_fold = {item.run.config.fold: item for item in judged if item.run.config.model == "linear"}
    reasons = differences(by_fold[0].protocol, by_fold[1].protocol)
    assert "other held-out cases" in reasons
    assert "another dataset" not in reasons
    page = opened(judged_on=by_fold[1].fingerprint)
    assert "not in this table" in words(page)
    assert list(page.dataframe[0].value["name"]).count("linear") == 1


def test_a_baseline_that_is_a_run_stands_there_once(judged_place):
    group = [item for item in read_judged(runs_of(judged_place)) if item.run.config.fold == 0]
    names = [entry.model for entry in entries_of(group)]
    assert sorted(names) == ["constant", "linear", "mean_image"]


def test_reconstruction_is_judged_apart(judged_place):
    entries = entries_of(read_judged(runs_of(judged_place))[:1])
    assert all(pair[0] != (pair[1],) for pair in pairs_of(entries))
    assert all(pair[0] == (pair[1],) for pair in pairs_of(entries, reconstruction=True))


def test_the_view_and_the_metric_can_be_changed(judged_place):
    page = opened()
    for metric in ("psnr", "ssim"):
        page.selectbox(key=State.METRIC).set_value(metric).run()
        assert not page.exception and not page.error
        assert "Right is better" in words(page)
    for view in ("rivals", "source", "protocol"):
        page.segmented_control(key=State.RUN_VIEW).set_value(view).run()
        assert not page.exception and not page.error


def test_the_button_leads_to_the_worst_case_on_compare(judged_place):
    app = AppTest.from_file(APP, default_timeout=30).run()
    app.switch_page("pages/evaluate.py").run()
    assert not app.exception, app.exception
    label = app.button(key="open-compare").label
    app.button(key="open-compare").click().run()
    assert not app.exception
    assert app.selectbox(key=State.CASE).value == label.split()[1]
    assert app.selectbox(key=State.TARGET).value in ("CT", "T1", "T2")


def test_a_click_on_a_cell_names_its_pair(judged_place):
    entries = entries_of(read_judged(runs_of(judged_place))[:1])
    run = next(entry for entry in entries if not entry.is_baseline)
    figure = subset_chart(run, entries, pairs_of(entries), SubsetLook("mae", {"CT": "HU"}, PAIR))
    cells = [trace for trace in figure.data if trace.type == "scatter" and trace.customdata is not None]
    point = {"customdata": cells[0].customdata[0], "point_index": 17}
    assert clicked_pair({"selection": {"points": [{"x": 1}, point]}}) in {pair_id(pair) for pair in run.rows}
    assert clicked_pair({"selection": {"points": []}}) is None
    assert clicked_pair({}) is None


def test_better_has_one_colour_for_every_metric(judged_place):
    assert gain(0.1, 0.2, "mae") > 0 > gain(0.3, 0.2, "mae")
    assert gain(30, 20, "psnr") > 0 > gain(10, 20, "psnr")
    entries = entries_of(read_judged(runs_of(judged_place))[:1])
    for metric, best in (("mae", "low"), ("psnr", "high")):
        rival = best_baseline(entries, PAIR, metric, best)
        others = [entry.stat(PAIR, metric).mean for entry in entries if entry.is_baseline]
        assert rival.mean == (min if best == "low" else max)(others)


def test_units_stand_beside_errors_only():
    units = {"CT": "HU", "T1": "0-1 scale"}
    assert Scale.of("mae", "CT", units).label == "MAE (HU)"
    assert Scale.of("mae", "T1", units).label == "MAE (0-1 scale)"
    assert Scale.of("psnr", "CT", units).label == "PSNR (dB)"
    assert Scale.of("ssim", "CT", units).label == "SSIM"
    assert Scale.of("psnr", "CT", units).words(23.456) == "23.5"


def test_the_csv_has_every_row_and_no_formula(judged_place):
    assert safe_cell("=1+1") == "'=1+1"
    assert safe_cell("-x") == "'-x"
    assert safe_cell(-1.5) == -1.5
    content = csv_bytes(("name", "given", "value"), [{"name": "@cmd", "given": ["T1", "T2"], "value": None}])
    assert list(csv.reader(io.StringIO(content.decode()))) == [["name", "given", "value"], ["'@cmd", "T1 + T2", ""]]


def test_fifty_runs_stand_in_one_table(judged_place):
    source = next(run for run in runs_of(judged_place) if run.config.fold is None and run.result)
    result = source.result
    result["rows"] = [{**row, "case": f"{row['case']}-{n}"} for n in range(20) for row in result["rows"]]
    for n in range(50):
        folder = judged_place.runs / f"run-{n:016x}"
        shutil.copytree(source.folder, folder)
        (folder / "results.json").write_text(json.dumps({**result, "run": folder.name}))
    page = opened(pair=pair_id(PAIR), judged_on=result["protocol"]["fingerprint"])
    assert not page.exception
    assert len(page.dataframe[0].value) >= 50


def test_a_run_stands_against_every_other_with_a_claim_that_its_cases_allow(judged_place):
    run = next(run for run in runs_of(judged_place) if run.result and run.config.fold is None)
    result = run.result
    few = {row["case"] for row in result["rows"]}
    page = opened(judged_on=result["protocol"]["fingerprint"], pair="T1>CT", run_view="rivals")
    assert not page.exception
    assert f"n is too small for this claim: {len(few)} of 9 cases" in page.dataframe[-1].value["claim"].tolist()
    rows = [
        {**row, "case": f"c{n}", "mae": row["mae"] * (1 if row["model"] == "linear" else 3 + n / 50)}
        for n in range(10)
        for row in result["rows"]
        if row["case"] == min(few)
    ]
    run.write_result({**result, "rows": rows, "summary": []})
    fingerprint = result["protocol"]["fingerprint"]
    frame = opened(judged_on=fingerprint, pair="T1>CT", run_view="rivals").dataframe[-1].value.set_index("rival")
    assert frame.loc["mean image (baseline)", "claim"] == "better"
    assert frame.loc["mean image (baseline)", "effect"] == -1


def test_a_region_or_protocol_is_chosen_beside_the_metric(judged_place):
    run = next(run for run in runs_of(judged_place) if run.result and run.config.fold is None)
    result = run.result
    rows = [{**row, "mae@lesion": 0.5, "ssim@lesion": 0.25, "psnr@lesion": 3.0} for row in result["rows"]]
    run.write_result({**result, "rows": rows})
    link = {"judged_on": result["protocol"]["fingerprint"], "pair": "T1>CT"}
    assert opened(**link).selectbox(key=State.PLACE).options == ["Whole mask", "SynthRAD2025", "Lesion + 5 mm"]
    page = opened(**link, place="lesion", metric="ssim")
    assert not page.exception
    assert page.dataframe[0].value["ssim@lesion"].tolist()[0] == 0.25
    page = opened(**link, place="SynthRAD2025", metric="ms_ssim")
    assert not page.exception
    frame = page.dataframe[0].value.set_index("name")
    own = [r["ms_ssim@SynthRAD2025"] for r in rows if (r["model"], r["given"], r["target"]) == ("linear", ["T1"], "CT")]
    assert frame.loc["linear", "ms_ssim@SynthRAD2025"] == pytest.approx(np.mean(own))
    quarters = " / ".join(f"{q:.3f}" for q in np.percentile(own, [25, 50, 75]))
    assert frame.loc["linear", "quarters"] == quarters


def test_what_heads_answer_stands_in_a_table_of_its_own(judged_place):
    run = next(run for run in runs_of(judged_place) if run.has_weights and run.config.fold is None and run.result)
    given = ((["T1"], 0.4), (["T1", "CT"], 0.9))
    rows = [
        {"case": f"c{n}", "given": m, "task": "lesion", "class": "lesion", "metric": "Dice", "value": value + n / 100}
        for m, value in given
        for n in range(6)
    ]
    run.write_result({**run.result, "tasks": rows})
    fingerprint = run.result["protocol"]["fingerprint"]
    page = opened(judged_on=fingerprint, run_view="tasks")
    assert not page.exception
    frame = next(table.value for table in page.dataframe if "given" in table.value)
    assert frame["given"].tolist() == ["T1 + CT", "T1"]
    assert frame["lesion"].tolist() == pytest.approx([0.925, 0.425])
    assert frame["interval"].str.contains(" to ").all()
    plain = opened(judged_on=fingerprint, run_view="source")
    assert "Tasks" in str(plain.get("button_group"))


def test_a_visitor_s_report_is_made_of_their_own_run(prepared, workspace, monkeypatch):
    """Streamlit makes such a file outside of the session, where nothing says whose workspace it is."""
    made: list[Callable[[], bytes]] = []
    monkeypatch.setattr(MediaFileManager, "add_deferred", lambda self, make, *_, **__: made.append(make) or "file")
    monkeypatch.setenv("CROSSMODAL_VISITORS", "apart")
    place = guest(new_token())
    shutil.copytree(prepared, place.root)
    judged = next(item for item in read_judged(runs_of(place)) if item.run.config.model == "mean_image")
    page = AppTest.from_file(PAGE, default_timeout=30)
    page.session_state["ws"], page.query_params["judged_on"] = place.owner, judged.fingerprint
    page.run()
    made.clear()
    page.selectbox(key="entry").set_value("mean_image").run()
    assert not page.exception
    with ThreadPoolExecutor() as threads:
        files = [bytes(threads.submit(make).result()) for make in made]
    assert [b"<title>mean_image on phantoms</title>" in file for file in files].count(True) == 1
