"""Where the voxels that count lie: regions of label maps in millimetres, CT by SynthRAD's limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.compare import compare_case
from core.dataset import Dataset
from core.dataset_writer import DatasetWriter
from core.evaluate import evaluate
from core.judging import CaseJudge, judged_mask
from core.metrics import ms_ssim, psnr
from core.regions import LESION_MARGIN_MM, regions_of
from core.synthrad import LIMITS_HU, SynthRad, limits_words
from tests.tiny_run import HU, SHAPE, load_tiny, prepared_case, tiny

__all__ = ["tiny"]
LESION_VOXEL = (8, 9, 3)


@pytest.fixture
def labelled(workspace) -> Dataset:
    """Cases with a lesion of one voxel, two tissues and one bone voxel; voxels are lopsided."""
    writer = DatasetWriter(workspace, "labelled")
    for n in range(3):
        case = prepared_case(f"case-{n}", n)
        lesion, tissue = np.zeros((2, *SHAPE), np.uint8)
        lesion[LESION_VOXEL] = 1
        tissue[:9], tissue[9:], tissue[0, 0, 0] = 2, 3, 4
        maps = {"lesion": lesion, "tissue": tissue, "unknown": tissue}
        writer.add(replace(case, label_maps=maps))
    return writer.finish("labelled", {}, simulated=True)


def test_a_lesion_is_judged_with_five_millimetres_around_it(labelled):
    mask = judged_mask(labelled, "case-0", "T2")
    steps = (np.indices(SHAPE) - np.array(LESION_VOXEL)[:, None, None, None]) * np.array(labelled.spacing_mm)[
        :, None, None, None
    ]
    expected = (np.sqrt((steps**2).sum(0)) <= LESION_MARGIN_MM) & mask
    assert 20 < expected.sum() < mask.sum() / 4
    np.testing.assert_array_equal(regions_of(labelled, "case-0", mask)["lesion"], expected)


def test_tissues_are_judged_inside_the_mask_and_specks_and_unnamed_classes_are_not(labelled):
    mask = judged_mask(labelled, "case-0", "T2")
    regions = regions_of(labelled, "case-0", mask)
    assert set(regions) == {"lesion", "grey matter", "white matter"}
    assert regions["grey matter"].sum() == mask[:9].sum()
    np.testing.assert_array_equal(regions["grey matter"] | regions["white matter"], mask)


def test_regional_errors_are_told_in_hounsfield_units(labelled, tiny):
    mask = judged_mask(labelled, "case-0", "CT")
    truth = np.array(labelled.volume("case-0", "CT"))
    found = CaseJudge(labelled, "case-0", "CT", mask).scores(truth + np.float32(0.01) * (np.indices(SHAPE)[0] < 9))
    assert found["mae@grey matter"] == pytest.approx(0.01 * HU[0], rel=1e-4)
    assert found["mae@white matter"] == pytest.approx(0, abs=1e-3)
    assert found["psnr@grey matter"] == pytest.approx(40, abs=1e-2)


@pytest.mark.parametrize(("edition", "high"), [("SynthRAD2023", 3000), ("SynthRAD2025", 3071)])
def test_synthrad_clips_to_its_limits_and_takes_its_range_from_them(edition, high):
    rng = np.random.default_rng(0)
    truth = rng.uniform(-1500, 3500, SHAPE).astype(np.float32)
    synthesis = (truth + rng.normal(0, 200, SHAPE)).astype(np.float32)
    mask = np.indices(SHAPE)[1] > 2
    found = SynthRad(truth, mask, edition).scores(synthesis)
    a, b = (np.clip(image, -1024, high) for image in (synthesis, truth))
    assert found[f"mae@{edition}"] == pytest.approx(np.abs(a - b)[mask].mean(), rel=1e-5)
    assert found[f"psnr@{edition}"] == pytest.approx(psnr(a, b, mask, high + 1024), abs=1e-4)
    assert found[f"ms_ssim@{edition}"] == pytest.approx(ms_ssim(a + 1024, b + 1024, mask, high + 1024), abs=1e-6)
    assert LIMITS_HU[edition] == (-1024, high)


def test_the_limits_are_told_and_what_was_cut_before():
    minus = "\N{MINUS SIGN}"
    assert f"SynthRAD2023: both images are clipped to {minus}1024 to 3000 HU" in limits_words("SynthRAD2023")
    recipe = {"normalise": {"ct": "window", "clip": True, "ct_low": -1024.0, "ct_high": 2000.0}}
    assert f"cut to {minus}1024 to 2000 HU already" in limits_words(recipe=recipe)
    for changes in ({"clip": False}, {"ct": "percentiles"}, {"ct_high": 3071.0}):
        assert "already" not in limits_words(recipe={"normalise": {**recipe["normalise"], **changes}})


def test_evaluation_and_comparison_tell_the_same_of_regions_and_by_synthrad(labelled, tiny, workspace):
    loaded = load_tiny(workspace, labelled)
    rows = evaluate(loaded, ["case-0"], with_baselines=False)["rows"]
    row = next(row for row in rows if row["given"] == ["T1"] and row["target"] == "CT")
    found = compare_case(loaded, "case-0", ["T1"], "CT").metrics
    assert {"mae@lesion", "ssim@grey matter", "mae@SynthRAD2025", "ms_ssim@SynthRAD2025"} <= set(found)
    assert found == pytest.approx({name: row[name] for name in found}, rel=1e-4)
    other = next(row for row in rows if row["given"] == ["T1"] and row["target"] == "T2")
    assert not [name for name in other if "SynthRAD" in name]
