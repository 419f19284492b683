"""Evenness, brain, face, tissue, crop and outliers: each against what is known by construction or of real heads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from core.errors import RefusedError
from core.preprocess.bias import BiasConfig, correct, correct_case
from core.preprocess.brain import extract_brain
from core.preprocess.crop import CropConfig, crop_case
from core.preprocess.deface import DefaceConfig, deface_case, face_of
from core.preprocess.faces import shows_face
from core.preprocess.grids import Grid, canonical, resample_covered
from core.preprocess.masks import make_mask
from core.preprocess.piece import Piece
from core.preprocess.repair import RepairConfig, repair_case
from core.preprocess.tissue import BONE, CSF, GREY, SOFT, WHITE, TissueConfig, brain_tissue, label_case
from core.types import Volume


def piece_of(*volumes: Volume, mask: np.ndarray | None = None) -> Piece:
    first = volumes[0]
    i, j, k = first.data.shape
    everywhere = np.ones(first.data.shape, bool)
    covered = {volume.modality: everywhere for volume in volumes}
    grid = Grid((i, j, k), first.affine)
    named = {volume.modality: volume for volume in volumes}
    return Piece(first.modality, named, grid, covered, everywhere if mask is None else mask)


def ball(shape: tuple[int, int, int] = (44, 50, 40)) -> tuple[np.ndarray, np.ndarray]:
    """Classes 0 outside, 1 shell, 2 middle, 3 core of a ball; and its relative radius."""
    i, j, k = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    radius = np.sqrt(i**2 + j**2 + k**2)
    return np.select([radius < 0.45, radius < 0.7, radius < 0.9], [3, 2, 1], 0), radius


def test_a_known_drift_is_taken_out_again() -> None:
    classes, _ = ball()
    i, j, _ = np.meshgrid(*[np.linspace(-1, 1, n) for n in classes.shape], indexing="ij")
    field = np.exp(0.35 * i + 0.25 * j)
    clean = np.choose(classes, [0.0, 200.0, 500.0, 800.0])
    noisy = clean * field + np.random.default_rng(0).normal(0, 4, clean.shape)
    even = correct(Volume(noisy.astype(np.float32), np.diag([4.0, 4.0, 4.0, 1.0]), "T1")).data
    for tissue in (2, 3):
        before, after = (float(np.std(x[classes == tissue]) / np.mean(x[classes == tissue])) for x in (noisy, even))
        assert after < 0.3 * before


def test_a_drift_is_taken_out_by_the_body_alone_where_noise_is_padded() -> None:
    classes, _ = ball()
    i = np.linspace(-1, 1, classes.shape[0])[:, None, None]
    drifting = np.choose(classes, [0.0, 200.0, 500.0, 800.0]) * np.exp(0.5 * i)
    noisy = np.abs(drifting + np.random.default_rng(0).normal(0, 60, classes.shape)).astype(np.float32)
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = -24
    own = Volume(noisy, np.diag([4.0, 4.0, 4.0, 1.0]), "T1")
    padded, covered = resample_covered(own, Grid((54, 60, 49), affine))
    piece = replace(piece_of(padded), covered={"T1": covered})
    even = correct_case(piece, BiasConfig(enabled=True)).volumes["T1"].data
    assert np.ptp(even[~covered]) == 0
    inside = even[covered].reshape(classes.shape)
    for tissue in (2, 3):
        before, after = (float(np.std(x[classes == tissue]) / np.mean(x[classes == tissue])) for x in (noisy, inside))
        assert after < 0.75 * before


def test_an_extracted_brain_is_still_one_after_its_drift_is_taken_out() -> None:
    """Interpolation rang below 0 at its edge: the emptiness around it stays exactly 0."""
    classes, _ = ball()
    data = np.choose(classes, [0, 200, 500, 800]).astype(np.float32)
    data[5, 20:30, 15:25] = -3
    even = correct(Volume(data, np.diag([3.0, 2.0, 4.0, 1.0]), "T1"))
    np.testing.assert_array_equal(even.data == 0, data == 0)
    mask, warnings = make_mask(even, "brain")
    assert warnings == []
    np.testing.assert_array_equal(mask, classes > 0)


def test_measured_values_keep_their_drift() -> None:
    data = np.random.default_rng(0).uniform(1, 9, (20, 20, 20)).astype(np.float32)
    piece = piece_of(Volume(data, np.eye(4), "CT", "HU"), Volume(data, np.eye(4), "ADC"))
    done = correct_case(piece, BiasConfig(enabled=True))
    assert all(np.array_equal(volume.data, data) for volume in done.volumes.values())


@pytest.mark.parametrize(
    ("order", "levels"), [((CSF, GREY, WHITE), (0, 30, 80, 130)), ((WHITE, GREY, CSF), (0, 130, 80, 30))]
)
def test_three_tissues_are_told_apart_by_brightness(order: tuple[int, int, int], levels: tuple[int, ...]) -> None:
    classes, _ = ball()
    data = np.choose(classes, levels) + np.random.default_rng(0).normal(0, 6, classes.shape)
    found = brain_tissue(data.astype(np.float32), classes > 0, order)
    for tissue in (CSF, GREY, WHITE):
        here, there = found == tissue, classes == tissue
        assert 2 * (here & there).sum() / (here.sum() + there.sum()) > 0.85
    assert not found[classes == 0].any()


def test_ct_is_parted_by_hounsfield_units() -> None:
    data = np.full((4, 5, 6), 40, np.float32)
    data[0], data[1] = -900, 700
    done = label_case(piece_of(Volume(data, np.eye(4), "CT", "HU")), TissueConfig(enabled=True))
    classes = done.volumes["tissue_ct"].data
    assert (classes[1] == BONE).all() and (classes[2:] == SOFT).all() and done.volumes["tissue_ct"].is_label


@pytest.mark.parametrize("size_mm", [6.0, 60.0])
def test_a_cropped_voxel_keeps_its_millimetres(size_mm: float) -> None:
    data = np.random.default_rng(0).uniform(1, 9, (7, 8, 9)).astype(np.float32)
    data[5, 2, 6] = 99
    affine = np.array([[0.9, 0.1, 0, -9], [-0.1, 1.9, 0, 14], [0, 0, 3.0, 25], [0, 0, 0, 1]])
    mask = np.zeros(data.shape, bool)
    mask[4:7, 1:4, 5:8] = True
    done = crop_case(piece_of(Volume(data, affine, "T1"), mask=mask), CropConfig(size_mm=size_mm))
    cut = done.volumes["T1"]
    assert cut.data.shape == done.grid.shape == done.mask.shape == done.covered["T1"].shape
    voxel = np.argwhere(cut.data == 99)[0]
    np.testing.assert_allclose(cut.affine @ [*voxel, 1], affine @ [5, 2, 6, 1])
    assert done.mask.sum() == (mask.sum() if size_mm > 20 else done.mask.sum()) and done.mask.any()


def test_a_hot_voxel_is_cut_and_counted_and_others_are_left() -> None:
    data = np.random.default_rng(0).normal(100, 10, (20, 20, 20)).astype(np.float32)
    hot = data.copy()
    hot[3, 4, 5] = 90_000
    done = repair_case(piece_of(Volume(hot, np.eye(4), "T1")), RepairConfig(enabled=True))
    assert done.findings["repair"] == {"T1": 1} and done.warnings["T1"] == ("OUTLIERS-CUT",)
    changed = done.volumes["T1"].data != hot
    assert changed.sum() == 1 and done.volumes["T1"].data.max() < 300
    calm = repair_case(piece_of(Volume(data, np.eye(4), "T1")), RepairConfig(enabled=True))
    assert not calm.warnings and np.array_equal(calm.volumes["T1"].data, data)


def test_the_face_lies_before_and_below_the_brain_and_never_in_it() -> None:
    brain = np.zeros((40, 50, 40), bool)
    _, radius = ball((30, 36, 22))
    brain[5:35, 8:44, 14:36] = radius < 0.95
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    face = face_of(brain, affine, 8.0)
    assert face[20, 46, 4] and not face[20, 4, 4] and not face[20, 46, 38]
    assert not (face & brain).any()


def test_a_brain_that_is_cut_below_its_middle_says_nothing_of_the_face() -> None:
    _, radius = ball((30, 36, 22))
    brain = np.zeros((40, 50, 40), bool)
    brain[5:35, 8:44, 14:36] = radius < 0.95
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    assert face_of(brain[:, :, :32], affine, 8.0).any()  # the vertex may lack
    with pytest.raises(RefusedError) as caught:
        face_of(brain[:, :, :24], affine, 8.0)
    assert caught.value.code == "DEFACE-CUT"


def test_a_head_without_a_brain_to_go_by_is_refused_and_a_brain_alone_is_left() -> None:
    _, radius = ball()
    head = Volume(np.where(radius < 0.95, 40, -1000).astype(np.float32), np.diag([5.0, 5.0, 5.0, 1.0]), "CT", "HU")
    with pytest.raises(RefusedError) as caught:
        deface_case(piece_of(head), DefaceConfig(enabled=True))
    assert caught.value.code == "DEFACE-NO-BRAIN"
    brain = replace(head, affine=np.diag([3.0, 3.0, 3.0, 1.0]))
    assert deface_case(piece_of(brain), DefaceConfig(enabled=True)).volumes["CT"] is brain


def read(path: Path, modality: str) -> Volume:
    image = nib.nifti1.load(path)
    return Volume(np.asarray(image.dataobj, np.float32), np.asarray(image.affine, float), modality)


def test_a_real_head_gives_its_brain_and_loses_its_face(real_data: Path) -> None:
    head = read(real_data / "brain_ms_native" / "MSL04" / "T1.nii.gz", "T1")
    brain = extract_brain(head)
    assert brain is not None and brain.shape == head.data.shape
    assert 1000 < brain.sum() * np.prod(head.spacing_mm) / 1000 < 1800
    turned = canonical(head)
    again = extract_brain(turned)
    np.testing.assert_array_equal(canonical(head.with_data(brain.astype(np.float32))).data > 0, again)
    piece = piece_of(turned).warned("T1", "FACE-VISIBLE", "NO-SPACING")
    done = deface_case(piece, DefaceConfig(enabled=True))
    assert done.warnings == {"T1": ("NO-SPACING",)} and shows_face(turned) and not shows_face(done.volumes["T1"])
    removed = done.volumes["T1"].data != turned.data
    assert not (removed & again).any()
    assert 0.02 < done.findings["deface"]["removed_share"] < 0.3
    points = np.argwhere(removed) @ turned.affine[:3, :3].T + turned.affine[:3, 3]
    centre = np.argwhere(again).mean(axis=0) @ turned.affine[:3, :3].T + turned.affine[:3, 3]
    assert (points[:, 2] < centre[2]).all() and np.median(points[:, 1]) > centre[1]
