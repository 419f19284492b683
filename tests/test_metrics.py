"""Metrics against scikit-image, scikit-learn and arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.metrics import structural_similarity
from sklearn.metrics import mean_absolute_error, mean_squared_error

from core.errors import InvalidConfigError
from core.metrics import METRICS, SSIM_RADIUS, SSIM_SIGMA, Judge, mae, mse, psnr, ssim, ssim_map

SHAPE = (26, 31, 17)


def pair(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    target = rng.uniform(0.1, 0.9, shape).astype(np.float32)
    return (target + rng.normal(0, 0.1, shape)).astype(np.float32), target


def lopsided_mask(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    i, j, k = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    return (i - 0.2) ** 2 + (j / 0.7) ** 2 + (k + 0.1) ** 2 < 0.6


def reference_ssim_map(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    settings = {"data_range": 1.0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return structural_similarity(target.astype(float), prediction.astype(float), full=True, **settings)[1]


def test_errors_equal_scikit_learns_on_the_masked_voxels():
    prediction, target = pair()
    mask = lopsided_mask()
    assert mse(prediction, target, mask) == pytest.approx(mean_squared_error(target[mask], prediction[mask]), rel=1e-6)
    assert mae(prediction, target, mask) == pytest.approx(mean_absolute_error(target[mask], prediction[mask]), rel=1e-6)


def test_an_error_of_a_tenth_of_the_range_is_20_db():
    _, target = pair()
    mask = lopsided_mask()
    assert psnr(target + np.float32(0.1), target, mask, 1.0) == pytest.approx(20, abs=1e-4)
    assert psnr(target * 7 + np.float32(0.7), target * 7, mask, 7.0) == pytest.approx(20, abs=1e-4)


@pytest.mark.parametrize("shape", [SHAPE, (26, 31, 12)])
def test_ssim_equals_scikit_images_inside_a_full_mask(shape):
    prediction, target = pair(shape)
    interior = (slice(SSIM_RADIUS, -SSIM_RADIUS),) * 3
    ours = ssim_map(prediction, target, np.ones(shape, bool))
    np.testing.assert_allclose(ours[interior], reference_ssim_map(prediction, target)[interior], atol=1e-4)


def test_ssim_of_one_slice_is_the_two_dimensional_one():
    prediction, target = pair((40, 33, 1))
    interior = (slice(SSIM_RADIUS, -SSIM_RADIUS),) * 2
    ours = ssim_map(prediction, target, np.ones((40, 33, 1), bool))[..., 0]
    np.testing.assert_allclose(
        ours[interior], reference_ssim_map(prediction[..., 0], target[..., 0])[interior], atol=1e-4
    )


def test_ssim_keeps_its_digits_in_bright_flat_regions():
    rng = np.random.default_rng(3)
    target = (0.95 + 0.001 * rng.random(SHAPE)).astype(np.float32)
    prediction = (target + 0.001 * rng.random(SHAPE)).astype(np.float32)
    interior = (slice(SSIM_RADIUS, -SSIM_RADIUS),) * 3
    ours = ssim_map(prediction, target, np.ones(SHAPE, bool))
    np.testing.assert_allclose(ours[interior], reference_ssim_map(prediction, target)[interior], atol=1e-4)


def test_a_masked_ssim_is_the_windows_written_out_by_hand():
    prediction, target = pair()
    mask = lopsided_mask()
    voxel = np.argwhere(mask)[3]  # at the mask's edge
    offsets = np.indices(SHAPE) - voxel[:, None, None, None]
    weight = np.exp(-0.5 * (offsets**2).sum(0) / SSIM_SIGMA**2) * (np.abs(offsets).max(0) <= SSIM_RADIUS) * mask
    weight /= weight.sum()
    x, y = (float((weight * image).sum()) for image in (prediction, target))
    xx, yy, xy = (float((weight * a * b).sum()) for a, b in ((prediction,) * 2, (target,) * 2, (prediction, target)))
    c1, c2 = 0.01**2, 0.03**2
    expected = (2 * x * y + c1) * (2 * (xy - x * y) + c2) / ((x**2 + y**2 + c1) * (xx - x**2 + yy - y**2 + c2))
    assert ssim_map(prediction, target, mask)[tuple(voxel)] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("outside", [np.nan, 1e6, -3.0])
def test_what_lies_outside_the_mask_has_no_influence(name, outside):
    prediction, target = pair()
    mask = lopsided_mask()
    function = METRICS[name].function
    elsewhere = np.where(mask, prediction, np.float32(outside)), np.where(mask, target, np.float32(-outside))
    assert function(*elsewhere, mask, 1.0) == pytest.approx(function(prediction, target, mask, 1.0), abs=1e-9)


@pytest.mark.parametrize("name", METRICS)
def test_no_rival_beats_the_truth_itself(name):
    prediction, target = pair()
    mask = lopsided_mask()
    metric = METRICS[name]
    perfect, other = (metric.function(image, target, mask, 1.0) for image in (target, prediction))
    assert perfect < other if metric.best == "low" else perfect > other
    assert perfect == pytest.approx({"mae": 0, "mse": 0, "psnr": np.inf, "ssim": 1}[name])


def test_a_judge_gives_what_the_functions_give():
    prediction, target = pair()
    mask = lopsided_mask()
    expected = {name: metric.function(prediction, target, mask, 1.0) for name, metric in METRICS.items()}
    assert Judge(target, mask).scores(prediction) == pytest.approx(expected, rel=1e-6)


def test_the_range_is_part_of_ssim():
    prediction, target = pair()
    mask = lopsided_mask()
    assert ssim(prediction, target, mask, 4.0) > ssim(prediction, target, mask, 1.0)
    assert ssim(prediction * 4, target * 4, mask, 4.0) == pytest.approx(ssim(prediction, target, mask, 1.0), abs=1e-5)


def test_an_empty_mask_is_refused_with_a_sentence():
    prediction, target = pair()
    with pytest.raises(InvalidConfigError, match="mask is empty"):
        ssim(prediction, target, np.zeros(SHAPE, bool))
