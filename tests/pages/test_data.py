"""Data in its states: nothing there, files on their way in, a cohort to look at, things taken away."""

from __future__ import annotations

import gzip
import io
import os
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest
from streamlit.testing.v1 import AppTest

from core.cohort import Cohort, list_cohorts
from core.errors import RefusedError
from core.ingest import Proposal
from core.jobs import BACKENDS
from core.readers.choice import Choice
from core.render import Window
from core.runs import Job, list_jobs
from core.types import Case, Volume
from core.uploads import discard_forgotten, server_folder, server_folders
from core.workspace import Workspace, write_json
from tests.readers.dicom_files import slice_dataset
from ui.case_view import Box, tile
from ui.histogram import histogram_of
from ui.import_table import corrections_of, patients_of, refusal
from ui.quarantine_view import whole_box
from ui.state import State
from ui.words import tail_words

PAGE = str(Path(__file__).resolve().parents[2] / "pages" / "data.py")
Upload = tuple[str, bytes, str]


def opened(**link: str) -> AppTest:
    page = AppTest.from_file(PAGE, default_timeout=30)
    for name, value in link.items():
        page.query_params[name] = value
    return page.run()


def words(page: AppTest) -> str:
    elements = [*page.markdown, *page.caption, *page.warning, *page.error, *page.text]
    return " ".join(str(element.value) for element in elements)


def nifti(name: str, seed: int = 0) -> Upload:
    """A lopsided image as an uploaded file."""
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    data = np.random.default_rng(seed).uniform(10, 900, (12, 15, 6)).astype(np.float32)
    return name, gzip.compress(nib.nifti1.Nifti1Image(data, affine).to_bytes()), "application/gzip"


def ended(workspace: Workspace, kind: str) -> Job:
    job = next(job for job in list_jobs(workspace) if job.kind == kind)
    BACKENDS["local"].wait(job, timeout_s=90)
    return job


def uploaded(*files: Upload) -> AppTest:
    page = opened()
    page.file_uploader[0].set_value(list(files))
    return page.run()


def test_an_empty_workspace_offers_import_and_demo_and_says_what_is_kept(workspace):
    page = opened()
    assert not page.exception
    assert page.file_uploader and page.button(key="data-demo")
    assert "No images at hand?" in words(page)
    assert "Nothing leaves this machine" in words(page)


def test_uploaded_images_become_a_cohort_that_is_shown(workspace):
    page = uploaded(nifti("patient_T1.nii.gz"), nifti("patient_T2.nii.gz", 1))
    assert not page.exception and not page.error
    table = page.dataframe[0].value
    assert list(table["modality"]) == ["T1", "T2"]
    assert set(table["patient"]) == {"P1"}
    assert list(table["slices"]) == [6, 6] and set(table["orientation"]) == {"Axial, RAS"}
    page.text_input(key="import-cohort").set_value("mine").run()
    press(page, "Import")
    assert ended(workspace, "ingest").state == "finished"
    page.run()
    assert not page.exception and not page.error
    assert page.selectbox(key=State.COHORT).value == "mine"
    assert len(page.get("image")) == 2
    assert "Last import: 2 imported" in [expander.label for expander in page.expander]
    assert not any(workspace.uploads.iterdir())


def test_files_without_a_folder_become_one_new_case(workspace):
    page = uploaded(nifti("T1.nii.gz"), nifti("T2.nii.gz", 1))
    assert list(page.dataframe[0].value["patient"]) == ["P1", "P1"]
    press(page, "Import")
    assert ended(workspace, "ingest").params["corrections"] == {}
    [case_id] = Cohort.open(workspace, "my-images").case_ids
    assert sorted(Cohort.open(workspace, "my-images").describe(case_id)["volumes"]) == ["T1", "T2"]


def press(page: AppTest, label: str) -> AppTest:
    return next(button for button in page.button if button.label == label).click().run()


def test_what_is_no_image_is_refused_with_a_reason_and_can_be_put_away(workspace):
    page = uploaded(("letter.nii.gz", b"%PDF-1.7 nothing", "application/gzip"))
    assert not page.exception
    assert "None of these files" in words(page)
    assert "PDF" in page.dataframe[0].value["Why"][0]
    press(page, "Choose other files")
    assert page.file_uploader
    assert not any(workspace.uploads.iterdir())


def test_a_listed_folder_of_the_server_is_offered_by_name_only(workspace, tmp_path, monkeypatch):
    folder = tmp_path / "scans"
    folder.mkdir()
    (folder / "T1.nii.gz").write_bytes(nifti("T1.nii.gz")[1])
    monkeypatch.setenv("CROSSMODAL_DATA_FOLDERS", str(folder))
    page = opened()
    page.button_group(key="import-source").set_value("server").run()
    assert page.selectbox[0].options == ["scans"]
    press(page, "Look through")
    assert ended(workspace, "scan").state == "finished"
    page.run()
    assert not page.error
    assert list(page.dataframe[0].value["modality"]) == ["T1"]
    press(page, "Choose other files")
    assert not any(workspace.uploads.iterdir())


def test_a_cohort_shows_which_case_has_what_and_every_modality_of_one(cohort):
    page = opened()
    assert not page.exception and not page.error
    table = page.dataframe[0].value
    assert list(table["Case"]) == cohort.case_ids
    assert [mark == "" for mark in table["T2"]] == [False, False, True, False]
    assert len(page.get("image")) == 4
    assert "4 cases" in words(page)


def test_the_other_side_convention_changes_the_pictures(cohort):
    page = opened()
    before = urls(page)
    page.toggle(key=State.RADIOLOGICAL).set_value(False).run()
    assert urls(page) != before


def urls(page: AppTest) -> list[str]:
    return [image.proto.imgs[0].url for image in page.get("image")]


@pytest.mark.parametrize(("view", "said"), [("histograms", "Background"), ("facts", "Labels")])
def test_histograms_and_facts_of_a_case_are_there(cohort, view, said):
    page = opened()
    page.button_group(key="case_look").set_value(view).run()
    assert not page.exception and not page.error
    assert said in words(page)


def test_notes_are_said_in_words_and_unknown_ones_by_code(workspace):
    volume = Volume(
        np.arange(60, dtype=np.float32).reshape(3, 4, 5), np.eye(4), "T1", warnings=("NO-SPACING", "NEW-ONE")
    )
    Cohort.create(workspace, "odd").write(Case("case-a", {"T1": volume}))
    said = words(opened())
    assert "1 mm was assumed" in said and "NEW-ONE" in said


def test_generated_patients_are_labelled(cohort):
    assert "Simulated" not in words(opened())
    write_json(cohort.folder / "cohort.json", {"simulated": True})
    assert "Simulated" in words(opened())


def test_deleting_asks_first_then_deletes(cohort, workspace):
    page = opened()
    page.button(key="delete-cohort").click().run()
    assert "all its images are removed" in words(page)
    page.button(key="delete-cohort-no").click().run()
    assert list_cohorts(workspace)
    page.button(key="delete-cohort").click().run()
    page.button(key="delete-cohort-yes").click().run()
    assert not list_cohorts(workspace)
    assert not page.exception


def test_one_case_can_be_deleted(cohort):
    page = opened(case="case-01")
    page.button_group(key="case_look").set_value("facts").run()
    page.button(key="delete-case").click().run()
    page.button(key="delete-case-yes").click().run()
    assert "case-01" not in cohort.case_ids and len(cohort.case_ids) == 3
    assert not page.exception


def test_a_failed_import_is_said_and_can_be_put_away(workspace):
    job = Job.create(workspace.jobs / "job-1", "ingest", {"cohort": "x"})
    job.update(state="failed", error="The disk is full.", code="DISK-FULL")
    page = opened()
    assert "The disk is full." in page.error[0].value and "DISK-FULL" in page.error[0].value
    page.button(key="dismiss-job-1").click().run()
    assert not page.error


def proposals(*pairs: tuple[str, str]) -> list[Proposal]:
    return [
        Proposal(str(n), "", 1, case, modality, (3, 4, 5), (1.0, 1.0, 1.0), "RAS", "", "accepted", "", "")
        for n, (case, modality) in enumerate(pairs)
    ]


def table_of(pairs: list[tuple[str, str]], include: list[bool] | None = None) -> pd.DataFrame:
    patients, modalities = zip(*pairs, strict=True)
    return pd.DataFrame({"include": include or [True] * len(pairs), "patient": patients, "modality": modalities})


def test_only_what_a_person_changed_is_a_correction():
    found = proposals(("a", "T1"), ("a", "T2"), ("b", "foo"), ("c", "T1"), ("c", "T2"))
    patients = patients_of(found)
    assert patients == {"a": "P1", "b": "P2", "c": "P3"}
    table = table_of(
        [("P1", "T1"), ("P1", "T2"), ("P2", "flair"), ("P3", "T1"), ("new one", "T2")], [True, True, True, False, True]
    )
    assert corrections_of(found, table, patients, "look-1") == {
        "2": Choice("b", "FLAIR"),
        "3": Choice(include=False),
        "4": Choice("look-1/new one", "T2"),
    }


@pytest.mark.parametrize(
    ("table", "cohort", "said"),
    [
        (table_of([("a", "T1")], [False]), "mine", "Tick at least one"),
        (table_of([("a", "T1"), ("a", "T1")]), "mine", "two images named T1"),
        (table_of([("a", "T1"), ("a", "t1")]), "mine", "two images named T1"),
        (table_of([("a", "T 1")]), "mine", "name has"),
        (table_of([("a", "T1")]), "../mine", "name has"),
        (table_of([("a", "T1"), ("a", "T2")]), "mine", ""),
    ],
)
def test_an_import_that_cannot_be_is_refused_with_the_reason(workspace, table, cohort, said):
    reason = refusal(table, cohort)
    assert said in reason if said else reason == ""


def test_real_images_do_not_join_generated_ones(cohort):
    write_json(cohort.folder / "cohort.json", {"simulated": True})
    assert "do not mix" in refusal(table_of([("a", "T1")]), "phantoms")


def test_images_on_other_grids_show_the_same_place():
    """A bright voxel at one point in millimetres is in the picture of both grids, and in neither elsewhere."""
    fine, coarse = np.zeros((10, 12, 14)), np.zeros((5, 6, 7))
    fine[4:6, 6:8, 2:4] = 100
    coarse[2, 3, 1] = 100
    moved = np.diag([2.0, 2.0, 2.0, 1.0])
    moved[:3, 3] = 0.5
    volumes = [Volume(fine.astype(np.float32), np.eye(4), "T1"), Volume(coarse.astype(np.float32), moved, "T2")]
    for volume in volumes:
        here = tile(volume, Window(0, 100), np.array([4.5, 6.5, 2.5]), True, 200)
        there = tile(volume, Window(0, 100), np.array([1.0, 1.0, 9.0]), True, 200)
        assert (here[:, :, 0] > 230).sum() > 20 and (there[:, :, 0] > 230).sum() == 0


def test_a_point_outside_an_image_is_black():
    volume = Volume(np.full((4, 5, 6), 100.0, np.float32), np.eye(4), "T1")
    assert tile(volume, Window(0, 100), np.array([50.0, 50.0, 50.0]), True, 120).max() == 0


def test_a_picture_of_one_slice_has_one_pane_and_no_slider(workspace):
    picture = Volume(np.random.default_rng(0).uniform(0, 255, (12, 15, 1)).astype(np.float32), np.eye(4), "US")
    Cohort.create(workspace, "pictures").write(Case("case-a", {"US": picture}))
    page = opened()
    assert not page.exception and not page.error
    assert not page.slider
    pane = tile(picture, Window(0, 255), np.zeros(3), True, 240)
    assert pane.shape[0] / pane.shape[1] == pytest.approx(15 / 12, rel=0.05)


def test_the_shared_box_lies_within_every_image():
    facts = [
        {"shape": [4, 5, 6], "affine": np.diag([1.0, 2.0, 3.0, 1.0]).tolist()},
        {"shape": [2, 3, 4], "affine": np.diag([-1.0, 2.0, 3.0, 1.0]).tolist()},
    ]
    box = Box.around({str(n): one for n, one in enumerate(facts)})
    np.testing.assert_allclose(box.low, [-0.5, -1.0, -1.5])
    np.testing.assert_allclose(box.high, [0.5, 5.0, 10.5])


def test_whole_numbers_make_no_comb_and_background_is_left_out():
    rng = np.random.default_rng(0)
    values = np.concatenate([np.zeros(50_000), rng.integers(1, 151, 100_000)]).astype(np.float32)
    centres, shares = histogram_of(values)
    assert centres.min() > 0.4
    assert shares[:-1].min() > 0.5 * shares[:-1].max()


@pytest.mark.parametrize("name", ["", "..", "/etc", "scans/../..", "other"])
def test_a_folder_that_is_not_listed_is_refused(name, tmp_path, monkeypatch):
    (tmp_path / "scans" / "one").mkdir(parents=True)
    monkeypatch.setenv("CROSSMODAL_DATA_FOLDERS", str(tmp_path / "scans"))
    assert list(server_folders()) == ["scans", "scans/one"]
    with pytest.raises(RefusedError):
        server_folder(name)


def test_uploads_that_nobody_imported_are_removed_after_a_day(workspace):
    for name, age_h in (("upload-old", 25), ("upload-new", 1)):
        folder = workspace.uploads / name
        folder.mkdir(parents=True)
        os.utime(folder, (0, time.time() - age_h * 3600))
    discard_forgotten(workspace)
    assert [folder.name for folder in workspace.uploads.iterdir()] == ["upload-new"]


def ultrasound() -> Upload:
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 4000, (40, 60)).astype("u2")
    pydicom.dcmwrite(stream, slice_dataset(pixels, (0, 0, 0), "1.2.3", "US"), enforce_file_format=True)
    return "us.dcm", stream.getvalue(), "application/dicom"


def test_a_held_back_picture_joins_when_somebody_has_looked(workspace):
    page = uploaded(ultrasound())
    assert not page.exception
    assert "Held back (1)" in [tab.label for tab in page.tabs] and page.get("plotly_chart")
    assert "Import" not in [button.label for button in page.button]
    page.checkbox[0].check().run()
    assert "1 of 1 picture let in" in words(page)
    press(page, "Import")
    job = ended(workspace, "ingest")
    assert job.state == "finished"
    [case_id] = Cohort.open(workspace, "my-images").case_ids
    assert "REVIEWED" in Cohort.open(workspace, "my-images").describe(case_id)["volumes"]["US"]["warnings"]
    assert not any(workspace.uploads.iterdir())


def array(name: str, values: np.ndarray) -> Upload:
    stream = io.BytesIO()
    np.save(stream, values)
    return name, stream.getvalue(), "application/octet-stream"


def marked_array() -> np.ndarray:
    """Brightest in the corner where every axis ends."""
    values = np.random.default_rng(0).uniform(1, 9, (12, 15, 18))
    values[9:, 12:, 15:] = 100
    return values


def test_an_array_is_drawn_as_it_is_said_to_lie_before_the_import(workspace):
    page = uploaded(array("patient_CT.npy", marked_array()), array("patient_T1.npy", marked_array()))
    assert not page.exception
    assert "How to read arrays and films" in [tab.label for tab in page.tabs]
    before = urls(page)[-1]
    page.selectbox(key="axis-0-0000").set_value("L").run()
    page.number_input(key="mm-2-0000").set_value(3.0).run()
    assert not page.exception
    assert urls(page)[-1] != before
    press(page, "Use for all 2 arrays")
    press(page, "Import")
    assert ended(workspace, "ingest").state == "finished"
    cohort = Cohort.open(workspace, "my-images")
    (case_id,) = cohort.case_ids
    for modality in ("CT", "T1"):
        volume = cohort.read_volume(case_id, modality)
        assert volume.spacing_mm == pytest.approx((1, 1, 3))
        assert volume.data[:3, 12:, 15:].min() == 100  # the end of the first axis lies on the left now


@pytest.mark.parametrize("is_right", [False, True])
def test_how_an_array_lies_stays_in_doubt_until_a_person_says_it_is_right(is_right, workspace):
    page = uploaded(array("patient_T1.npy", marked_array()))
    if is_right:
        page.checkbox(key="right-0000").check().run()
    press(page, "Import")
    assert ended(workspace, "ingest").state == "finished"
    cohort = Cohort.open(workspace, "my-images")
    (case_id,) = cohort.case_ids
    volume = cohort.read_volume(case_id, "T1")
    assert ("NO-AXES" in volume.warnings) == (not is_right)
    assert volume.data[9:, 12:, 15:].min() == 100


def test_axes_that_were_changed_and_changed_back_are_not_taken_for_right(workspace):
    page = uploaded(array("patient_T1.npy", marked_array()))
    page.selectbox(key="axis-0-0000").set_value("L").run()
    page.selectbox(key="axis-0-0000").set_value("R").run()
    assert not page.checkbox(key="right-0000").value
    page.checkbox(key="right-0000").check().run()
    assert page.run().checkbox(key="right-0000").value


def test_what_an_array_cannot_be_is_said_at_once(workspace):
    page = uploaded(array("patient_T1.npy", marked_array()))
    page.selectbox(key="axis-0-0000").set_value("A").run()
    assert "three letters" in page.error[0].value
    page.selectbox(key="axis-0-0000").set_value("R").run()
    page.text_input(key="reading-modality-0000").set_value("CT").run()
    page.number_input(key="slope-0000").set_value(1000.0).run()
    assert "20000 HU" in page.error[0].value


def test_the_modality_of_an_array_is_one_wherever_it_is_written(workspace):
    page = uploaded(array("patient_T1.npy", marked_array()))
    page.text_input(key="reading-modality-0000").set_value("pet").run()
    assert list(page.dataframe[0].value["modality"]) == ["pet"]
    press(page, "Import")
    ended(workspace, "ingest")
    (case_id,) = Cohort.open(workspace, "my-images").case_ids
    assert list(Cohort.open(workspace, "my-images").describe(case_id)["volumes"]) == ["PET"]


def test_an_array_of_pictures_is_read_as_a_stack_when_a_person_says_so(workspace):
    page = uploaded(array("digits.npy", np.random.default_rng(0).uniform(0, 255, (7, 8, 9, 3)).astype("u1")))
    assert "stack of pictures" in page.dataframe[0].value["Why"][0]
    next(group for group in page.button_group if group.label == "Arrays hold").set_value("images").run()
    assert not page.exception
    assert "1 ready" in words(page)
    press(page, "Import")
    assert ended(workspace, "ingest").state == "finished"
    assert len(Cohort.open(workspace, "my-images").case_ids) == 7


def test_a_duplicate_is_not_ticked_and_says_why(workspace):
    page = uploaded(nifti("a/T1.nii.gz"), nifti("a/T1.nii", 1))
    table = page.dataframe[0].value
    assert list(table["include"]) == [True, False]
    assert "only the first is kept" in table["note"].iloc[1]


def test_a_drawn_box_blackens_every_pixel_that_it_touches():
    assert whole_box({"x": [30.2, 9.7], "y": [4.0, 11.1]}, (40, 60)) == (9, 4, 22, 8)
    assert whole_box({"x": [-5.0, 70.0], "y": [-1.0, 3.0]}, (40, 60)) == (0, 0, 60, 3)


def test_a_long_place_is_said_by_its_end():
    assert tail_words("a/b.dcm") == "a/b.dcm"
    assert tail_words("export/2024/patient-0007/MR/ADC/IM0001.dcm", 24) == "\N{HORIZONTAL ELLIPSIS}/MR/ADC/IM0001.dcm"
    assert tail_words("x" * 99 + "/IM1", 10) == "\N{HORIZONTAL ELLIPSIS}/IM1"
