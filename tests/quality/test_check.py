"""A checked dataset: what is kept with it, what is flagged, what the command line prints."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import ndimage

from core.cohort import Cohort
from core.dataset import Dataset
from core.jobs.worker import execute
from core.labels import give_labels
from core.prepare import prepare
from core.progress import Cancelled
from core.quality.check import check, cohort_of
from core.quality.flags import Flag, count, flags_of
from core.quality.report import read_report, report_path
from core.quality.summary import group_labels, site_label, summary
from core.quality.thumbnails import strip_path
from core.recipes import make_recipe
from core.runs import new_job
from core.types import Case
from core.workspace import Workspace, read_json, write_json
from tests.conftest import SHAPE, SPACING_MM, phantom_case


def own_texture(n: int) -> np.ndarray:
    """What no two people share: a smooth random field on the phantoms' grid."""
    field = ndimage.gaussian_filter(np.random.default_rng(n).normal(size=SHAPE), [4 / s for s in SPACING_MM])
    return (80 * field / field.std()).astype(np.float32)


@pytest.fixture
def eight(workspace: Workspace) -> Dataset:
    """Eight phantoms: one lacks T2, one's T2 is inverted, one's T1 has thick slices, one is another's copy."""
    cohort = Cohort.create(workspace, "eight")
    for n in range(7):
        case = phantom_case(f"case-{n:02d}", n, ("T1", "CT") if n == 2 else ("T1", "T2", "CT"))
        volumes = {m: v if v.is_label else v.with_data(v.data + own_texture(n)) for m, v in case.volumes.items()}
        if n == 3:
            volumes["T2"] = volumes["T2"].with_data(np.float32(800) - volumes["T2"].data)
        if n == 4:
            thick = volumes["T1"].affine @ np.diag([1.0, 1.0, 2.0, 1.0])
            volumes["T1"] = volumes["T1"].with_data(np.ascontiguousarray(volumes["T1"].data[:, :, ::2]), thick)
        cohort.write(Case(case.id, volumes))
    cohort.write(
        Case("case-07", {"CT": cohort.read_volume("case-05", "CT"), "T2": cohort.read_volume("case-05", "T2")})
    )
    return prepare(workspace, cohort, "eight", make_recipe("generic", {"reference": "CT"}))


def codes(flags: list[Flag]) -> set[tuple[str, tuple[str, ...]]]:
    return {(flag.code, flag.modalities) for flag in flags}


def test_what_was_planted_is_flagged_and_nothing_else_of_its_kind(eight: Dataset, workspace: Workspace) -> None:
    report = check(eight, cohort_of(workspace, eight))
    flags = flags_of(eight, report)
    assert ("MISSING", ("T2",)) in codes(flags["case-02"]) and ("MISSING", ("T1",)) in codes(flags["case-07"])
    assert [case for case in flags if any(flag.code == "MISSING" for flag in flags[case])] == ["case-02", "case-07"]
    assert ("BRIGHTNESS", ("T2",)) in codes(flags["case-03"])
    assert [case for case in flags if any(flag.code == "GEOMETRY" for flag in flags[case])] == ["case-04"]
    twins = {case: flag for case in flags for flag in flags[case] if flag.code == "TWIN"}
    assert {case: flag.other for case, flag in twins.items()} == {"case-05": "case-07", "case-07": "case-05"}
    assert set(twins["case-05"].modalities) == {"CT", "T2"} and "(1.00; 1 is the same)" in twins["case-05"].words


def test_a_report_is_kept_with_the_dataset_and_outlives_a_case_left_out(eight: Dataset) -> None:
    assert read_report(eight) is None
    report = check(eight)
    assert read_report(Dataset(eight.folder)) == report
    assert all(strip_path(eight, case, "axial").exists() for case in eight.case_ids)
    eight.exclude("case-07", "copy")
    assert read_report(eight) == report
    flags = flags_of(eight, report)
    assert not any(flag.code == "TWIN" for some in flags.values() for flag in some)
    assert ("MISSING", ("T1",)) in codes(flags["case-07"])
    assert list(summary(eight, report)["mask_ml"]) == list(eight.case_ids)


def test_a_report_of_other_images_or_of_another_version_is_none(eight: Dataset, workspace: Workspace) -> None:
    check(eight)
    path = report_path(eight)
    values = read_json(path)
    write_json(path, {**values, "version": 99})
    assert read_report(eight) is None
    write_json(path, {**values, "fingerprint": "0" * 64})
    assert read_report(eight) is None


def test_a_case_that_was_left_out_is_measured_and_drawn_too(eight: Dataset) -> None:
    eight.exclude("case-03", "inverted")
    report = check(eight)
    assert "case-03" in report.cases and strip_path(eight, "case-03", "axial").exists()
    assert set(summary(eight, report)["brightness"]) == set(eight.case_ids)


def test_notes_are_said_but_not_counted() -> None:
    assert count([Flag("DERIVED-MAP", ("ADC",)), Flag("NOT-ALIGNED", ("ADC",)), Flag("MISSING", ("T2",))]) == 2


def test_a_site_is_told_from_labels_and_its_effect_from_the_images(eight: Dataset, workspace: Workspace) -> None:
    cohort = cohort_of(workspace, eight)
    report = check(eight, cohort)
    assert site_label(eight) == "" and summary(eight, report)["group_effects"] == {}
    sites = {case: {"site": "a" if n < 4 else "b", "sex": "f"} for n, case in enumerate(cohort.case_ids)}
    give_labels(workspace, cohort, sites)
    dataset = Dataset.open(workspace, "eight")
    assert site_label(dataset) == "site" and group_labels(dataset)[0] == "site" and "sex" not in group_labels(dataset)
    effects = summary(dataset, report)["group_effects"]
    assert set(effects) == {"T1", "T2", "CT"} and 0 <= effects["CT"]["eta_squared"] <= 1
    assert effects["CT"]["shifts"][0]["low"] is None  # four cases a site have no interval
    json.dumps(summary(dataset, report), allow_nan=False)


def test_preparing_checks_and_a_stop_in_the_check_keeps_the_dataset(
    workspace: Workspace, cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe("generic").model_dump()
    execute(new_job(workspace, "prepare", {"cohort": "phantoms", "dataset": "d", "recipe": recipe}), workspace)
    assert read_report(Dataset.open(workspace, "d")) is not None

    def stop(*_: object) -> None:
        raise Cancelled

    monkeypatch.setattr("core.quality.check.check", stop)
    job = new_job(workspace, "prepare", {"cohort": "phantoms", "dataset": "e", "recipe": recipe})
    execute(job, workspace)
    assert job.state == "finished" and job.result["cases"] == 4
    assert read_report(Dataset.open(workspace, "e")) is None


def test_an_older_dataset_is_checked_by_a_job(dataset: Dataset, workspace: Workspace) -> None:
    found = execute(new_job(workspace, "quality", {"dataset": dataset.name}), workspace)
    report = read_report(dataset)
    assert report is not None and found["cases"] == 4
    assert report.cases["case-00"].sources["T1"].spacing_mm == (1.0, 2.0, 3.0)
