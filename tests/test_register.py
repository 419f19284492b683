"""Registration and the alignment check, on a made head and on real brains whose truth is known."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from core.alignment import check_alignment
from core.errors import InvalidConfigError
from core.preprocess.align import AlignConfig, align_case
from core.preprocess.grids import Grid, canonical, resample
from core.preprocess.piece import Piece
from core.register import register
from core.types import Affine, Volume

SHAPE, SPACING_MM = (40, 52, 36), (4.0, 3.0, 4.5)


def head(contrast: tuple[float, float, float], modality: str) -> Volume:
    """A lopsided head: shell, body and an off-centre core with two lobes."""
    i, j, k = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    radius = np.sqrt((i / 0.8) ** 2 + (j / 0.9) ** 2 + (k / 0.75) ** 2)
    core = ((i - 0.25) ** 2 + (j + 0.2) ** 2 + k**2 < 0.12) | ((i + 0.3) ** 2 + (j - 0.3) ** 2 + (k - 0.2) ** 2 < 0.05)
    data = np.where(radius < 1, np.where(radius > 0.85, contrast[0], np.where(core, contrast[1], contrast[2])), 5.0)
    noise = np.random.default_rng(len(modality)).normal(0, 3, SHAPE)
    affine = np.diag([*SPACING_MM, 1.0])
    affine[:3, 3] = (-70.0, -90.0, -60.0)
    return Volume((data + noise).astype(np.float32), affine, modality)


@pytest.fixture(scope="module")
def pair() -> tuple[Volume, Volume]:
    return head((90.0, 200.0, 130.0), "T1"), head((60.0, 120.0, 240.0), "T2")


def pushed(volume: Volume, degrees: tuple[float, ...], shift_mm: tuple[float, ...]) -> tuple[Volume, Affine]:
    """The volume turned about the middle of its grid and shifted, and the matrix that did it."""
    centre = (volume.affine @ [*((np.array(volume.data.shape) - 1) / 2), 1])[:3]
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre + shift_mm
    return volume.with_data(volume.data, matrix @ volume.affine), matrix


def target_error_mm(found: Affine, truth: Affine, fixed: Volume) -> float:
    """Mean distance between where a landmark of the body comes to lie and where it belongs."""
    index = np.argwhere(fixed.data > fixed.data.mean())[::97]
    points = fixed.affine @ np.column_stack([index, np.ones(len(index))]).T
    return float(np.linalg.norm((found @ truth @ points - points)[:3], axis=0).mean())


def test_what_was_pushed_away_comes_back(pair: tuple[Volume, Volume]) -> None:
    fixed, moving = pair
    away, truth = pushed(moving, (4.0, -3.0, 5.0), (6.0, -7.0, 3.0))
    found = register(away, fixed)
    assert target_error_mm(found.matrix, truth, fixed) < 1.5  # a third of its voxels
    again = register(away, fixed)
    np.testing.assert_array_equal(found.matrix, again.matrix)


def test_an_affine_registration_finds_a_stretch(pair: tuple[Volume, Volume]) -> None:
    fixed, moving = pair
    stretch = np.diag([1.06, 0.95, 1.0, 1.0])
    found = register(moving.with_data(moving.data, stretch @ moving.affine), fixed, "affine")
    assert target_error_mm(found.matrix, stretch, fixed) < 1.5


def test_images_that_lie_apart_are_refused(pair: tuple[Volume, Volume]) -> None:
    fixed, moving = pair
    away, _ = pushed(moving, (0.0, 0.0, 0.0), (900.0, 0.0, 0.0))
    with pytest.raises(InvalidConfigError, match=r"overlap|astray"):
        register(away, fixed)


@pytest.mark.parametrize(
    ("degrees", "shift", "verdicts"),
    [(0.0, 0.0, {"aligned"}), (0.0, 1.0, {"aligned"}), (0.0, 8.0, {"not aligned"}), (6.0, 0.0, {"not aligned"})],
)
def test_the_check_tells_a_place_from_another(
    pair: tuple[Volume, Volume], degrees: float, shift: float, verdicts: set[str]
) -> None:
    fixed, moving = pair
    away, _ = pushed(moving, (0.0, degrees, 0.0), (shift, 0.0, 0.0))
    assert check_alignment(away, fixed).verdict in verdicts


def test_left_and_right_exchanged_is_noticed(pair: tuple[Volume, Volume]) -> None:
    fixed, moving = pair
    mirrored = moving.with_data(np.ascontiguousarray(moving.data[::-1]))
    check = check_alignment(mirrored, fixed)
    assert check.flipped and check.verdict != "aligned"
    assert not check_alignment(moving, fixed).flipped


def piece_of(*volumes: Volume) -> Piece:
    fixed = volumes[0]
    grid = Grid((fixed.data.shape[0], fixed.data.shape[1], fixed.data.shape[2]), fixed.affine)
    return Piece(fixed.modality, {volume.modality: volume for volume in volumes}, grid)


def test_the_step_moves_by_the_matrix_alone_and_takes_label_maps_along(pair: tuple[Volume, Volume]) -> None:
    fixed, moving = pair
    away, _ = pushed(moving, (0.0, 0.0, 4.0), (5.0, 0.0, -4.0))
    lesion = Volume((away.data > 200).astype(np.float32), away.affine, "lesion", "label")
    done = align_case(piece_of(fixed, away, lesion), AlignConfig(mode="auto"))
    assert done.findings["align"]["T2"]["verdict"] == "aligned"
    assert done.findings["align"]["T2"]["offset_before_mm"] > 3
    np.testing.assert_array_equal(done.volumes["T2"].data, away.data)
    matrix = np.asarray(done.findings["align"]["T2"]["matrix"])
    np.testing.assert_allclose(matrix @ away.affine, done.volumes["T2"].affine, atol=1e-3)
    np.testing.assert_array_equal(done.volumes["lesion"].affine, done.volumes["T2"].affine)
    assert "T2" not in done.warnings


def test_a_check_moves_nothing_and_warns(pair: tuple[Volume, Volume]) -> None:
    fixed, moving = pair
    away, _ = pushed(moving, (0.0, 0.0, 0.0), (9.0, 0.0, 0.0))
    done = align_case(piece_of(fixed, away), AlignConfig(mode="check"))
    np.testing.assert_array_equal(done.volumes["T2"].affine, away.affine)
    assert done.warnings["T2"] == ("NOT-ALIGNED",)
    assert align_case(piece_of(fixed, away), AlignConfig()).findings == {}


def test_a_stretched_image_is_resampled_where_its_matrix_says() -> None:
    data = np.random.default_rng(0).uniform(10, 20, (14, 15, 16)).astype(np.float32)
    data[6:8, 7:9, 4:6] = 500
    affine = np.array([[1.0, 0.25, 0.0, -9], [0.0, 2.0, 0.3, 14], [0.1, 0.0, 3.0, 25], [0, 0, 0, 1]])
    place = (affine @ [6.5, 7.5, 4.5, 1])[:3]
    around = np.eye(4)
    around[:3, 3] = np.round(place) - 12.25
    found = resample(Volume(data, affine, "T1"), Grid((24, 25, 26), around)).data
    weight = np.clip(found - 100, 0, None)
    centre = [np.average(axis, weights=weight) for axis in np.indices(weight.shape)]
    assert np.abs((around @ [*centre, 1])[:3] - place).max() < 0.25


def real(path: Path, modality: str) -> Volume:
    image = nib.nifti1.load(path)
    return canonical(Volume(np.asarray(image.dataobj, np.float32), np.asarray(image.affine, float), modality))


@pytest.mark.parametrize(
    "patient", ["MS26", *(pytest.param(other, marks=pytest.mark.slow) for other in ("MS07", "MS19"))]
)
def test_real_brains_come_back_within_a_millimetre(real_data: Path, patient: str) -> None:
    folder = real_data / "brain_ms_2mm" / patient
    fixed = real(folder / "T1.nii.gz", "T1")
    for n, modality in enumerate(("T2", "FLAIR", "T1POST")):
        moving = real(folder / f"{modality}.nii.gz", modality)
        drawn = np.random.default_rng(n).uniform(-1, 1, 6)
        away, truth = pushed(moving, tuple(5 * drawn[:3]), tuple(8 * drawn[3:]))
        assert check_alignment(moving, fixed).verdict == "aligned"
        assert check_alignment(away, fixed).verdict == "not aligned"
        found = register(away, fixed)
        assert target_error_mm(found.matrix, truth, fixed) < 1.0
        assert check_alignment(found.moved(away), fixed).verdict == "aligned"


@pytest.mark.slow
def test_the_native_patient_is_found_from_two_starts(real_data: Path) -> None:
    folder = real_data / "brain_ms_native" / "MSL04"
    fixed = real(folder / "T1.nii.gz", "T1")
    for modality in ("T2", "FLAIR"):
        moving = real(folder / f"{modality}.nii.gz", modality)
        first = register(moving, fixed).matrix
        away, truth = pushed(moving, (3.0, -2.0, 4.0), (5.0, -6.0, 3.0))
        second = register(away, fixed).matrix @ truth
        assert target_error_mm(second, np.linalg.inv(first), fixed) < 1.0
