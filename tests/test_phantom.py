"""One generated person: what the labels say is what the images show."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from core.phantom import Head, build_head, draw_person, labels_of, volumes_of
from core.phantom.head import ASSET
from core.phantom.physics import RELAXATION, SEQUENCES, ct_image, mr_image, pet_image

MODALITIES = ("T1", "T2", "FLAIR", "CT", "PET", "US")
WITH_LESION, WITHOUT = (1, 0) if draw_person(0, 1, "medium").lesion else (0, 1)
MILLILITRE_PER_VOXEL = 0.008


@pytest.fixture(scope="module")
def ill() -> Head:
    return build_head(draw_person(0, WITH_LESION, "medium"))


@pytest.fixture(scope="module")
def volumes(ill: Head) -> dict[str, Any]:
    return volumes_of(ill)


@pytest.fixture(scope="module")
def well() -> Head:
    return build_head(draw_person(0, WITHOUT, "medium"))


def core_of(volumes: dict[str, Any], tissue: int) -> np.ndarray:
    """Voxels of a tissue whose neighbours are all of it, away from the lesion."""
    mask = ndimage.binary_erosion(volumes["tissue"].data == tissue)
    return mask & ~ndimage.binary_dilation(volumes["lesion"].data > 0, iterations=6)


def test_everything_lies_on_one_grid_of_two_millimetres(volumes):
    assert set(volumes) == {*MODALITIES, "tissue", "lesion", "US_fov"}
    for volume in volumes.values():
        assert volume.data.shape == (96, 112, 88)
        assert volume.data.dtype == np.float32
        assert np.isfinite(volume.data).all()
        assert volume.spacing_mm == (2.0, 2.0, 2.0)
        np.testing.assert_array_equal(volume.affine, volumes["T1"].affine)
    assert {name for name, volume in volumes.items() if volume.is_label} == {"tissue", "lesion", "US_fov"}


def test_left_and_right_front_and_back_are_where_the_affine_says(volumes):
    """The globes lie in front and below, the cerebellum behind and below; both are found by their own look."""
    where = volumes["T1"].affine[:3, 3]
    eyes = np.argwhere(volumes["tissue"].data == 1) * 2.0 + where
    eyes = eyes[(eyes[:, 1] > 50) & (eyes[:, 2] < -28) & (abs(eyes[:, 0]) > 22)]
    assert (eyes[:, 0] > 0).sum() * MILLILITRE_PER_VOXEL > 2
    assert (eyes[:, 0] < 0).sum() * MILLILITRE_PER_VOXEL > 2
    brain = np.argwhere(np.isin(volumes["tissue"].data, (2, 3))) * 2.0 + where
    low = brain[brain[:, 2] < -45]
    assert np.median(low[:, 1]) < -40


def test_the_same_person_twice_is_the_same_to_the_last_bit(ill, volumes):
    again = volumes_of(build_head(draw_person(0, WITH_LESION, "medium")))
    for name, volume in volumes.items():
        np.testing.assert_array_equal(volume.data, again[name].data)


def test_the_lesion_has_the_volume_and_place_that_the_labels_say(ill, volumes):
    labels = labels_of(ill)
    mask = volumes["lesion"].data > 0
    assert labels["lesion_volume_ml"] == pytest.approx(mask.sum() * MILLILITRE_PER_VOXEL, abs=1e-3)
    assert labels["lesion_volume_ml"] == pytest.approx(ill.person.lesion.target_ml, rel=0.02)
    centre = (volumes["lesion"].affine @ [*np.argwhere(mask).mean(axis=0), 1])[:3]
    np.testing.assert_allclose([labels[f"lesion_{axis}_mm"] for axis in "xyz"], centre, atol=0.01)


def test_a_person_without_a_lesion_has_an_empty_map_and_no_place(well):
    labels = labels_of(well)
    assert not well.lesion_mask.any()
    assert (labels["lesion_present"], labels["lesion_volume_ml"]) == (0.0, 0.0)
    assert "lesion_x_mm" not in labels


def test_of_each_two_people_one_has_a_lesion():
    for seed in range(5):
        ill = [draw_person(seed, number, "easy").lesion is not None for number in range(24)]
        assert all(ill[number] != ill[number + 1] for number in range(0, 24, 2))


def test_ventricles_grow_with_their_factor_and_nothing_else_moves(well):
    sizes = {well.person.ventricle_growth_mm: labels_of(well)["ventricle_volume_ml"]}
    for growth in (-1.0, 4.5):
        head = build_head(replace(well.person, ventricle_growth_mm=growth))
        sizes[growth] = labels_of(head)["ventricle_volume_ml"]
        far = well.ventricle_mm > 60
        np.testing.assert_allclose(head.envelope_mm[far], well.envelope_mm[far], atol=1e-4)
    ordered = [sizes[growth] for growth in sorted(sizes)]
    assert ordered == sorted(ordered)
    assert ordered[-1] > 2 * ordered[0]


def test_atrophy_turns_grey_matter_into_fluid(well):
    worn, young = (labels_of(build_head(replace(well.person, atrophy=value))) for value in (0.9, 0.0))
    assert worn["csf_volume_ml"] > 1.2 * young["csf_volume_ml"]
    assert worn["brain_volume_ml"] < 0.95 * young["brain_volume_ml"]
    assert worn["ventricle_volume_ml"] == young["ventricle_volume_ml"]


def test_tissues_have_their_hounsfield_units(volumes):
    hounsfield = {tissue: np.median(volumes["CT"].data[core_of(volumes, tissue)]) for tissue in range(5)}
    assert hounsfield[0] < -990
    assert 0 <= hounsfield[1] <= 15
    assert 34 <= hounsfield[2] <= 42
    assert 24 <= hounsfield[3] <= 33
    assert 400 <= hounsfield[4] <= 1600


def test_each_sequence_orders_the_tissues_as_a_scanner_does(volumes):
    def level(modality: str, tissue: int) -> float:
        return float(np.median(volumes[modality].data[core_of(volumes, tissue)]))

    fluid, grey, white = 1, 2, 3
    assert level("T1", fluid) < level("T1", grey) < level("T1", white)
    assert level("T2", white) < level("T2", grey) < level("T2", fluid)
    assert level("FLAIR", fluid) < 0.3 * level("FLAIR", white) < level("FLAIR", grey)
    assert level("PET", grey) > 1.5 * level("PET", white)


def test_flair_cancels_fluid_and_shows_the_lesion():
    signal = {name: SEQUENCES["FLAIR"](tissue) for name, tissue in RELAXATION.items()}
    assert signal["csf"] < 0.1 * signal["white"]
    assert signal["lesion"] > 1.3 * signal["grey"] > 1.3 * signal["white"]


def test_a_lesion_that_t1_does_not_show_leaves_t1_as_it_was(ill):
    lesion = ill.person.lesion
    hidden, shown, none = (
        replace(ill, person=replace(ill.person, lesion=changed))
        for changed in (
            replace(lesion, seen_on_t1=False),
            replace(lesion, seen_on_t1=True),
            replace(lesion, contrast=0.0),
        )
    )
    np.testing.assert_array_equal(mr_image(hidden, "T1"), mr_image(none, "T1"))
    inside = ill.lesion_mask
    assert mr_image(shown, "T1")[inside].mean() < 0.9 * mr_image(none, "T1")[inside].mean()
    assert mr_image(hidden, "FLAIR")[inside].mean() > 1.2 * mr_image(none, "FLAIR")[inside].mean()


def test_calcium_and_uptake_are_private_to_ct_and_pet(well):
    plain = replace(well, person=replace(well.person, calcification_hu=0.0, pet_focus_gain=1.0))
    special = replace(well, person=replace(well.person, calcification_hu=300.0, pet_focus_gain=2.0))
    np.testing.assert_array_equal(mr_image(plain, "T2"), mr_image(special, "T2"))
    more_calcium = ct_image(special) - ct_image(plain)
    assert 100 < more_calcium.max() <= 301
    assert (more_calcium > 20).sum() * MILLILITRE_PER_VOXEL < 3
    assert (pet_image(special) - pet_image(plain)).max() > 2.0


def test_ultrasound_is_a_sector_inside_the_skull_that_holds_the_lesion(volumes):
    seen = volumes["US_fov"].data > 0
    assert (volumes["US"].data[~seen] == 0).all()
    assert (volumes["US"].data[seen] >= 1).all()
    assert volumes["US"].data.max() <= 255
    assert (volumes["tissue"].data[seen] == 4).mean() < 0.03
    assert seen[volumes["lesion"].data > 0].mean() > 0.6
    assert 100 < seen.sum() * MILLILITRE_PER_VOXEL < 900


def test_fluid_is_dark_and_the_lesion_bright_in_ultrasound(volumes):
    seen = volumes["US_fov"].data > 0
    picture = volumes["US"].data
    brain = np.median(picture[seen & core_of(volumes, 3)])
    assert np.median(picture[seen & core_of(volumes, 1)]) < 0.6 * brain
    assert np.median(picture[seen & (volumes["lesion"].data > 0)]) > 1.15 * brain


def test_levels_are_ordered_for_every_person():
    for number in range(12):
        easy, medium, hard = (draw_person(3, number, level) for level in ("easy", "medium", "hard"))
        for nuisance in ("mr_noise", "bias_amplitude", "ct_noise_hu", "us_speckle"):
            values = [getattr(person, nuisance) for person in (easy, medium, hard)]
            assert values == sorted(values)
        assert easy.pet_counts > medium.pet_counts > hard.pet_counts
        if easy.lesion:
            assert easy.lesion.contrast > hard.lesion.contrast


def test_the_anatomy_is_small_and_comes_with_its_notice():
    assert ASSET.stat().st_size < 2_000_000
    assert "Permission to use, copy, modify, and distribute" in ASSET.with_name("NOTICE.md").read_text()
