"""Faces: a head built from ellipsoids, what is no head or has no face any more, and real images of both kinds."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from core.ingest import ingest
from core.preprocess.deface import face_of
from core.preprocess.faces import shows_face
from core.preprocess.grids import Grid, resample_covered
from core.preprocess.masks import make_mask
from core.types import Volume
from core.workspace import Workspace

SIZE_MM = (216.0, 268.0, 240.0)  # right, front, up
SPACING_MM = (2.0, 1.5, 3.0)
GREY = {"air": 8.0, "soft": 420.0, "bone": 60.0, "brain": 300.0}
HU = {"air": -1000.0, "soft": 40.0, "bone": 900.0, "brain": 35.0}


def places(spacing: tuple[float, ...] = SPACING_MM) -> list[NDArray[np.float64]]:
    """Millimetres to the right, front and up of the middle of the brain."""
    lengths = [np.arange(round(size / step)) * step for size, step in zip(SIZE_MM, spacing, strict=True)]
    starts = (108.0, 130.0, 150.0)
    return np.meshgrid(*[line - start for line, start in zip(lengths, starts, strict=True)], indexing="ij")


def ellipsoid(at: list[NDArray[np.float64]], centre: tuple[float, ...], radii: tuple[float, ...]) -> NDArray[np.bool_]:
    return sum(((x - c) / r) ** 2 for x, c, r in zip(at, centre, radii, strict=True)) < 1


def head(values: dict[str, float] = GREY, unit: str = "a.u.", spacing: tuple[float, ...] = SPACING_MM) -> Volume:
    """Brain, skull and skin; face, nose and neck below; noise."""
    at = places(spacing)
    brain = ellipsoid(at, (0, 0, 0), (66, 82, 62))
    skull = ellipsoid(at, (0, 0, 0), (73, 89, 69))
    skin = ellipsoid(at, (0, 0, 0), (79, 96, 75)) | ellipsoid(at, (0, 22, -70), (58, 66, 66))
    skin |= ellipsoid(at, (0, 88, -62), (15, 24, 22)) | (np.hypot(at[0], at[1] + 30) < 55) & (at[2] < -60)
    tissue = np.select([brain, skull, skin], [values["brain"], values["bone"], values["soft"]], values["air"])
    noise = np.random.default_rng(0).normal(0, 4, tissue.shape)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [x[0, 0, 0] for x in at]
    return Volume((tissue + noise).astype(np.float32), affine, "CT" if unit == "HU" else "T1", unit)


def changed(volume: Volume, data: NDArray[np.float64]) -> Volume:
    return volume.with_data(data.astype(np.float32))


def test_a_whole_head_shows_a_face_in_mr_and_in_ct():
    assert shows_face(head())
    assert shows_face(head(HU, "HU"))


@pytest.mark.parametrize(
    "spacing", [(1.0, 1.0, 1.0), (0.9, 0.9, 6.0), (5.0, 1.0, 1.0), (1.1, 4.0, 1.2), (2.4, 2.4, 2.4)]
)
def test_it_does_so_at_every_usual_voxel_size(spacing):
    assert shows_face(head(spacing=spacing))


def test_the_holder_of_a_head_in_ct_does_not_hide_it():
    at, ct = places(), head(HU, "HU")
    shell = (np.hypot(at[0], at[1] + 10) > 106) & (np.hypot(at[0], at[1] + 10) < 109) & (at[1] < 0)
    assert shows_face(changed(ct, np.where(shell, 300.0, ct.data)))


@pytest.mark.parametrize("start", [(-9, -12, -6), (-30, -4, 3)], ids=["all around", "and cut below"])
def test_what_pads_a_head_widens_no_mask_and_hides_no_face(start):
    """The air of the image is noise, that of its padding one value."""
    mr = head()
    affine = mr.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ start
    i, j, k = np.array(mr.data.shape) - start + (8, 10, 5)
    padded, covered = resample_covered(mr, Grid((int(i), int(j), int(k)), affine))
    assert covered.mean() < 0.75
    own = mr.with_data(np.ascontiguousarray(mr.data[:, :, max(0, start[2]) :]))
    for method in ("foreground", "brain"):
        mask, doubts = make_mask(padded, method, covered)
        expected, expected_doubts = make_mask(own, method)
        np.testing.assert_array_equal(mask[covered], expected.ravel())
        assert not mask[~covered].any() and doubts == expected_doubts
    assert shows_face(padded, covered)


@pytest.mark.parametrize("degrees", [-40, 40])
def test_a_tilted_grid_hides_no_face_and_shows_none_where_it_was_removed(degrees):
    at, mr, turn = places(), head(), np.radians(degrees)
    affine = np.eye(4)
    affine[1:3, 1:3] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    affine = affine @ np.diag([2.0, 1.5, 2.5, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ [59, 119, 69] + (0, 0, -30)
    grid = Grid((120, 240, 140), affine)
    face = face_of(ellipsoid(at, (0, 0, 0), (66, 82, 62)), mr.affine, 8.0)
    assert shows_face(*resample_covered(mr, grid))
    assert not shows_face(*resample_covered(changed(mr, np.where(face, 0.0, mr.data)), grid))


def test_background_that_is_exactly_zero_is_not_taken_for_an_extracted_brain():
    mr = head()
    assert shows_face(changed(mr, np.where(mr.data < 40, 0.0, mr.data)))


def test_a_stack_of_sagittal_slices_cuts_the_ears_off_and_shows_the_face():
    mr = head(spacing=(4.0, 1.0, 1.0))
    assert shows_face(mr.with_data(np.ascontiguousarray(mr.data[12:-12])))


def test_a_body_below_the_head_does_not_hide_it():
    at, ct = places(), head(HU, "HU")
    shoulders = (at[2] < -120) & (np.hypot(at[0] / 106, at[1] / 100) < 1)
    tall = np.concatenate([np.repeat(np.where(shoulders, 40.0, ct.data)[:, :, :1], 60, axis=2), ct.data], axis=2)
    assert shows_face(changed(ct, tall))


def test_an_extracted_brain_shows_none():
    at, mr = places(), head()
    brain = ellipsoid(at, (0, 0, 0), (66, 82, 62))
    assert not shows_face(changed(mr, np.where(brain, mr.data, 0.0)))


def test_a_head_whose_face_the_face_step_removed_shows_none():
    at, mr = places(), head()
    face = face_of(ellipsoid(at, (0, 0, 0), (66, 82, 62)), mr.affine, 8.0)
    assert not shows_face(changed(mr, np.where(face, 0.0, mr.data)))


def test_slices_above_the_eyes_show_none():
    mr = head()
    assert not shows_face(mr.with_data(np.ascontiguousarray(mr.data[:, :, 45:])))


def test_an_average_of_many_heads_shows_none():
    mr = head()
    assert not shows_face(changed(mr, ndimage.gaussian_filter(mr.data, [10 / 2.355 / size for size in SPACING_MM])))


@pytest.mark.parametrize("width", [75.0, 160.0], ids=["limb", "trunk"])
def test_what_does_not_close_towards_its_top_shows_none(width):
    at = places()
    inside = np.hypot(at[0] / min(width, 100), at[1] / 80) < 1 - 0.0005 * at[2]
    data = np.where(inside, 400.0, 8.0) + np.random.default_rng(1).normal(0, 4, at[0].shape)
    assert not shows_face(Volume(data.astype(np.float32), np.diag([*SPACING_MM, 1.0]), "T1"))


def test_label_maps_pictures_and_uptake_show_none():
    mr = head()
    for modality, unit in (("mask", "label"), ("PET", "SUV"), ("US", "a.u.")):
        assert not shows_face(Volume(np.rint(mr.data), mr.affine, modality, unit))
    assert not shows_face(mr.with_data(np.ascontiguousarray(mr.data[:, :, 40:41])))


def test_the_import_tells_by_code_and_sentence_and_the_case_keeps_it(workspace: Workspace, tmp_path: Path):
    mr = head(spacing=(3.0, 2.0, 4.0))
    nib.save(nib.Nifti1Image(mr.data, mr.affine), tmp_path / "T1.nii.gz")
    report = ingest(workspace, [tmp_path / "T1.nii.gz"], "heads")
    (row,), (case,) = report["files"], report["cases"]
    assert (row["fate"], row["codes"]) == ("warned", ["FACE-VISIBLE"])
    assert "face" in row["message"] and "Prepare can remove it" in row["message"]
    assert case["volumes"]["T1"]["warnings"] == ["FACE-VISIBLE"]


@pytest.mark.data
@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("brain_ms_native/MSL04", {"T1": True, "T2": True, "FLAIR": True}),
        ("brain_ms_2mm/MS07", dict.fromkeys(["T1", "T1POST", "T2", "FLAIR"], False)),
        ("brain_ms_mni/MS19", dict.fromkeys(["T1", "T2", "FLAIR"], False)),
        ("brain_stroke/STROKE01", dict.fromkeys(["T1", "T2", "FLAIR"], False)),
        ("templates_mni_2mm", dict.fromkeys(["T1", "T2", "PD", "EPI", "PET", "SPECT"], False)),
    ],
)
def test_real_heads_are_told_from_brains_and_averages(folder: str, expected: dict[str, bool], real_data: Path):
    found = {}
    for modality in expected:
        image = nib.as_closest_canonical(nib.load(real_data / folder / f"{modality}.nii.gz"))
        found[modality] = shows_face(Volume(image.get_fdata(dtype=np.float32), image.affine, modality))
    assert found == expected


@pytest.mark.data
@pytest.mark.parametrize("name", ["PX0000", "PX0001", "PX0218"])
def test_a_prostate_shows_none(name: str, real_data: Path, workspace: Workspace):
    report = ingest(workspace, [real_data / "dicom" / "prostate_mpmri" / name], "p")
    assert {row["fate"] for row in report["files"]} <= {"accepted", "warned"}
    assert "FACE-VISIBLE" not in str(report)
