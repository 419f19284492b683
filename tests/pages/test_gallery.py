"""Datasets on the Prepare page: not checked yet, the gallery and its acts, one case larger, the quality, labels."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from core.cohort import Cohort
from core.dataset import Dataset
from core.jobs import BACKENDS
from core.labels import give_labels, labels_of
from core.prepare import prepare
from core.quality.check import check
from core.quality.flags import count, flags_of
from core.quality.report import read_report
from core.recipes import make_recipe
from core.runs import list_jobs
from core.types import Case, Volume
from core.workspace import Workspace
from tests.conftest import make_cohort
from tests.pages.driving import button, open_page, urls, words
from tests.quality.test_twins import person
from ui.case_slices import mixed
from ui.state import State
from ui.words import spacing_words

PAGE = str(Path(__file__).resolve().parents[2] / "pages" / "prepare.py")


@pytest.fixture
def checked(workspace: Workspace) -> Dataset:
    """Ten cases, three of which lack T2: two pages of the gallery."""
    cohort = make_cohort(workspace, n_cases=10)
    dataset = prepare(workspace, cohort, "phantoms", make_recipe("generic"))
    check(dataset, cohort)
    return dataset


@pytest.fixture
def copied(workspace: Workspace) -> Dataset:
    """Four people, one of them twice; the second image of one is laid elsewhere."""
    cohort = Cohort.create(workspace, "people")
    for n in range(4):
        first = person(n)
        second = first.with_data(700 - first.data)
        if n == 1:
            second = second.with_data(np.roll(second.data, 12, axis=1))
        cohort.write(Case(f"p{n}", {"T1": first, "T2": Volume(second.data, second.affine, "T2")}))
    cohort.write(Case("p9", {"T1": person(0)}))
    dataset = prepare(workspace, cohort, "people", make_recipe("generic", {"align": {"mode": "check"}}))
    check(dataset, cohort)
    return dataset


def datasets_view(view: str = "gallery", **link: str) -> AppTest:
    page = open_page(PAGE, **link)
    page.button_group(key=State.PREPARE_VIEW).set_value("look").run()
    return page if view == "gallery" else page.button_group(key=State.DATASET_VIEW).set_value(view).run()


def shown(page: AppTest) -> list[str]:
    """The cases of this page of the gallery, in order."""
    return [button.key.removeprefix("open-") for button in page.button if str(button.key).startswith("open-")]


def test_an_older_dataset_offers_the_check_and_is_shown_after_it(dataset: Dataset, workspace: Workspace) -> None:
    page = datasets_view()
    assert not page.exception and "Not looked through yet" in words(page) and shown(page) == []
    page.button(key="check-quality").click().run()
    BACKENDS["local"].wait(list_jobs(workspace)[0], timeout_s=90)
    assert read_report(dataset) is not None
    page.run()
    assert not page.exception and shown(page) == ["case-02", "case-00", "case-01", "case-03"]
    assert len(urls(page)) == 4


def test_cases_with_most_flags_come_first_a_page_at_a_time(checked: Dataset) -> None:
    page = datasets_view()
    assert not page.exception and not page.error
    flags = flags_of(checked, read_report(checked))
    counts = [count(flags[case]) for case in shown(page)]
    assert len(counts) == 8 and counts == sorted(counts, reverse=True) and counts[0] > counts[-1]
    assert "1 to 8 of 10" in words(page) and "T2 not acquired." in words(page)
    assert page.button(key="gallery-P").disabled
    first = shown(page)
    page.button(key="gallery-N").click().run()
    assert "9 to 10 of 10" in words(page) and len(shown(page)) == 2 and not set(first) & set(shown(page))
    page.button_group(key="gallery-filter").set_value("flagged").run()
    assert all(count(flags[case]) for case in shown(page)) and "1 to " in words(page)


def test_another_plane_and_side_are_other_pictures(checked: Dataset) -> None:
    page = datasets_view()
    axial = urls(page)
    page.button_group(key="gallery-plane").set_value("coronal").run()
    coronal = urls(page)
    page.toggle(key=State.RADIOLOGICAL).set_value(False).run()
    assert len({*axial, *coronal, *urls(page)}) == 24


def test_a_case_is_left_out_with_a_reason_and_taken_back(checked: Dataset, workspace: Workspace) -> None:
    before = checked.fingerprint
    page = datasets_view()
    page.button(key="exclude-case-02").click().run()
    assert "REASON" in page.error[0].value and Dataset.open(workspace, "phantoms").fingerprint == before
    page.text_input(key="reason-case-02").set_value("motion").run()
    page.button(key="exclude-case-02").click().run()
    assert Dataset.open(workspace, "phantoms").excluded == {"case-02": "motion"}
    assert "motion" in words(page) and "9 cases" in words(page) and "case-02" in shown(page)
    assert "case-02" not in Dataset.open(workspace, "phantoms").split(0).train
    page.button_group(key="gallery-filter").set_value("out").run()
    assert shown(page) == ["case-02"]
    page.button(key="include-case-02").click().run()
    assert Dataset.open(workspace, "phantoms").fingerprint == before and shown(page) == []
    assert "No case here" in words(page)


def test_a_picture_opens_its_case_larger_also_one_that_is_out(checked: Dataset) -> None:
    checked.exclude("case-05", "motion")
    page = datasets_view()
    page.button(key="open-case-05").click().run()
    assert not page.exception
    assert page.selectbox(key=State.CASE).value == "case-05" and len(urls(page)) == 2
    assert "T2 not acquired." in words(page) and "motion" in words(page)
    before = urls(page)
    page.button_group(key="dataset-plane").set_value("sagittal").run()
    assert not set(before) & set(urls(page))


def test_a_flag_of_alignment_opens_the_images_over_each_other(copied: Dataset) -> None:
    page = datasets_view(dataset="people")
    flag = next(b for b in page.button if str(b.key).startswith("flag-p1-") and "reference" in b.label)
    flag.click().run()
    assert not page.exception
    assert page.selectbox(key=State.CASE).value == "p1"
    assert page.button_group(key=State.OVERLAY).value == "checkerboard"
    laid = urls(page)
    page.button_group(key=State.OVERLAY).set_value("images").run()
    assert laid[0] == urls(page)[0] and laid[1] != urls(page)[1]  # the reference is the same either way


def test_a_flag_of_a_copy_opens_the_pair_with_its_number(copied: Dataset, workspace: Workspace) -> None:
    page = datasets_view(dataset="people")
    flag = next(b for b in page.button if str(b.key).startswith("flag-p9-"))
    assert "Looks like p0 in T1 (1.00; 1 is the same)." in flag.label
    flag.click().run()
    assert not page.exception
    assert "**p0** and **p9**" in words(page) and re.search(r"Likeness: T1 1\.00 \(usual 0\.\d\d", words(page))
    page.text_input(key="reason-p9").set_value("copy").run()
    page.button(key="exclude-p9").click().run()
    assert Dataset.open(workspace, "people").excluded == {"p9": "copy"} and "settled" in words(page)


def test_the_quality_says_who_has_what_and_that_no_site_is_known(checked: Dataset) -> None:
    page = datasets_view("quality")
    assert not page.exception and not page.error
    said = words(page)
    assert "3 of 10 cases should be looked at" in said or "of 10 cases should be looked at" in said
    assert ("No case has a site or a scanner" in said and "No two cases are too alike" in said) or "Likeness" in said
    acquired = next(table.value for table in page.dataframe if "Usual voxel" in table.value)
    assert list(acquired["Modality"]) == ["CT", "T1", "T2"] and list(acquired["Cases"]) == [10, 10, 7]
    assert set(acquired["Usual voxel"]) == {spacing_words((1.0, 2.0, 3.0))}
    assert len(page.get("plotly_chart")) == 2


def test_a_site_divides_the_dots_and_its_effect_is_told(checked: Dataset, workspace: Workspace) -> None:
    cohort = Cohort.open(workspace, "phantoms")
    give_labels(workspace, cohort, {c: {"site": "a" if n < 4 else "b"} for n, c in enumerate(cohort.case_ids)})
    page = datasets_view("quality")
    assert page.selectbox(key="quality-label-phantoms").value == "site"
    effects = next(table.value for table in page.dataframe if "By chance" in table.value)
    assert list(effects["By chance"]) == ["11%", "11%", "17%"]
    assert set(effects["95 % interval"]) == {"too few cases"}
    page.button_group(key="quality-scale").set_value("source").run()
    assert not page.exception
    effects = next(table.value for table in page.dataframe if "By chance" in table.value)
    assert effects["Modality"][0] == "CT (HU)"


def test_labels_are_given_in_a_dialog_and_free_text_is_refused(checked: Dataset, workspace: Workspace) -> None:
    page = datasets_view("quality")
    page.button(key="quality-labels").click().run()
    page.text_input(key="label-value-site").set_value("Jane Doe").run()
    button(page, "Give label").click().run()
    assert "LABEL-VALUE" in page.error[0].value and "Jane" not in page.error[0].value
    page.text_input(key="label-value-site").set_value("b").run()
    page.multiselect(key="label-cases").set_value(["case-00", "case-03"]).run()
    button(page, "Give label").click().run()
    assert not page.exception and "2 cases changed" in " ".join(note.value for note in page.success)
    labels = labels_of(Cohort.open(workspace, "phantoms"))
    assert [case for case in labels if labels[case].get("site") == "B"] == ["case-00", "case-03"]
    page.selectbox(key="label-name").set_value("age_band").run()
    page.selectbox(key="label-value-age_band").set_value("60-64").run()
    button(page, "Give label").click().run()
    assert Dataset.open(workspace, "phantoms").record("case-03")["labels"]["age_band"] == "60-64"


def test_a_checkerboard_takes_turns_and_a_blend_is_half_and_half() -> None:
    own, other = np.zeros((16, 24, 1), np.float32), np.ones((16, 24, 1), np.float32)
    board = mixed(own, other, "checkerboard")[:, :, 0]
    assert board[0, 0] == 0 and board[3, 0] == 1 and board[3, 3] == 0 and board.mean() == pytest.approx(0.5, abs=0.05)
    np.testing.assert_array_equal(mixed(own, other, "blend"), np.full_like(own, 0.5))
    assert mixed(own, other, "images") is own
