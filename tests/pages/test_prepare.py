"""Prepare in its states: nothing there, a recipe with its effect, a dataset made, a dataset taken away."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from core.cohort import Cohort
from core.dataset import Dataset, list_datasets
from core.display import OUTLINE, draw_outlined
from core.jobs import BACKENDS
from core.prepare import prepare
from core.recipes import make_recipe
from core.render import Look, Window, draw_slice
from core.runs import list_jobs
from core.types import Case, Volume
from ui.state import State

PAGE = str(Path(__file__).resolve().parents[2] / "pages" / "prepare.py")


def opened(**link: str) -> AppTest:
    page = AppTest.from_file(PAGE, default_timeout=30)
    for name, value in link.items():
        page.query_params[name] = value
    return page.run()


def words(page: AppTest) -> str:
    elements = [*page.markdown, *page.caption, *page.warning, *page.error, *page.text]
    return " ".join(str(element.value) for element in elements)


def button(page: AppTest, label: str):
    return next(button for button in page.button if button.label == label)


def urls(page: AppTest) -> list[str]:
    return [image.proto.imgs[0].url for image in page.get("image")]


def datasets_view(page: AppTest) -> AppTest:
    return page.button_group(key=State.PREPARE_VIEW).set_value("look").run()


def test_an_empty_workspace_says_what_to_do(workspace):
    page = opened()
    assert not page.exception
    assert "No cohort yet" in words(page)
    assert "No dataset yet" in words(datasets_view(page))


def test_a_cohort_without_cases_is_said(workspace):
    Cohort.create(workspace, "bare")
    assert "No case to prepare" in words(opened())


def test_every_step_is_shown_on_a_slice_and_a_histogram(cohort):
    page = opened()
    assert not page.exception and not page.error
    assert len(urls(page)) == 5
    assert len(page.get("plotly_chart")) == 2
    for title in ("As imported", "Orientation", "One grid", "Mask", "Intensity", "Before", "After"):
        assert f"**{title}**" in words(page)


@pytest.mark.parametrize(("shift_mm", "is_there"), [(0.0, True), (500.0, False)])
def test_an_image_that_lies_elsewhere_is_said_to_be_left_out(workspace, shift_mm, is_there):
    data = np.random.default_rng(0).uniform(10, 90, (12, 15, 18)).astype(np.float32)
    there = np.diag([1.0, 2.0, 3.0, 1.0])
    there[0, 3] = shift_mm
    t1, t2 = Volume(data, np.diag([1.0, 2.0, 3.0, 1.0]), "T1"), Volume(data, there, "T2")
    Cohort.create(workspace, "apart").write(Case("case-a", {"T1": t1, "T2": t2}))
    page = opened()
    next(group for group in page.button_group if group.label == "Modality").set_value("T2").run()
    assert not page.exception
    assert ("is left out of the dataset" in words(page)) is not is_there
    assert ("**After**" in words(page)) is is_there


def test_a_changed_setting_changes_the_preview(cohort):
    page = opened()
    before = urls(page)
    page.text_input(key="generic-resample-spacing_mm").set_value("3").run()
    after = urls(page)
    assert before[0] == after[0] and before[2] != after[2]


def test_a_setting_that_does_not_fit_is_a_sentence(cohort):
    page = opened()
    modalities = next(group for group in page.button_group if group.label == "Modality")
    modalities.set_value("CT").run()
    assert not page.error
    page.number_input(key="generic-normalise-ct_low").set_value(3000.0).run()
    assert not page.exception
    assert "CONSTANT" in page.error[0].value


def test_a_bad_name_disables_the_button_and_says_why(cohort):
    page = opened()
    page.text_input(key="dataset-name-phantoms").set_value("not a name").run()
    assert button(page, "Prepare").disabled
    assert "letters, digits" in words(page)


def test_a_name_that_is_taken_is_said(dataset):
    page = opened()
    assert page.text_input(key="dataset-name-phantoms").value == "phantoms-2"
    assert "will be replaced" not in words(page)
    page.text_input(key="dataset-name-phantoms").set_value("phantoms").run()
    assert "will be replaced" in words(page)
    assert not button(page, "Prepare").disabled


def test_preparing_makes_the_dataset_and_shows_it(cohort, workspace):
    page = opened()
    page.selectbox(key="recipe-False").set_value("brain-mr-ct").run()
    page.text_input(key="dataset-name-phantoms").set_value("heads").run()
    button(page, "Prepare").click().run()
    BACKENDS["local"].wait(list_jobs(workspace)[0], timeout_s=90)
    page.run()
    assert not page.exception and not page.error
    assert page.selectbox(key=State.DATASET).value == "heads"
    dataset = Dataset.open(workspace, "heads")
    assert dataset.fingerprint[:12] in words(page)
    assert "4 cases" in words(page)
    assert len(urls(page)) == 4  # a strip of small pictures a case


def test_cases_left_out_are_named_with_their_reason(cohort, workspace):
    constant = Volume(np.full((20, 24, 6), 7.0, np.float32), np.diag([1.0, 2.0, 3.0, 1.0]), "T1")
    cohort.write(Case("case-flat", {"T1": constant}))
    prepare(workspace, cohort, "phantoms", make_recipe("generic"))
    said = words(datasets_view(opened()))
    assert "1 case left out" in said and "case-flat" in said and "CONSTANT" in said


def test_the_outline_can_be_switched_off(dataset):
    page = datasets_view(opened())
    page.button_group(key=State.DATASET_VIEW).set_value("case").run()
    before = urls(page)
    page.toggle(key="dataset-outline").set_value(False).run()
    assert urls(page) != before


def test_deleting_a_dataset_asks_first(dataset, workspace):
    page = datasets_view(opened())
    page.button(key="delete-dataset").click().run()
    assert "its cohort stays" in words(page)
    page.button(key="delete-dataset-yes").click().run()
    assert not list_datasets(workspace)
    assert Cohort.open(workspace, "phantoms").case_ids


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_the_outline_runs_along_the_inner_edge_of_the_mask(plane):
    """A block that fills a known share of each lopsided pane: yellow lies inside it, and nowhere else."""
    shape, spacing = (8, 12, 16), (1.0, 2.0, 3.0)
    mask = np.zeros(shape, bool)
    mask[2:6, 3:9, 4:12] = True
    look = Look(plane, True, Window(0, 1), height_px=240, letters=False, scale_bar=False)
    index = 5
    outlined = draw_outlined(np.zeros(shape, np.float32), mask, spacing, index, look)
    block = draw_slice(mask.astype(np.float32), spacing, index, look)[:, :, 0] > 127
    yellow = (outlined == OUTLINE).all(axis=2)
    assert yellow.any()
    rows, columns = np.nonzero(yellow)
    inside_rows, inside_columns = np.nonzero(block)
    assert abs(rows.min() - inside_rows.min()) <= 1 and abs(rows.max() - inside_rows.max()) <= 1
    assert abs(columns.min() - inside_columns.min()) <= 1 and abs(columns.max() - inside_columns.max()) <= 1
    assert yellow.sum() < 0.5 * block.sum()


def test_the_pages_data_and_prepare_do_not_wait_for_torch():
    modules = "ui.steps_view, ui.gallery, ui.quality_view, ui.import_view, ui.cohort_view, ui.run_view"
    code = f"import sys; import {modules}; print('torch' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(PAGE).parents[1], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "False"
