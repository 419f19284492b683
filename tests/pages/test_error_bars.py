"""Error bars on Evaluate and Compare: none yet, measured, refused for cases."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from core.evaluate import evaluate
from core.measured_doubt import read_doubt, write_doubt
from core.models import MODELS
from core.runs import Run
from core.uncertainty import measure
from core.workspace import Workspace
from tests.known_errors import FEW, PAIR, known_dataset, known_run
from tests.pages.driving import open_page, words
from tests.tiny_run import Blend
from ui.state import State

PAGES = Path(__file__).resolve().parents[2] / "pages"
on_evaluate = partial(open_page, str(PAGES / "evaluate.py"), pair="T1>T2", run_view="uncertainty")
on_compare = partial(open_page, str(PAGES / "compare.py"), given="T1", target="T2")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A judged run with error bars."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "blend", Blend)
        place = Workspace(tmp_path_factory.mktemp("bars"))
        loaded = known_run(place, known_dataset(place))
        loaded.run.write_result(evaluate(loaded, loaded.split.test[:1], with_baselines=False))
        loaded.run.update(state="finished")
        measure(loaded, FEW, [PAIR])
        yield place.root


@pytest.fixture
def run(measured: Path, workspace: Workspace) -> Run:
    """The same in a workspace that a test may change."""
    shutil.copytree(measured, workspace.root)
    return Run(next(workspace.runs.iterdir()))


def test_where_none_were_measured_their_start_is_offered(run):
    (run.folder / "uncertainty.json").unlink()
    for page, key in ((on_evaluate(), "evaluate-bars"), (on_compare(), "compare-bars")):
        assert not page.exception and not page.error
        assert page.button(key=key).label == "Calibrate error bars"


def test_evaluate_tells_both_promises_and_what_was_measured_of_each(run):
    found = read_doubt(run)["pairs"][0]
    page = on_evaluate()
    assert not page.exception and not page.error
    metrics = {metric.label: metric.value for metric in page.metric}
    assert metrics["Voxels inside"] == f"{100 * found['voxel']['mean']:.1f} %"
    assert metrics["Cases that hold"] == f"{found['case']['held']} of 3"
    table = next(frame.value for frame in page.dataframe if "inside" in frame.value)
    assert {"All voxels", "Grey matter", "White matter", "Lesions alone"} <= set(table["where"])
    assert "Calibrated on 9 held-out cases, tested on 3 others" in words(page)


def test_the_tab_opens_on_a_pair_that_has_error_bars(run):
    page = open_page(str(PAGES / "evaluate.py"), pair="T2>T1", run_view="uncertainty")
    assert not page.exception and not page.error
    choice = page.selectbox(key="bars-of-T2>T1")
    assert choice.options == ["T1 → T2", "T2 → T1 (no error bars yet)"] and choice.value == "T1>T2"
    assert "Voxels inside" in {metric.label for metric in page.metric}
    choice.set_value("T2>T1").run()
    assert "No error bars for T2 → T1 yet" in words(page)
    assert page.button(key="evaluate-bars")


def test_where_cases_are_too_few_for_the_case_rule_the_page_says_so(run):
    record = read_doubt(run)
    pair = record["pairs"][0] | {"case": None, "case_width": None, "case_refused": "FEW-CALIBRATION", "invented": None}
    pair["n_calibration"] = 5
    write_doubt(run, {**record, "pairs": [{**pair, "bounds": {**pair["bounds"], "case": None}}]})
    page = on_evaluate()
    assert not page.exception and not page.error
    assert "needs 9 calibration cases; there are 5" in words(page)
    assert list(on_compare().segmented_control(key=State.BARS).options) == ["Off", "Voxels"]


def test_compare_lays_the_bars_over_the_synthesis(run):
    page = on_compare()
    page.toggle(key=State.SIMPLE_VIEW).set_value(True).run()
    n_panes = len(page.get("image"))
    for rule in ("voxel", "case"):
        page.segmented_control(key=State.BARS).set_value(rule).run()
        assert not page.exception and not page.error
        assert len(page.get("image")) == n_panes + 1
        assert page.query_params[State.BARS] in (rule, [rule])


FOUND = {
    "flagger": {"names": ["expected error"], "mean": [0.0], "sd": [1.0], "weights": [1.0], "bias": 9.0},
    "codes": {"mean": [], "sd": []},
    "n_cases": 12,
    "structures": 40,
    "invented": 10,
    "auroc": {"value": 0.82, "low": 0.71, "high": 0.9},
    "auroc_alone": {"expected error": 0.82},
    "threshold": 0.5,
    "sensitivity": 0.8,
    "false_alarms": 1.5,
    "lesions": 7,
    "missed": 2,
}


def test_invented_structures_are_told_with_their_misses_and_drawn(run):
    record = read_doubt(run)
    write_doubt(run, {**record, "pairs": [record["pairs"][0] | {"invented": FOUND}]})
    said = words(on_evaluate())
    assert "**0.82**, 95 % interval 0.71 to 0.90" in said
    assert "Missed: 2 of 7 real lesions" in said
    page = on_compare(bars="flags")
    assert not page.exception and not page.error
    assert "caught 80 % of what was invented, with 1.5 false alarms a case" in words(page)


def test_on_a_case_that_the_model_knows_the_page_says_what_bars_are_worth(run, workspace):
    from core.dataset import Dataset

    known = Dataset.open(workspace, "known").split_of(run.config).train[0]
    assert "means little" in words(on_compare(case=known, bars="voxel"))
