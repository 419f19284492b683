from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from core.errors import InvalidConfigError
from core.preprocess.grids import Grid, canonical, resample, resample_covered
from core.preprocess.intensity import NormaliseConfig, intensity_range, normalise
from core.preprocess.masks import make_mask
from core.types import Volume
from tests.conftest import phantom_case

MARK = (1, 3, 4)


def marked(axes: str, oblique_degrees: float = 0.0) -> tuple[Volume, np.ndarray]:
    """4 x 5 x 6 voxels of 1 x 2 x 3 mm whose array runs along `axes`, one voxel marked; and where that is in mm."""
    rng = np.random.default_rng(1)
    data = rng.uniform(10, 20, (4, 5, 6)).astype(np.float32)
    data[MARK] = 500
    turn = np.eye(4)
    angle = np.deg2rad(oblique_degrees)
    turn[:3, :3] = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for axis, (letter, size) in enumerate(zip(axes, (1.0, 2.0, 3.0), strict=True)):
        world = "RLAPSI".index(letter) // 2
        affine[world, axis] = size if letter in "RAS" else -size
    affine[:3, 3] = (-11, -24, 39)
    affine = turn @ affine
    return Volume(data, affine, "T1"), (affine @ [*MARK, 1])[:3]


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR", "SAL", "ILA"])
@pytest.mark.parametrize("degrees", [0.0, 17.0])
def test_turning_the_axes_keeps_a_marked_voxel_in_its_place(axes: str, degrees: float) -> None:
    volume, place = marked(axes, degrees)
    turned = canonical(volume)
    assert nib.aff2axcodes(turned.affine) == ("R", "A", "S")
    voxel = np.argwhere(turned.data == 500)[0]
    np.testing.assert_allclose((turned.affine @ [*voxel, 1])[:3], place, atol=1e-9)


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR"])
def test_resampling_moves_a_marked_voxel_by_less_than_half_a_voxel(axes: str) -> None:
    volume, place = marked(axes, 17.0)
    affine = np.diag([0.5, 0.5, 0.5, 1.0])
    affine[:3, 3] = np.round(place) - 8.25
    fine = Grid((34, 33, 32), affine)
    data = resample(volume, fine).data
    weight = np.clip(data - 100, 0, None)
    centre = np.array([np.average(axis, weights=weight) for axis in np.indices(data.shape)])
    assert weight.sum() > 0
    found = (fine.affine @ [*centre, 1])[:3]
    assert np.all(np.abs(found - place) <= 0.5)


def test_the_same_grid_changes_nothing() -> None:
    volume, _ = marked("RAS")
    np.testing.assert_array_equal(resample(volume, Grid((4, 5, 6), volume.affine)).data, volume.data)


def test_linear_resampling_follows_a_ramp_and_never_leaves_its_range() -> None:
    ramp = np.broadcast_to(np.arange(8, dtype=np.float32)[:, None, None] * 2 + 5, (8, 5, 6)).copy()
    volume = Volume(ramp, np.diag([2.0, 1, 1, 1]), "T1")
    grid = Grid((10, 3, 4), np.array([[1.0, 0, 0, 2], [0, 1, 0, 1], [0, 0, 1, 1], [0, 0, 0, 1]]))
    np.testing.assert_allclose(resample(volume, grid).data[:, 1, 1], 5 + np.arange(2, 12), atol=1e-4)


def test_outside_the_image_is_air_in_ct_and_the_least_value_elsewhere() -> None:
    volume, _ = marked("RAS")
    far = Grid((3, 3, 3), np.diag([1.0, 1, 1, 1]) + np.array([[0, 0, 0, 500.0]] + [[0] * 4] * 3))
    assert np.all(resample(volume, far).data == volume.data.min())
    assert np.all(resample(Volume(volume.data, volume.affine, "CT", "HU"), far).data == -1024)
    assert not resample_covered(volume, far)[1].any()


@pytest.mark.parametrize("unit", ["a.u.", "label"])
def test_covered_is_what_lies_within_half_a_voxel_of_the_image(unit: str) -> None:
    volume = Volume(np.full((4, 5, 6), 7, np.float32), np.diag([1.0, 2, 3, 1]), "T1", unit)
    grid = Grid((9, 14, 16), np.array([[1.0, 0, 0, -2.2], [0, 1, 0, -3.3], [0, 0, 1.5, -4.4], [0, 0, 0, 1]]))
    index = np.stack(np.indices(grid.shape), axis=-1) * [1, 1, 1.5] + [-2.2, -3.3, -4.4]
    expected = ((index >= -0.5 * np.array([1, 2, 3])) & (index <= [3.5, 9, 16.5])).all(axis=-1)
    moved, covered = resample_covered(volume, grid)
    np.testing.assert_array_equal(covered, expected)
    np.testing.assert_array_equal(moved.data, np.where(expected | (unit != "label"), 7, 0))


def test_a_label_map_keeps_whole_numbers() -> None:
    data = np.zeros((4, 5, 6), np.float32)
    data[1:3, 1:4, 2:5] = 3
    volume = Volume(data, np.diag([1.0, 2, 3, 1]), "lesion", "label")
    fine = Grid((8, 16, 30), np.diag([0.5, 0.6, 0.6, 1]))
    assert set(np.unique(resample(volume, fine).data)) == {0.0, 3.0}


def test_a_picture_of_one_slice_can_be_resampled_in_its_plane() -> None:
    volume = Volume(np.arange(20, dtype=np.float32).reshape(4, 5, 1) + 3, np.diag([1.0, 2, 1, 1]), "T1")
    grid = Grid((4, 10, 1), np.array([[1.0, 0, 0, 0], [0, 1, 0, -0.5], [0, 0, 1, 0], [0, 0, 0, 1]]))
    moved, covered = resample_covered(volume, grid)
    assert covered.all()
    assert moved.data.max() == pytest.approx(22)


def test_hounsfield_units_and_uptake_have_fixed_windows_mr_its_own_percentiles() -> None:
    config = NormaliseConfig(low=10, high=90)
    data = np.arange(120, dtype=np.float32).reshape(4, 5, 6)
    mask = data >= 20
    inside = data[mask]
    ct, pet = Volume(data, np.eye(4), "CT", "HU"), Volume(data, np.eye(4), "PET", "SUV")
    assert intensity_range(ct, mask, config) == (-1024, 2000)
    assert intensity_range(pet, mask, config) == (0, 15)
    low, high = intensity_range(Volume(data, np.eye(4), "T1"), mask, config)
    assert (low, high) == pytest.approx((np.percentile(inside, 10), np.percentile(inside, 90)))
    scaled = normalise(Volume(data, np.eye(4), "T1"), (low, high), clip=False).data
    np.testing.assert_allclose(scaled * (high - low) + low, data, atol=1e-4)


def test_a_constant_image_is_refused_with_its_modality() -> None:
    flat = Volume(np.full((4, 5, 6), 3, np.float32), np.eye(4), "T2")
    with pytest.raises(InvalidConfigError, match="T2"):
        intensity_range(flat, np.ones((4, 5, 6), bool), NormaliseConfig())


@pytest.mark.parametrize("modality", ["T1", "CT"])
def test_the_body_mask_is_the_body(modality: str) -> None:
    case = phantom_case("case-1", 1)
    truth = case.volumes["CT"].data > -400
    mask, warnings = make_mask(case.volumes[modality], "foreground")
    assert warnings == []
    overlap = 2 * (mask & truth).sum() / (mask.sum() + truth.sum())
    assert overlap > 0.95


def test_a_brain_mask_of_an_extracted_brain_is_its_support_with_holes_closed() -> None:
    data = np.zeros((20, 24, 8), np.float32)
    data[4:16, 5:20, 1:7] = 50
    data[8:11, 9:12, 3:5] = 0
    mask, warnings = make_mask(Volume(data, np.eye(4), "T1"), "brain")
    assert warnings == []
    assert mask.sum() == 12 * 15 * 6


def test_a_head_that_is_taken_for_a_brain_is_warned_of() -> None:
    _, warnings = make_mask(phantom_case("case-1", 1).volumes["T1"], "brain")
    assert warnings == ["BRAIN-NOT-EXTRACTED"]


def test_values_below_a_background_of_zero_do_not_hide_that_a_brain_is_extracted() -> None:
    data = np.zeros((20, 24, 8), np.float32)
    data[4:16, 5:20, 1:7] = 50
    data[3, 5:20, 1:7] = -2
    mask, warnings = make_mask(Volume(data, np.eye(4), "T1"), "brain")
    assert warnings == []
    np.testing.assert_array_equal(mask, data > 0)


def test_more_than_a_brain_is_warned_of_although_the_air_around_it_is_zero() -> None:
    data = np.zeros((20, 24, 8), np.float32)
    data[4:16, 5:20, 1:7] = 50
    for spacing_mm, expected in ((12.0, []), (13.0, ["BRAIN-NOT-EXTRACTED"])):
        _, warnings = make_mask(Volume(data, np.diag([spacing_mm] * 3 + [1]), "T1"), "brain")
        assert warnings == expected
