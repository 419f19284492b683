"""The alignment check where two images tell little of each other: what stands out from its own error, and what not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import mutual_info_score

from core.alignment import CLEAR_SCORE, Sight, best_shift, check_alignment
from core.cohort import Cohort
from core.information import BINS, BLOCKS, Probe, sure_error
from core.ingest import ingest
from core.preprocess.align import AlignConfig, align_case
from core.preprocess.grids import Grid
from core.preprocess.piece import Piece
from core.types import Volume
from core.workspace import Workspace

SHAPE = (56, 62, 24)


def texture(seed: int, smooth: float = 2.0) -> np.ndarray:
    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(SHAPE), smooth)
    return field / field.std()


def image(data: np.ndarray, modality: str) -> Volume:
    affine = np.diag([2.0, 1.5, 3.0, 1.0])
    affine[:3, 3] = (-50.0, -40.0, -30.0)
    return Volume((100 + 20 * data).astype(np.float32), affine, modality)


def moved(volume: Volume, *shift_mm: float) -> Volume:
    affine = volume.affine.copy()
    affine[:3, 3] += shift_mm
    return volume.with_data(volume.data, affine)


@pytest.fixture(scope="module")
def faint() -> tuple[Volume, Volume]:
    """Two images that share a little, under noise of their own."""
    shared = texture(1)
    return image(shared, "T2W"), image(0.45 * np.abs(shared) + texture(2, 1.0), "ADC")


def test_the_error_of_a_mean_is_the_one_that_statistics_knows() -> None:
    values = np.random.default_rng(0).normal(3, 2, BLOCKS)
    scores = np.array([values.mean(), *((values.sum() - value) / (BLOCKS - 1) for value in values)])
    assert sure_error(scores) == pytest.approx(values.std(ddof=1) / np.sqrt(BLOCKS))


def test_the_score_is_the_normalised_mutual_information(faint: tuple[Volume, Volume]) -> None:
    fixed, moving = faint
    probe = Probe.of(moving, fixed)
    at = (probe.points @ probe.to_index.T)[:, :3]
    values = ndimage.map_coordinates(probe.moving, at.T, order=1, mode="nearest", prefilter=False)
    own, other = probe.bins, np.searchsorted(probe.edges, values, "right")
    entropies = [mutual_info_score(x, x) for x in (own, other)]
    expected = sum(entropies) / (sum(entropies) - mutual_info_score(own, other))
    assert probe.scores()[0] == pytest.approx(expected)
    assert np.bincount(own).min() > 0.5 * len(own) / BINS  # bins of about equal population


def test_what_a_faint_pair_shows_is_enough_for_a_verdict(faint: tuple[Volume, Volume]) -> None:
    fixed, moving = faint
    here = check_alignment(moving, fixed)
    assert here.score < CLEAR_SCORE
    assert here.verdict == "aligned" and here.offset_mm < 1.5
    for away in ((7.0, 0, 0), (0, -7.0, 0), (0, 0, 7.0)):
        check = check_alignment(moved(moving, *away), fixed)
        assert check.verdict == "not aligned"
        np.testing.assert_allclose(check.towards_mm, -np.array(away), atol=1.5)


def test_a_third_of_the_points_says_the_same_of_places_that_are_far_apart() -> None:
    fixed, clear = (image(texture(1, 5.0) + 0.05 * texture(n), m) for n, m in ((2, "T2W"), (3, "T1")))
    for away in ((0.0, 0, 0), (6.0, 0, 0), (0, -6.0, 0)):
        sight = Sight(Probe.of(moved(clear, *away), fixed))
        assert sight.is_clear
        scores = [Sight(sight.probe.thinned(step)).check for step in (1, 3)]
        assert [check.verdict for check in scores] == [sight.check.verdict] * 2
        assert sight.check.verdict == ("not aligned" if any(away) else "aligned")
    assert len(sight.probe.thinned(3).points) == pytest.approx(len(sight.probe.points) / 3, abs=1)
    assert len(sight.probe.thinned(99).points) == len(sight.probe.points)  # too few would be left


def test_an_image_that_moved_is_not_smoothed_again(faint: tuple[Volume, Volume]) -> None:
    fixed, moving = faint
    first = Probe.of(moving, fixed)
    away = moved(moving, 4.0, -3.0, 2.0)
    again = Probe.of_smooth(away, first.moving, fixed)
    assert again.moving is first.moving
    np.testing.assert_array_equal(again.scores(), Probe.of(away, fixed).scores())


def test_images_that_share_nothing_stay_doubtful(faint: tuple[Volume, Volume]) -> None:
    assert check_alignment(image(texture(3), "ADC"), faint[0]).verdict != "aligned"


def test_a_small_field_of_view_within_the_reference_is_no_fault(faint: tuple[Volume, Volume]) -> None:
    fixed, _ = faint
    part = fixed.with_data(fixed.data[14:40, 16:44, 4:20], fixed.affine @ _start(14, 16, 4))
    check = check_alignment(replace(part, modality="T1"), fixed)
    assert check.overlap > 0.95 and check.verdict == "aligned"


def _start(*voxel: int) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = voxel
    return matrix


def test_of_an_ultrasound_only_the_sector_is_looked_at(faint: tuple[Volume, Volume]) -> None:
    fixed, _ = faint
    i, j, _ = np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij")
    sector = (np.abs(i - 28) < 0.45 * j) & (j < 55)
    fan = image(texture(1), "US")
    fan = fan.with_data(np.where(sector, np.maximum(fan.data, 1), 0).astype(np.float32))
    probe = Probe.of(fan, fixed)
    at = np.rint((probe.points @ probe.to_index.T)[:, :3]).astype(int)
    assert len(at) > 3000 and sector[tuple(at.T)].all()


def piece_of(*volumes: Volume) -> Piece:
    fixed = volumes[0]
    grid = Grid((fixed.data.shape[0], fixed.data.shape[1], fixed.data.shape[2]), fixed.affine)
    return Piece(fixed.modality, {volume.modality: volume for volume in volumes}, grid)


def test_a_faint_image_is_shifted_back_and_the_rest_of_its_scan_with_it(faint: tuple[Volume, Volume]) -> None:
    fixed, adc = faint
    adc = moved(adc, 6.0, -5.0, 3.0)
    hbv = Volume(texture(9).astype(np.float32), adc.affine, "HBV")  # tells nothing by itself
    done = align_case(piece_of(fixed, hbv, adc), AlignConfig(mode="auto"))
    found = done.findings["align"]
    assert found["ADC"]["verdict"] == found["HBV"]["verdict"] == "aligned" and found["HBV"]["by"] == "ADC"
    np.testing.assert_array_equal(done.volumes["HBV"].affine, done.volumes["ADC"].affine)
    np.testing.assert_allclose(done.volumes["ADC"].affine, fixed.affine, atol=1.5)
    elsewhere = align_case(piece_of(fixed, moved(hbv, 4.0, 0, 0), adc), AlignConfig(mode="auto"))
    assert "by" not in elsewhere.findings["align"]["HBV"]
    assert elsewhere.warnings["HBV"] in (("ALIGNMENT-DOUBTFUL",), ("NOT-ALIGNED",))


def test_a_faint_image_that_cannot_be_helped_stays_where_it_is(faint: tuple[Volume, Volume]) -> None:
    lost = image(texture(4), "ADC")
    done = align_case(piece_of(faint[0], lost), AlignConfig(mode="rigid"))
    np.testing.assert_array_equal(done.volumes["ADC"].affine, lost.affine)
    assert done.findings["align"]["ADC"]["failed"] == "REGISTER-NO-BETTER"


def test_prostate_maps_get_a_verdict_with_reason(real_data: Path, workspace: Workspace) -> None:
    """ADC of all three patients ends aligned; 5 mm off it never does, and the search names the way back."""
    ingest(workspace, [real_data / "dicom" / "prostate_mpmri"], "prostate")
    cohort = Cohort.open(workspace, "prostate")
    for n, case_id in enumerate(cohort.case_ids):
        volumes = [cohort.read_volume(case_id, modality) for modality in ("T2W", "ADC", "HBV")]
        done = align_case(piece_of(*volumes), AlignConfig(mode="auto"))
        assert {found["verdict"] for found in done.findings["align"].values()} == {"aligned"}
        off = [0.0, 0.0, 0.0]
        off[n % 2] = 5.0
        adc = done.volumes["ADC"]
        check = check_alignment(moved(adc, *off), volumes[0])
        assert check.verdict == "not aligned"
        back = np.array(check.towards_mm) - best_shift(Probe.of(adc, volumes[0]))
        assert np.abs(back + off)[:2].max() < 2.0  # a voxel of ADC
