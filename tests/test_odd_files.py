"""What people bring beside plain NIfTI and DICOM: each file's fate, code and sentence, and what comes in."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from core.cohort import Cohort
from core.ingest import ingest
from core.readers.choice import Choice
from core.readers.proposals import Proposal
from core.survey import load_glimpse, load_proposals, save_proposals, survey
from core.workspace import Workspace
from tests.in_process import InProcess
from tests.odd_files import AFFINE, SHAPE, odd_files, values


@pytest.fixture
def workspace_in_process(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setattr("core.ingest.Decoder", InProcess)
    monkeypatch.setattr("core.survey.Decoder", InProcess)
    return workspace


@pytest.fixture
def found(workspace_in_process: Workspace, tmp_path: Path) -> dict[str, Proposal]:
    root = odd_files(tmp_path / "in")
    proposals = survey(workspace_in_process, [root], "auto", tmp_path / "look")
    return {proposal.label: proposal for proposal in proposals}


EXPECTED = {  # label -> fate, codes, a word of the sentence
    "by_case/alpha/T1.png": ("warned", ("NO-SPACING",), "1 mm was assumed"),
    "by_case/beta/US.png": ("warned", ("NO-SPACING", "PSEUDO-COLOUR"), "not a measured intensity"),
    "by_modality/photo/0001.jpg": ("warned", ("NO-SPACING", "LOSSY"), "with loss"),
    "burned_in_png/case7/US.png": ("quarantined", ("BURNED-IN-TEXT",), "somebody has to look"),
    "burned_in_jpg/case7/US.jpg": ("quarantined", ("BURNED-IN-TEXT",), "somebody has to look"),
    "bids/README": ("ignored", ("DOCUMENT",), "beside the images"),
    "bids/participants.tsv": ("ignored", ("SIDECAR",), "not needed"),
    "bids/sub-07/ses-01/anat/sub-07_ses-01_T1w.nii.gz": ("accepted", (), ""),
    "bids/sub-07/ses-01/dwi/sub-07_ses-01_dwi.nii.gz": ("warned", ("FRAME-CHOSEN",), "several frames"),
    "odd/flat/T1.nii": ("warned", ("ONE-SLICE",), "one slice"),
    "odd/film/PET.nii": ("warned", ("FRAME-CHOSEN",), "several frames"),
    "odd/colour/T1.nii": ("rejected", ("NII-RGB",), "Convert the image first"),
    "odd/nan_few/T1.nii": ("warned", ("NON-FINITE-REPLACED",), "smallest value"),
    "odd/nan_infinite/T1.nii": ("warned", ("NON-FINITE-REPLACED",), "smallest value"),
    "odd/nan_many/T1.nii": ("rejected", ("NON-FINITE",), "20% of the voxels"),
    "odd/blank/T1.nii": ("rejected", ("CONSTANT",), "no image to use"),
    "odd/scaled/T1.nii": ("accepted", (), ""),
    "odd/forms/T1.nii": ("warned", ("NII-FORMS-DISAGREE",), "Check left and right"),
    "odd/nowhere/T1.nii": ("warned", ("NII-NO-ORIENTATION",), "left and right may be swapped"),
    "odd/cut/T1.nii": ("rejected", ("NII-TRUNCATED",), "cut off"),
}


def test_every_file_has_its_fate_before_the_import(found: dict[str, Proposal], tmp_path: Path):
    for label, (fate, codes, words) in EXPECTED.items():
        proposal = found[label]
        assert (proposal.fate, proposal.codes) == (fate, codes), label
        assert words in proposal.message and bool(proposal.message) == bool(codes), label
    on_disk = {str(path.relative_to(tmp_path / "in")) for path in (tmp_path / "in").rglob("*") if path.is_file()}
    assert {label for proposal in found.values() for label in proposal.files} == on_disk


def test_what_is_told_before_the_import_is_what_it_does(
    found: dict[str, Proposal], workspace_in_process: Workspace, tmp_path: Path
):
    report = ingest(workspace_in_process, [tmp_path / "in"], "c")
    after = {row["label"]: (row["fate"], tuple(row["codes"])) for row in report["files"]}
    assert after == {label: (proposal.fate, proposal.codes) for label, proposal in found.items()}


def test_pairs_are_found_by_folder_by_modality_and_by_bids(found: dict[str, Proposal]):
    pairs = {label: (proposal.case, proposal.modality) for label, proposal in found.items()}
    assert pairs["by_case/alpha/T1.png"] == ("alpha", "T1") and pairs["by_case/alpha/US.png"] == ("alpha", "US")
    assert pairs["by_modality/photo/0002.jpg"] == ("0002", "photo")
    assert pairs["by_modality/sketch/0002.png"] == ("0002", "sketch")
    stem = "bids/sub-07/ses-02/anat/sub-07_ses-02"
    expected = {"T1w": "T1", "ce-gadolinium_T1w": "T1POST", "FLAIR": "FLAIR", "label-lesion_mask": "lesion_mask"}
    for suffix, modality in expected.items():
        assert pairs[f"{stem}_{suffix}.nii.gz"] == ("sub-07_ses-02", modality)
    assert pairs["bids/sub-07/ses-01/pet/sub-07_ses-01_trc-FDG_pet.nii.gz"] == ("sub-07_ses-01", "PET")


def test_scaled_values_and_the_place_of_the_first_geometry_come_in(workspace_in_process: Workspace, tmp_path: Path):
    root = odd_files(tmp_path / "in") / "odd"
    ingest(workspace_in_process, [root / "scaled", root / "forms"], "c")
    cohort = Cohort.open(workspace_in_process, "c")
    volumes = [cohort.read_volume(case_id, "T1") for case_id in cohort.case_ids]
    truth = nib.as_closest_canonical(nib.load(root / "scaled" / "T1.nii"))
    found = [volume for volume in volumes if np.allclose(volume.data, truth.get_fdata())]
    assert len(found) == 1
    np.testing.assert_allclose(found[0].affine, truth.affine)
    (forms,) = [volume for volume in volumes if volume is not found[0]]
    np.testing.assert_array_equal(forms.data, values(206)[::-1])  # LAS by the sform; the qform says RAS
    np.testing.assert_allclose(forms.affine @ [3, 4, 5, 1], AFFINE @ [SHAPE[0] - 1 - 3, 4, 5, 1])


def test_a_picture_with_text_joins_blackened_when_somebody_has_looked(
    found: dict[str, Proposal], workspace_in_process: Workspace, tmp_path: Path
):
    held_back = found["burned_in_png/case7/US.png"]
    assert held_back.slices == 1 and (tmp_path / "look" / f"{held_back.key}-0000.png").exists()
    choice = Choice(held_back.case, held_back.modality, reviewed=True, blank=((0, 0, 90, 22),))
    report = ingest(workspace_in_process, [tmp_path / "in"], "c", corrections={held_back.key: choice})
    row = next(row for row in report["files"] if row["label"] == held_back.label)
    assert row["fate"] == "warned" and "REVIEWED" in row["codes"]
    volume = Cohort.open(workspace_in_process, "c").read_volume(row["case"], "US")
    upright = volume.data[::-1, ::-1, 0].T
    assert upright[:22].max() == upright.min() and upright[22:].max() > 150


def test_a_glimpse_is_the_image_itself_and_survives_the_disk(found: dict[str, Proposal], tmp_path: Path):
    folder = tmp_path / "look"
    save_proposals(list(found.values()), folder)
    (proposal,) = [p for p in load_proposals(folder) if p.label == "odd/forms/T1.nii"]
    assert proposal == found["odd/forms/T1.nii"]
    glimpse = load_glimpse(folder, proposal)
    assert glimpse is not None and glimpse.steps == (1, 1, 1)
    np.testing.assert_array_equal(glimpse.volume.data, values(206)[::-1])
    assert load_glimpse(folder, found["odd/cut/T1.nii"]) is None


def test_a_large_image_is_glimpsed_on_a_coarser_grid_of_the_same_place(workspace_in_process: Workspace, tmp_path: Path):
    data = values(1, (300, 20, 10))
    nib.save(nib.Nifti1Image(data, AFFINE), tmp_path / "T1.nii")
    (proposal,) = survey(workspace_in_process, [tmp_path / "T1.nii"], "auto", tmp_path / "look")
    glimpse = load_glimpse(tmp_path / "look", proposal)
    assert glimpse is not None and glimpse.steps == (2, 1, 1) and glimpse.volume.data.shape == (150, 20, 10)
    place = glimpse.volume.affine @ [7, 3, 4, 1]
    voxel = np.linalg.inv(AFFINE) @ place
    assert glimpse.volume.data[7, 3, 4] == data[tuple(np.rint(voxel[:3]).astype(int))]
