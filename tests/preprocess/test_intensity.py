"""Scaling: each modality by its own way, and always a way back."""

from __future__ import annotations

import numpy as np
import pytest

from core.cohort import Cohort
from core.dataset import Dataset
from core.errors import InvalidConfigError
from core.prepare import prepare
from core.preprocess.intensity import NormaliseConfig, intensity_range, normalise, scale_doubts
from core.recipes import make_recipe
from core.synthesis import physical_scale, to_unit
from core.types import Volume
from core.workspace import Workspace

SHAPE = (4, 5, 6)
EVERYWHERE = np.ones(SHAPE, bool)


def image(modality: str, unit: str = "a.u.", low: float = 3, high: float = 90) -> Volume:
    data = np.random.default_rng(0).uniform(low, high, SHAPE).astype(np.float32)
    return Volume(data, np.diag([1.0, 2.0, 3.0, 1.0]), modality, unit)


def test_a_z_score_puts_the_mean_in_the_middle_and_comes_back() -> None:
    t1, mask = image("T1"), EVERYWHERE.copy()
    mask[0] = False
    config = NormaliseConfig(mr="z-score", z_reach=4)
    low, high = intensity_range(t1, mask, config)
    scaled = normalise(t1, (low, high), clip=False).data
    inside = t1.data[mask].astype(float)
    z = (t1.data - inside.mean()) / inside.std()
    np.testing.assert_allclose(scaled, (z + 4) / 8, atol=1e-5)
    np.testing.assert_allclose(scaled * (high - low) + low, t1.data, atol=1e-3)


@pytest.mark.parametrize(
    ("volume", "setting", "expected"),
    [
        (image("CT", "HU"), {}, (-1024, 2000)),
        (image("CT", "HU"), {"ct_low": -160, "ct_high": 240}, (-160, 240)),
        (image("PET", "SUV"), {"suv_high": 7}, (0, 7)),
        (image("US"), {}, (0, 255)),
        (image("T1"), {"mr": "none"}, (0, 1)),
        (image("ADC"), {"exceptions": "ADC=none, T2=z-score"}, (0, 1)),
        (image("T1"), {"divide_by": 255}, (0, 255)),
    ],
)
def test_every_modality_goes_the_way_that_the_recipe_says(
    volume: Volume, setting: dict[str, object], expected: tuple[float, float]
) -> None:
    config = make_recipe("generic", {"normalise": setting}).normalise
    assert intensity_range(volume, EVERYWHERE, config) == expected


@pytest.mark.parametrize(
    "kind", [("CT", "HU", "ct"), ("PET", "SUV", "pet"), ("US", "a.u.", "us"), ("T2", "a.u.", "mr")]
)
@pytest.mark.parametrize("method", ["percentiles", "z-score"])
def test_any_modality_may_go_by_its_own_values(kind: tuple[str, str, str], method: str) -> None:
    modality, unit, setting = kind
    volume = image(modality, unit)
    found = intensity_range(
        volume, EVERYWHERE, make_recipe("generic", {setting: method, "low": 1, "high": 98}).normalise
    )
    mean, spread = volume.data.mean(dtype=float), 3 * volume.data.std(dtype=float)
    expected = np.percentile(volume.data, [1, 98]) if method == "percentiles" else (mean - spread, mean + spread)
    np.testing.assert_allclose(found, expected)


def test_a_window_without_a_unit_is_refused_and_a_wrong_exception_too() -> None:
    with pytest.raises(InvalidConfigError, match="not in HU or SUV"):
        intensity_range(image("T1"), EVERYWHERE, NormaliseConfig(exceptions=("T1=window",)))
    for wrong in ("T1=magic", "T1", "=none"):
        with pytest.raises(InvalidConfigError, match="ways are window"):
            make_recipe("generic", {"exceptions": wrong})


def test_what_is_off_the_scale_is_doubted() -> None:
    assert scale_doubts(image("US", high=4000), NormaliseConfig()) == ("NOT-DISPLAY-SCALE",)
    assert scale_doubts(image("T1"), NormaliseConfig(mr="none")) == ("NOT-SCALED",)
    assert scale_doubts(image("T1", low=0, high=1), NormaliseConfig(mr="none")) == ()
    assert scale_doubts(image("US"), NormaliseConfig()) == ()


@pytest.fixture
def by_z_score(workspace: Workspace, cohort: Cohort) -> Dataset:
    """Everything by z-score, CT too, blank outside the mask."""
    config = make_recipe("brain-mr-ct", {"spacing_mm": 0, "mr": "z-score", "ct": "z-score"})
    return prepare(workspace, cohort, "z", config)


def test_a_dataset_keeps_the_way_back_to_every_unit(by_z_score: Dataset, cohort: Cohort) -> None:
    for case_id in by_z_score.case_ids:
        mask = by_z_score.mask(case_id)
        for modality in by_z_score.record(case_id)["modalities"]:
            scale, offset = by_z_score.record(case_id)["scales"][modality]
            scaled = by_z_score.volume(case_id, modality)
            assert scaled[mask].mean() == pytest.approx(0.5, abs=0.02)
            source = cohort.read_volume(case_id, modality).data
            unclipped = mask & (scaled > 0) & (scaled < 1)
            np.testing.assert_allclose((scaled * scale + offset)[unclipped], source[unclipped], rtol=1e-4, atol=0.05)


def test_an_export_in_hounsfield_units_uses_the_scale_of_its_own_case(by_z_score: Dataset, cohort: Cohort) -> None:
    first, second = by_z_score.case_ids[:2]
    assert physical_scale(by_z_score, first, "CT") != physical_scale(by_z_score, second, "CT")
    back = to_unit(by_z_score, first, "CT", np.array(by_z_score.volume(first, "CT")))
    mask = by_z_score.mask(first)
    assert back.unit == "HU"
    np.testing.assert_allclose(
        np.median(back.data[mask]), np.median(cohort.read_volume(first, "CT").data[mask]), atol=1
    )
    assert by_z_score.unit_scale("CT", first) == physical_scale(by_z_score, first, "CT")[0]


def test_blank_stays_zero_however_the_rest_is_scaled(by_z_score: Dataset) -> None:
    for case_id in by_z_score.case_ids:
        assert not by_z_score.slices(case_id).transpose(2, 3, 0, 1)[~by_z_score.mask(case_id)].any()


def test_three_spacings_make_the_grid_and_old_recipes_load(workspace: Workspace, cohort: Cohort) -> None:
    dataset = prepare(workspace, cohort, "d", make_recipe("generic", {"spacing_mm": "2, 3, 1.5"}))
    assert dataset.spacing_mm == (2.0, 3.0, 1.5)
    assert dataset.shape == (10, 16, 12)  # of 20 x 24 x 6 voxels of 1 x 2 x 3 mm
    same_here = prepare(workspace, cohort, "e", make_recipe("generic", {"spacing_mm": [0, 0, 6]}))
    assert same_here.spacing_mm == (1.0, 2.0, 6.0)
    old = make_recipe("generic").model_dump() | {"resample": {"spacing_mm": 2.0, "reference": ""}}
    assert make_recipe("generic", old).resample.spacing_mm == (2.0,)


@pytest.mark.parametrize("wrong", ["1, 2", "30", "-1", "x", [1, 2, 3, 4]])
def test_a_spacing_that_is_none_is_refused(wrong: object) -> None:
    with pytest.raises(InvalidConfigError, match="spacing_mm"):
        make_recipe("generic", {"spacing_mm": wrong})
