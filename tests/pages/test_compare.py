"""Compare in its states: nothing there, a run to look at, another choice, things that went missing."""

from __future__ import annotations

import gzip
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from core.dataset import Dataset
from core.models import MODELS
from core.runs import Run
from core.train import make_config, train
from core.workspace import Workspace
from tests.pages.driving import open_page, words
from ui.state import State

PAGE = str(Path(__file__).resolve().parents[2] / "pages" / "compare.py")
opened = partial(open_page, PAGE)


@pytest.fixture
def run(workspace: Workspace, dataset: Dataset) -> Run:
    """A trained run of the linear baseline on the phantoms."""
    made = Run.new(workspace, make_config(dataset, "linear", {}, {}, seed=1))
    train(made, dataset, torch.device("cpu"))
    made.update(state="finished")
    return made


def test_an_empty_workspace_says_what_to_do(workspace):
    page = opened()
    assert not page.exception
    assert "No trained run yet" in words(page)


def test_a_run_opens_on_a_held_out_case_with_numbers(run, dataset):
    page = opened(given="T1", target="CT")
    assert not page.exception and not page.error
    assert page.selectbox(key=State.CASE).value in dataset.split(1).test
    assert [metric.label for metric in page.metric] == ["MAE, HU", "PSNR, dB", "SSIM"]
    assert "Inside the mask" in words(page)


def test_the_link_decides_what_is_shown_and_says_what_is(run, dataset):
    case_id = dataset.split(1).train[0]
    page = opened(run=run.id, case=case_id, given="CT", target="T1")
    assert page.selectbox(key=State.CASE).value == case_id
    assert page.selectbox(key=State.TARGET).value == "T1"
    ticked = [box.label for box in page.checkbox if box.value]
    assert ticked == ["CT"]
    assert "trained on this case" in words(page)
    page.checkbox(key="given-T1").check().run()
    assert page.query_params[State.GIVEN] == "CT,T1" or page.query_params[State.GIVEN] == ["CT,T1"]


def test_a_link_to_what_does_not_exist_falls_back(run):
    page = opened(run="run-0000", case="../../etc", given="XX", target="YY", plane="oblique", at="1-2")
    assert not page.exception and not page.error


def test_nothing_given_asks_for_something(run):
    page = opened()
    for box in page.checkbox:
        box.uncheck()
    page.run()
    assert "Tick at least one" in words(page)


def test_a_target_that_was_not_acquired_is_said(run, dataset):
    lacking = next(c for c in dataset.case_ids if "T2" not in dataset.record(c)["modalities"])
    page = opened(case=lacking, given="T1", target="T2")
    assert "was not acquired" in words(page)
    assert not page.metric


def test_the_next_case_is_one_press_away(run):
    page = opened()
    before = page.selectbox(key=State.CASE).value
    page.button(key="case-next").click().run()
    assert page.selectbox(key=State.CASE).value != before
    page.button(key="case-previous").click().run()
    assert page.selectbox(key=State.CASE).value == before


def test_a_deleted_dataset_is_a_sentence(run, dataset):
    dataset.delete()
    page = opened()
    assert not page.exception
    assert page.error and "dataset" in page.error[0].value


def test_damaged_weights_are_a_sentence(run):
    run.weights_path.write_bytes(run.weights_path.read_bytes()[:-1] + b"x")
    page = opened()
    assert not page.exception
    assert "WEIGHTS-DAMAGED" in page.error[0].value


def test_a_run_without_weights_is_not_offered(run, workspace, dataset):
    Run.new(workspace, make_config(dataset, "linear", {}, {}))
    page = opened()
    assert page.selectbox(key=State.RUN).value == run.id
    assert len(page.selectbox(key=State.RUN).options) == 1


def test_a_model_that_learnt_without_pairs_is_labelled(run, monkeypatch):
    assert "without pairs" not in words(opened())
    monkeypatch.setattr(MODELS["linear"], "paired", False)
    assert "Learnt without pairs" in words(opened())


def test_simulated_patients_are_labelled(run, monkeypatch):
    monkeypatch.setattr(Dataset, "is_simulated", property(lambda self: True))
    assert "Simulated" in words(opened())


def test_the_simple_view_shows_pictures_and_moves(run):
    page = opened()
    page.toggle(key=State.SIMPLE_VIEW).set_value(True).run()
    assert not page.exception
    assert len(page.get("image")) == 4
    before = [image.proto.imgs[0].url for image in page.get("image")]
    page.slider[0].set_value(2).run()
    assert [image.proto.imgs[0].url for image in page.get("image")] != before


def test_the_saved_synthesis_lies_where_the_case_lies(run, dataset, tmp_path):
    page = opened(given="T1", target="CT")
    case_id = page.selectbox(key=State.CASE).value
    button = page.get("download_button")[0]
    assert "NIfTI" in button.proto.label
    from core.synthesis import load_run
    from ui.loaded_run import comparison

    place = Workspace(run.folder.parents[1])
    result = comparison(place, run, case_id, ("T1",), "CT")
    from core.cohort import save_nifti
    from core.synthesis import to_unit

    loaded = load_run(place, run)
    save_nifti(to_unit(loaded.dataset, case_id, "CT", result.synthesis), tmp_path / "synthesis.nii.gz")
    image = nib.Nifti1Image.from_bytes(gzip.decompress((tmp_path / "synthesis.nii.gz").read_bytes()))
    np.testing.assert_allclose(image.affine, dataset.affine(case_id), atol=1e-4)


def test_an_explanation_is_asked_for_and_stays(run, dataset):
    page = opened(given="T1", target="CT", at="10-12-3")
    assert "press Explain" in words(page)
    before = len(page.get("image"))
    page.button(key="explain").click().run()
    assert not page.exception and not page.error
    assert "**Orange** raises the synthesised CT" in words(page)
    assert "100% of all influence" in "".join(image.proto.imgs[0].caption for image in page.get("image"))
    assert len(page.get("image")) == before + 1
    page.run()
    assert len(page.get("image")) == before + 1
    assert page.selectbox(key="explain-kind").options == ["Where the crosshair is", "The lesion in this slice"]


def test_an_explanation_of_a_lesion_that_is_not_there_is_a_sentence(run):
    page = opened(given="T1", target="CT", at="0-0-0")
    page.selectbox(key="explain-kind").set_value("lesion").run()
    page.button(key="explain").click().run()
    assert not page.exception
    assert "NOT-HERE" in page.error[0].value or "**Orange**" in words(page)
