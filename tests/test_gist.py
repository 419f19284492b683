"""The gist of results says what they say, and never what earlier ones said."""

from __future__ import annotations

import os

import pytest

from core import gist as module
from core.gist import FILES, Gist, Rows, Stat, read_gist
from core.result_files import RESULTS, read_results, write_results

GIVEN = (["T1"], ["T1", "CT"])


def results(extra: float = 0.0) -> dict:
    """Two models; "mvae" makes T2 of two subsets for three cases, "constant" of one for two; one number is missing."""
    rows = [
        {"model": "mvae", "case": f"c{n}", "given": given, "target": "T2", "mae": n + extra, "psnr": 20.0 + size,
         "mae@lesion": 7.0 + n}
        for size, given in enumerate(GIVEN)
        for n in (2, 0, 1)
    ]  # fmt: skip
    rows += [
        {"model": "constant", "case": f"c{n}", "given": ["T1"], "target": "T2", "mae": 9.0, "psnr": None}
        for n in (0, 1)
    ]
    about = {"given": ["T1"], "target": "T2", "metric": "mae"}
    summary = [
        {"model": "mvae", **about, "mean": 1.5, "low": 1.0, "high": 2.5, "n": 6},
        {"model": "constant", **about, "mean": 9.0, "low": None, "high": None, "n": 2},
    ]
    tasks = [{"case": "c0", "task": "lesion", "value": 0.5}]
    return {"protocol": {"dataset": "d"}, "fold": 1, "rows": rows, "summary": summary, "checks": [], "tasks": tasks}


@pytest.fixture
def folder(tmp_path):
    write_results(tmp_path, results())
    return tmp_path


@pytest.mark.parametrize("with_regions", [False, True])
def test_it_has_every_number_of_every_row(folder, with_regions):
    gist = read_gist(folder, with_regions)
    told = read_results(folder, with_regions)["rows"]
    assert ("mae@lesion" in gist.metrics) == with_regions
    for row in told:
        pair = (tuple(row["given"]), row["target"])
        wanted = {name: v for name, v in row.items() if name not in ("model", "given", "target") and v is not None}
        assert wanted in gist.rows(row["model"], pair)
    n_rows = sum(len(gist.rows(model, pair)) for model in gist.models for pair in gist.pairs_of(model))
    assert n_rows == len(told)
    assert [row["case"] for row in gist.rows("mvae", (("T1",), "T2"))] == ["c2", "c0", "c1"]


def test_it_sums_up_as_the_evaluation_did(folder):
    gist = read_gist(folder)
    assert gist.stat("mvae", (("T1",), "T2"), "mae") == Stat(1.5, 1.0, 2.5, 6)
    assert gist.stat("constant", (("T1",), "T2"), "mae") == Stat(9.0, None, None, 2)
    assert gist.stat("mvae", (("T1", "CT"), "T2"), "mae") is None
    assert gist.stat("nobody", (("T1",), "T2"), "mae") is None
    assert (gist.about["fold"], gist.about["answers"], gist.about["places"]) == (1, 1, {"T2": ["mae@lesion"]})
    assert sorted(gist.cases_of("mvae")) == ["c0", "c1", "c2"] and sorted(gist.cases_of("constant")) == ["c0", "c1"]


def test_what_is_kept_is_read_without_the_results(folder, monkeypatch):
    read_gist(folder)
    monkeypatch.setattr(module, "read_results", lambda *_: pytest.fail("the results were read"))
    gist = read_gist(folder)
    assert isinstance(gist, Gist) and gist.pairs == [(("T1",), "T2"), (("T1", "CT"), "T2")]


def test_other_results_have_another_gist(folder):
    first = read_gist(folder)
    write_results(folder, results(extra=100.0))
    again = read_gist(folder)
    assert first.rows("mvae", (("T1",), "T2"))[0]["mae"] == 2
    assert again.rows("mvae", (("T1",), "T2"))[0]["mae"] == 102


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"{}"])
def test_a_damaged_file_is_made_anew(folder, content):
    whole = read_gist(folder)
    (folder / FILES[False]).write_bytes(content)
    assert read_gist(folder).rows("mvae", whole.pairs[1]) == whole.rows("mvae", whole.pairs[1])
    assert (folder / FILES[False]).stat().st_size > len(content)


def test_the_form_of_an_earlier_version_is_not_read(folder, monkeypatch):
    read_gist(folder)
    before = (folder / FILES[False]).stat().st_ino
    monkeypatch.setattr(module, "VERSION", module.VERSION + 1)
    read_gist(folder)
    assert (folder / FILES[False]).stat().st_ino != before


def test_without_results_there_is_none_and_without_rows_it_is_empty(tmp_path):
    assert read_gist(tmp_path) is None
    write_results(tmp_path, {"rows": []})
    gist = read_gist(tmp_path)
    assert not gist.models and gist.pairs_of("mvae") == []


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to_is_read_all_the_same(folder):
    folder.chmod(0o500)
    try:
        assert read_gist(folder).models == ["mvae", "constant"]
    finally:
        folder.chmod(0o700)


def test_folds_are_told_together(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    write_results(other, {**results(), "rows": [{**row, "case": "d"} for row in results()["rows"][:4]]})
    rows = Rows("mvae", [read_gist(folder), read_gist(other)])
    assert list(rows) == [(("T1",), "T2"), (("T1", "CT"), "T2")] and len(rows) == 2
    assert [row["case"] for row in rows[("T1", "CT"), "T2"]] == ["c2", "c0", "c1", "d"]
    assert (("PET",), "T2") not in rows and rows.get((("PET",), "T2"), ()) == ()
    assert (folder / RESULTS).exists()
