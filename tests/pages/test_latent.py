"""Latent in its states: nothing trained, nothing computed, a map, a selection, neighbours, torn pairs, 3-D."""

from __future__ import annotations

import csv
import io
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

from core.dataset import Dataset
from core.embed import embed
from core.jobs import BACKENDS
from core.latent import cached_projection, load_embedding, save_embedding
from core.prepare import prepare
from core.recipes import make_recipe
from core.runs import Run, list_jobs
from core.synthesis import load_run
from core.train import make_config, train
from core.workspace import Workspace
from tests.conftest import make_cohort
from ui.latent_beside import selection_csv, spread
from ui.latent_map import MapLook, map_figure
from ui.latent_points import DRAWN, drawn_rows, keys_of_event, lines_to_draw, pairs_of_points, read_codes, read_points
from ui.state import State
from ui.style import modality_colour

PAGE = str(Path(__file__).resolve().parents[2] / "pages" / "latent.py")


def add_run(place: Workspace, dataset: Dataset, model: str) -> Run:
    run = Run.new(place, make_config(dataset, model, {}, {"epochs": 1, "max_minutes": 0.1}, seed=1))
    train(run, dataset, torch.device("cpu"))
    run.update(state="finished")
    return run


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four cases and a run with codes and PCA maps."""
    place = Workspace(tmp_path_factory.mktemp("latent"))
    dataset = prepare(place, make_cohort(place), "phantoms", make_recipe("generic"))
    run = add_run(place, dataset, "ae")
    codes = embed(load_run(place, run))
    save_embedding(codes, run.embedding_path)
    for n_axes, level in ((2, "slice"), (2, "case"), (3, "slice")):
        cached_projection(run.folder, codes, "pca", n_components=n_axes, level=level)
    return place.root


@pytest.fixture
def place(prepared: Path, workspace: Workspace) -> Workspace:
    """A copy that a test may change."""
    shutil.copytree(prepared, workspace.root)
    return workspace


@pytest.fixture
def run(place: Workspace) -> Run:
    return Run(next(path.parent for path in place.runs.glob("*/config.json")))


def opened(selection: list[tuple[str, str, int]] | None = None, **link: str) -> AppTest:
    page = AppTest.from_file(PAGE, default_timeout=30)
    for name, value in {"map": "pca", **link}.items():
        page.query_params[name] = value
    if selection is not None:
        page.session_state[State.SELECTION] = selection
    return page.run()


def words(page: AppTest) -> str:
    return " ".join(str(element.value) for element in [*page.markdown, *page.caption, *page.info, *page.error])


def points_of(place: Workspace, run: Run, level: str = "slice"):
    return read_points(place, run, read_codes(run), level)


def test_an_empty_workspace_says_what_to_do(workspace):
    page = opened()
    assert not page.exception
    assert "No trained run yet" in words(page)


def test_baselines_have_no_representation_and_are_not_offered(workspace, dataset):
    add_run(workspace, dataset, "mean_image")
    page = opened()
    assert not page.exception
    assert "no representation" in words(page)


def test_nothing_is_computed_before_it_is_asked_for(place, run):
    shutil.rmtree(run.folder / "projections")
    run.embedding_path.unlink()
    page = opened()
    assert not page.exception
    assert "not computed yet" in words(page)
    assert not run.embedding_path.exists()
    assert not list_jobs(place)
    page.button(key="compute-map").click().run()
    assert "being computed" in words(page)
    (job,) = list_jobs(place)
    BACKENDS["local"].wait(job, 120)
    assert job.state == "finished", job.log_tail()
    assert not page.run().exception
    assert len(page.get("plotly_chart")) == 1


def test_a_map_that_is_missing_is_offered_although_codes_are_there(run):
    was_there = "umap" in sys.modules
    page = opened(map="umap")
    assert not page.exception
    assert "This map is not computed yet" in words(page)
    assert ("umap" in sys.modules) == was_there


def test_a_map_opens_in_every_colour(place, run):
    page = opened()
    assert not page.exception and not page.error
    colours = page.selectbox(key=State.COLOUR).options
    assert {"Modality", "Case", "Split", "Slice position", "Group", "Core x"} <= set(colours)
    for colour in ("Case", "Split", "Slice position", "Group", "Core x", colours[-1]):
        page.selectbox(key=State.COLOUR).set_value(colour).run()
        assert not page.exception and not page.error, colour


@pytest.mark.parametrize("link", [{"level": "case"}, {"axes": "3"}, {"lines": "all"}, {"lines": "torn"}])
def test_every_form_of_the_map_opens(run, link):
    page = opened(**link)
    assert not page.exception and not page.error
    assert len(page.get("plotly_chart")) == 1


def test_a_lasso_shows_pictures_a_table_and_a_csv(place, run):
    keys = points_of(place, run).keys[:5]
    page = opened(selection=keys)
    assert not page.exception and not page.error
    assert "**5 points**" in words(page)
    assert len(page.get("image")) == 5
    assert len(page.dataframe[0].value) == 5
    page.button(key="clear").click().run()
    assert "Draw around points" in words(page)


def test_a_selection_outlives_another_colour_and_level(place, run):
    keys = points_of(place, run).keys[:3]
    page = opened(selection=keys)
    page.selectbox(key=State.COLOUR).set_value("Case").run()
    page.segmented_control(key=State.LEVEL).set_value("case").run()
    page.segmented_control(key=State.LEVEL).set_value("slice").run()
    assert "**3 points**" in words(page)


def test_an_event_is_read_by_custom_data_and_never_by_index():
    points = [
        {"customdata": ["case-1", "T1", 4], "point_index": 0},
        {"customdata": ["case-1", "T1", 4], "point_index": 9},
        {"x": 1.0},
        {"customdata": ["case-2", "CT", -1]},
    ]
    assert keys_of_event({"selection": {"points": points}}) == [("case-1", "T1", 4), ("case-2", "CT", -1)]
    assert keys_of_event({}) == []


def test_neighbours_are_nearest_in_the_latent_space_not_on_the_map(place, run):
    points = points_of(place, run)
    key = points.keys[7]
    page = opened(selection=[key], beside="near")
    assert not page.exception and not page.error
    distance = np.linalg.norm(points.codes.z - points.codes.z[7], axis=1)
    distance[7] = np.inf
    nearest = points.keys[int(distance.argmin())]
    captions = [element.proto.imgs[0].caption for element in page.get("image")]
    assert captions[0] == "chosen"
    assert captions[1].startswith(f"{nearest[0]} {nearest[1]}, {nearest[2]}: {distance.min():.3g}")


def test_torn_pairs_are_listed_worst_first(place, run):
    page = opened(beside="torn")
    assert not page.exception and not page.error
    times = page.dataframe[0].value["times"].to_numpy()
    assert (np.diff(times) <= 0).all()
    pairs = pairs_of_points(points_of(place, run))
    assert times[0] == pytest.approx(pairs.relative.max())


def test_a_pair_is_two_modalities_of_one_case_and_slice(place, run):
    points = points_of(place, run)
    pairs = pairs_of_points(points)
    for first, second in zip(pairs.first[:40], pairs.second[:40], strict=True):
        a, b = points.keys[first], points.keys[second]
        assert (a[0], a[2]) == (b[0], b[2])
        assert a[1] != b[1]
        distance = np.linalg.norm(points.codes.z[first] - points.codes.z[second])
        assert distance == pytest.approx(pairs.distance[(pairs.first == first) & (pairs.second == second)][0], rel=1e-4)


def test_lines_are_those_of_the_cases_in_focus(place, run):
    points = points_of(place, run)
    pairs = pairs_of_points(points)
    focus = [row for row, key in enumerate(points.keys) if key[0] == "case-01"]
    lines = lines_to_draw(points, pairs, "all", focus)
    assert lines
    assert {points.keys[pairs.first[n]][0] for n in lines} == {"case-01"}
    assert len(lines_to_draw(points, pairs, "torn", [])) == pairs.n_torn


def test_the_quality_of_the_map_is_said_with_its_caveat(run):
    page = opened(beside="quality")
    assert [metric.label for metric in page.metric] == ["Trustworthiness", "Continuity"]
    assert all(0 <= float(metric.value) <= 1 for metric in page.metric)
    assert all(metric.help for metric in page.metric)
    assert "Distances on a map mislead" in words(page)


def test_what_the_code_shares_is_measured_on_held_out_slices(place, run):
    page = opened(beside="space")
    assert not page.exception and not page.error
    frame = page.dataframe[0].value
    split = points_of(place, run).split
    codes = read_codes(run)
    slices = {(c, k) for c, k in zip(codes.case.tolist(), codes.slice.tolist(), strict=True) if c in split.test}
    assert 0 < frame["n"].max() <= len(slices)
    assert set(frame.columns) >= {"pair", "r1", "rank", "cka", "gap", "alignment", "uniformity"}
    assert "held-out slices" in words(page) or "Chance among" in words(page)
    assert "Choose Slices" in words(opened(beside="space", level="case"))


def test_found_cases_stay_bright_and_the_others_fade(place, run):
    page = opened(cases="case-01,case-77")
    assert page.multiselect(key=State.FOUND_CASES).value == ["case-01"]
    points = points_of(place, run)
    focus = [row for row, key in enumerate(points.keys) if key[0] == "case-01"]
    figure = map_figure(points, np.zeros((points.n, 2), np.float32), MapLook("Modality", focus=focus))
    for trace in figure.data:
        bright = [data[0] == "case-01" for data in trace.customdata]
        np.testing.assert_array_equal(np.array(trace.marker.opacity) == 1.0, bright)


def test_modalities_keep_their_colour_and_every_point_its_key(place, run):
    points = points_of(place, run)
    xy = np.arange(2 * points.n, dtype=np.float32).reshape(-1, 2)
    figure = map_figure(points, xy, MapLook("Modality"))
    seen = {}
    for trace in figure.data:
        assert trace.type == "scattergl"
        assert trace.marker.color == modality_colour(trace.name)
        seen |= {tuple(data): (x, y) for data, x, y in zip(trace.customdata, trace.x, trace.y, strict=True)}
    assert {tuple(key): tuple(map(float, xy[row])) for row, key in enumerate(points.keys)} == {
        (str(c), str(m), int(k)): tuple(map(float, place)) for (c, m, k), place in seen.items()
    }


def test_many_points_are_thinned_and_few_are_not():
    assert len(drawn_rows(DRAWN)) == DRAWN
    rows = drawn_rows(DRAWN + 5_000)
    assert len(set(rows.tolist())) == DRAWN
    assert rows.max() > DRAWN


def test_the_csv_of_a_selection_holds_the_codes(place, run):
    points = points_of(place, run)
    keys = [points.keys[3], points.keys[-1]]
    lines = list(csv.DictReader(io.StringIO(selection_csv(points, keys).decode())))
    assert [(line["case"], line["modality"], int(line["slice"])) for line in lines] == keys
    codes = load_embedding(run.embedding_path)
    assert float(lines[0]["z1"]) == pytest.approx(float(codes.z[3, 0]), rel=1e-6)
    assert lines[0]["split"] in ("training", "held out")


def test_pictures_are_spread_over_the_selection():
    keys = [(f"case-{n:02d}", "T1", 3) for n in range(30)]
    chosen = spread(keys, 8)
    assert len(set(chosen)) == 8
    assert chosen[0] == keys[0] and chosen[-1] == keys[-1]
    assert spread(keys[:2], 8) == keys[:2]


def test_a_dataset_that_is_gone_leaves_the_map(place, run):
    keys = points_of(place, run).keys[:2]
    Dataset.open(place, "phantoms").delete()
    page = opened(selection=keys)
    assert not page.exception and not page.error
    assert "no pictures" in words(page)
    assert "Split" not in page.selectbox(key=State.COLOUR).options


def test_damaged_codes_are_a_sentence(run):
    run.embedding_path.write_bytes(b"not an archive")
    page = opened()
    assert not page.exception
    assert "CODES" in page.error[0].value
