"""Metrics against scikit-image, scikit-learn and arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import blur_effect
from skimage.metrics import normalized_mutual_information, structural_similarity
from skimage.transform import downscale_local_mean
from sklearn.metrics import mean_absolute_error, mean_squared_error

from core.errors import InvalidConfigError
from core.judging import Judge
from core.metrics import (
    METRICS,
    blur,
    bounding_box,
    gradient_correlation,
    mae,
    ms_ssim,
    mse,
    nmi,
    psnr,
    rmse,
    ssim,
    ssim_map,
)
from core.structure import SCALE_WEIGHTS, SSIM_RADIUS, SSIM_SIGMA
from tests.distortions import DISTORTIONS, head

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


PERFECT = {"mae": 0, "mse": 0, "rmse": 0, "psnr": np.inf, "ssim": 1, "ms_ssim": 1, "nmi": 2, "gradient_correlation": 1}


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if metric.needs_truth])
def test_no_rival_beats_the_truth_itself(name):
    prediction, target = pair()
    mask = lopsided_mask()
    metric = METRICS[name]
    perfect, other = (metric.function(image, target, mask, 1.0) for image in (target, prediction))
    assert perfect < other if metric.best == "low" else perfect > other
    assert perfect == pytest.approx(PERFECT[name])


@pytest.mark.parametrize("name", METRICS)
def test_noise_outside_the_mask_changes_no_digit(name):
    prediction, target = pair()
    mask = lopsided_mask()
    noise = np.random.default_rng(9).normal(0, 50, (2, *SHAPE)).astype(np.float32)
    function = METRICS[name].function
    noisy = function(np.where(mask, prediction, noise[0]), np.where(mask, target, noise[1]), mask, 1.0)
    assert noisy == function(prediction, target, mask, 1.0)


def test_the_root_of_the_squared_error_is_told_beside_it():
    prediction, target = pair()
    mask = lopsided_mask()
    assert rmse(prediction, target, mask) == pytest.approx(mean_squared_error(target[mask], prediction[mask]) ** 0.5)


def test_mutual_information_is_scikit_images():
    prediction, target = (np.clip(image, 0, 1) for image in pair())
    for image in (prediction, target):
        image[13, 15, 8], image[13, 16, 8] = 0, 1  # in the mask, so that both ranges are the fixed one
    mask = lopsided_mask()
    theirs = normalized_mutual_information(target[mask], prediction[mask], bins=100)
    assert nmi(prediction, target, mask) == pytest.approx(theirs, abs=1e-4)
    assert nmi(1 - target, target, mask) > 1.9  # blind to contrast
    assert nmi(np.zeros(SHAPE, np.float32), target, mask) == pytest.approx(1)


@pytest.mark.parametrize("sigma", [0.0, 1.0, 3.0])
def test_blur_is_scikit_images(sigma):
    texture = np.random.default_rng(1).random((22, 18, 15))
    inner = ndimage.gaussian_filter(texture, sigma) if sigma else texture
    image = np.pad(inner, 8, constant_values=0.5).astype(np.float32)  # flat where borders are treated differently
    ours = blur(image, image, np.ones(image.shape, bool))
    assert ours == pytest.approx(blur_effect(image.astype(float), h_size=11), abs=1e-4)
    flat = image[..., 15:16]
    assert blur(flat, flat, np.ones(flat.shape, bool)) == pytest.approx(
        blur_effect(flat[..., 0].astype(float)), abs=1e-4
    )


def test_gradient_correlation_is_numpys_over_pairs_inside_the_mask():
    prediction, target = pair()
    mask = lopsided_mask()
    expected = []
    for axis in range(3):
        inside = np.diff(np.where(mask, 0, np.nan), axis=axis) == 0
        steps = [np.diff(image, axis=axis)[inside] for image in (prediction, target)]
        expected.append(np.corrcoef(*steps)[0, 1])
    assert gradient_correlation(prediction, target, mask) == pytest.approx(np.mean(expected), abs=1e-5)
    assert gradient_correlation(3 * target + 1, target, mask) == pytest.approx(1, abs=1e-6)
    assert gradient_correlation(np.ones(SHAPE, np.float32), target, mask) == 0


def test_ms_ssim_is_the_published_formula_by_another_way():
    """Filters and block means of scipy and scikit-image on zeros, divided by those of the mask."""
    whole = lopsided_mask((64, 48, 32))
    box = bounding_box(whole)  # where blocks begin, whatever lies around it
    prediction, target = (image[box].astype(float) for image in pair((64, 48, 32)))
    mask = whole[box].astype(float)
    parts = []
    for scale in range(len(SCALE_WEIGHTS)):
        if scale:
            share = downscale_local_mean(mask, (2, 2, 2))
            prediction, target = (
                downscale_local_mean(image * mask, (2, 2, 2)) / np.maximum(share, 1e-9)
                for image in (prediction, target)
            )
            mask = (share > 0).astype(float)

        def mean(image, mask=mask):
            def smooth(values):
                return ndimage.gaussian_filter(values, 1.5, truncate=3.5, mode="constant")

            return smooth(image * mask) / np.maximum(smooth(mask), 1e-12)

        x, y = mean(prediction), mean(target)
        xx, yy = mean(prediction**2) - x * x, mean(target**2) - y * y
        structure = (2 * (mean(prediction * target) - x * y) + 0.03**2) / (xx + yy + 0.03**2)
        luminance = (2 * x * y + 0.01**2) / (x * x + y * y + 0.01**2)
        local = structure * luminance if scale == len(SCALE_WEIGHTS) - 1 else structure
        parts.append(local[mask > 0].mean())
    expected = np.prod(np.maximum(parts, 0) ** np.array(SCALE_WEIGHTS))
    ours = ms_ssim(*pair((64, 48, 32)), whole)
    assert ours == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("kind", DISTORTIONS)
def test_a_known_distortion_moves_every_metric_the_right_way(kind):
    target, mask = head()
    rng = np.random.default_rng(2)
    mild, strong = (DISTORTIONS[kind](target, strength, rng) for strength in (1.0, 3.0))
    for name, metric in METRICS.items():
        if metric.needs_truth:
            sign = 1 if metric.best == "low" else -1
            perfect, little, much = (
                sign * metric.function(image, target, mask, 1.0) for image in (target, mild, strong)
            )
            assert perfect < little < much, name


def test_blur_tells_blur_and_noise_apart():
    target, mask = head()
    rng = np.random.default_rng(2)
    found = {kind: blur(DISTORTIONS[kind](target, 2.0, rng), target, mask) for kind in ("blur", "noise")}
    assert found["blur"] > blur(target, target, mask) > found["noise"]


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


def test_a_region_is_judged_by_its_own_voxels_in_windows_of_the_whole_mask():
    prediction, target = pair()
    mask = lopsided_mask()
    region = np.zeros(SHAPE, bool)
    region[12:17, 12:20, 6:11] = True
    inside = region & mask
    found = Judge(target, mask, regions={"part": region, "elsewhere": np.zeros(SHAPE, bool)}).scores(prediction)
    assert found["mae@part"] == pytest.approx(mae(prediction, target, inside), rel=1e-6)
    assert found["psnr@part"] == pytest.approx(psnr(prediction, target, inside), rel=1e-6)
    assert found["ssim@part"] == pytest.approx(ssim_map(prediction, target, mask)[inside].mean(), abs=1e-6)
    assert not [name for name in found if name.endswith("@elsewhere")]
