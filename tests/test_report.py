"""A report of a run: every number of the results, nothing to fetch, nothing that could run."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from core.audit import audit
from core.errors import NotFoundError
from core.evaluate import evaluate
from core.previews import write_preview
from core.report import report_html
from core.report_figures import strip
from core.workspace import Workspace
from tests.tiny_run import load_tiny, tiny

__all__ = ["tiny"]


class Text(HTMLParser):
    """Text of a page, and whether its tags close."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "br", "img", "circle", "path"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("circle", "path"):
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.cells.append(data)


@pytest.fixture
def judged(tiny):
    tiny.run.write_result(evaluate(tiny))
    write_preview(tiny.run, tiny.dataset, tiny.model, tiny.split, 3)
    return tiny


def place_of(loaded) -> Workspace:
    return Workspace(loaded.run.folder.parent.parent)


def test_a_report_tells_the_numbers_the_conditions_and_what_it_is_of(judged):
    page = report_html(place_of(judged), judged.run)
    text = Text()
    text.feed(page)
    assert text.open == []
    result = judged.run.result
    own = [r["mae"] for r in result["rows"] if (r["model"], r["given"], r["target"]) == ("blend", ["T1"], "CT")]
    assert f"{np.mean(own):.1f} HU" in text.cells
    assert result["protocol"]["fingerprint"] in text.cells
    assert judged.dataset.fingerprint in text.cells
    for words in ("Dataset", "Model", "Conditions", "Versions and seeds", "torch", "CT, made", "CT, real", "Seed"):
        assert words in text.cells, words
    assert "No case is in two parts of the split." in text.cells
    assert "simulated" in page and "Not for clinical use" in page


def test_a_report_tells_the_further_checks_that_were_done(judged):
    assert "Further checks" not in report_html(place_of(judged), judged.run)
    found = audit(judged, ["misalignment"])["misalignment"]["result"]
    text = Text()
    text.feed(report_html(place_of(judged), judged.run))
    assert text.open == []
    assert {"Further checks", "Misalignment"} <= set(text.cells)
    assert f"{found['pairs'][0]['mae']:.4g}" in text.cells


def test_a_report_fetches_nothing_and_runs_nothing(judged):
    page = report_html(place_of(judged), judged.run)
    assert not re.search(r"<script|<link|<iframe|https?://|@import|url\(|\son\w+=", page)
    assert page.count("data:image/png;base64,") >= 3


def test_names_are_never_taken_for_markup(judged):
    result = judged.run.result
    result["protocol"]["mask"] = "<script>alert(1)</script>"
    judged.run.write_result(result)
    page = report_html(place_of(judged), judged.run)
    assert "<script" not in page and "&lt;script&gt;" in page


def test_a_report_outlives_its_dataset_and_results_of_earlier_versions(judged):
    result = judged.run.result
    rows = [{k: v for k, v in row.items() if "@" not in k and k != "ms_ssim"} for row in result["rows"]]
    judged.run.write_result({k: v for k, v in {**result, "rows": rows}.items() if k != "leaks"})
    judged.dataset.delete()
    page = report_html(place_of(judged), judged.run)
    assert "The dataset is gone" in page and "Not looked for." in page


def test_a_run_that_was_not_judged_has_no_report(tiny, workspace):
    with pytest.raises(NotFoundError, match="not been judged"):
        report_html(workspace, load_tiny(workspace, tiny.dataset).run)


def test_dots_of_a_figure_lie_where_their_values_are():
    figure = strip({"mvae": [1.0, 2.0, 4.0], "linear": [3.0]}, "MAE (HU)")
    x = [float(found) for found in re.findall(r'circle cx="([\d.]+)"', figure)]
    assert (x[2] - x[0]) / (x[1] - x[0]) == pytest.approx(3, rel=1e-2)
    assert (x[3] - x[0]) / (x[2] - x[0]) == pytest.approx(2 / 3, rel=1e-2)
    assert "mvae" in figure and "MAE (HU)" in figure
    assert "nan" not in strip({"one": [2.0]}, "PSNR")
