"""How close a synthesis is to the truth, inside a mask. To add a metric: a function, and a line in METRICS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.boxes import Box, box_of
from core.errors import InvalidConfigError
from core.information import normalised_information
from core.structure import Alike, Mask, Pyramid, multi_scale
from core.types import PLACE, Array

Function = Callable[[Array, Array, Mask, float], float]
Score = Callable[[Array], float]

METRICS_VERSION = "1"  # part of a protocol's fingerprint: raise it when the meaning of a number changes
DATA_RANGE = 1.0  # of the prepared 0-1 scale, fixed: never the range of an image
IN_UNIT = ("mae",)  # reported in HU or SUV where the modality has them; all others stay on the 0-1 scale
NMI_BINS = 100
BLUR_VOXELS = 11  # along the line that is blurred once more, as in scikit-image


@dataclass(frozen=True)
class Metric:
    """One number for one image.

    Attributes:
        unit: "dB", "" for a pure number, "as the modality" where HU or SUV apply.
        best: which end of the scale is good.
        function: (prediction, target, mask, data_range) -> number; arrays are (I, J, K).
        of_scales: for what is computed from the windows that SSIM and MS-SSIM share.
        needs_truth: False for what looks at the prediction alone.
    """

    name: str
    unit: str
    best: Literal["low", "high"]
    help: str
    function: Function
    of_scales: Callable[[list[Alike]], float] | None = None
    needs_truth: bool = True


def mae(prediction: Array, target: Array, mask: Mask, data_range: float = DATA_RANGE) -> float:
    """Mean absolute error, on the arrays' own scale."""
    return float(np.abs(prediction[mask] - target[mask]).mean(dtype=np.float64))


def mse(prediction: Array, target: Array, mask: Mask, data_range: float = DATA_RANGE) -> float:
    """Mean squared error, on the arrays' own scale."""
    return float(np.square(prediction[mask] - target[mask]).mean(dtype=np.float64))


def rmse(prediction: Array, target: Array, mask: Mask, data_range: float = DATA_RANGE) -> float:
    """Root of the mean squared error, on the arrays' own scale."""
    return float(np.sqrt(mse(prediction, target, mask)))


def psnr(prediction: Array, target: Array, mask: Mask, data_range: float = DATA_RANGE) -> float:
    """10 log10(range^2 / MSE) in dB; infinite where the images are equal."""
    error = mse(prediction, target, mask)
    return float(10 * np.log10(data_range**2 / error)) if error else float("inf")


def ssim(prediction: Array, target: Array, mask: Mask, data_range: float = DATA_RANGE) -> float:
    """Mean over the mask of `ssim_map`."""
    return _scales(prediction, target, mask, data_range, 1)[0].mean


def ms_ssim(prediction: Array, target: Array, mask: Mask, data_range: float = DATA_RANGE) -> float:
    """`core.structure.multi_scale` over five scales."""
    return multi_scale(_scales(prediction, target, mask, data_range))


def ssim_map(prediction: Array, target: Array, mask: Mask, data_range: float = DATA_RANGE) -> Array:
    """Structural similarity of each voxel's Gaussian window, in which only voxels of the mask take part.

    The window has as many axes as the image has more than one slice along; 0 outside the mask.
    """
    result: Array = np.zeros(mask.shape, np.float32)
    box = bounding_box(mask)
    result[box] = np.where(mask[box], _scales(prediction, target, mask, data_range, 1)[0].map, 0)
    return result


def _scales(prediction: Array, target: Array, mask: Mask, data_range: float, n: int = 5) -> list[Alike]:
    box = bounding_box(mask)
    return Pyramid(target[box], np.ascontiguousarray(mask[box]), data_range, n).compare(prediction[box])


def nmi(prediction: Array, target: Array, mask: Mask, data_range: float = DATA_RANGE) -> float:
    """Normalised mutual information, 1 to 2, of bins over the fixed range; what lies beyond counts as its end.

    Source:
        Studholme, Hill & Hawkes 1999, Pattern Recognition 32(1).
    """
    place, bins = np.zeros(int(mask.sum()), np.int64), np.float32(NMI_BINS / data_range)
    for image in (prediction, target):
        place = place * NMI_BINS + np.clip(image[mask] * bins, 0, NMI_BINS - 1).astype(np.int64)
    return normalised_information(np.bincount(place, minlength=NMI_BINS**2).reshape(NMI_BINS, NMI_BINS))


def gradient_correlation(prediction: Array, target: Array, mask: Mask, data_range: float = DATA_RANGE) -> float:
    """Correlation of the steps between neighbouring voxels of the mask, mean over the axes; 0 for a flat image.

    Source:
        Penney et al. 1998, doi:10.1109/42.730403.
    """
    found = []
    for axis, n in enumerate(mask.shape):
        if n > 1:
            low, high = _beside(axis, slice(None, -1)), _beside(axis, slice(1, None))
            both = mask[low] & mask[high]
            steps = [(image[high][both] - image[low][both]).astype(np.float64) for image in (prediction, target)]
            found.append(_correlation(*steps))
    return float(np.mean(found)) if found else 0.0


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    if not len(a):
        return 0.0
    a, b = a - a.mean(), b - b.mean()
    length = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / length if length else 0.0


def blur(prediction: Array, target: Array, mask: Mask, data_range: float = DATA_RANGE) -> float:
    """How little an image changes when it is blurred once more, 0 to 1; the truth plays no part.

    Along the blurriest axis: the share of its gradients that a mean over BLUR_VOXELS leaves. Means are taken over
    voxels of the mask, gradients (Sobel) where all voxels that they read are in it.

    Source:
        Crete et al. 2007, doi:10.1117/12.702790, as in scikit-image's `blur_effect`.
    """
    inside = np.where(mask, prediction, np.float32(0)).astype(np.float32)
    whole = _all_around(mask)
    shares = []
    for axis, n in enumerate(mask.shape):
        if n > 2:
            sharp = np.abs(_sobel(inside, axis))[whole]
            again = np.abs(_sobel(_line_mean(inside, mask, axis), axis))[whole]
            before, lost = sharp.sum(dtype=np.float64), np.maximum(sharp - again, 0).sum(dtype=np.float64)
            shares.append(1 - lost / before if before else 1.0)
    return float(max(shares, default=1.0))


def _beside(axis: int, part: slice) -> tuple[slice, ...]:
    return tuple(part if axis == other else slice(None) for other in range(3))


def _three(data: Array, axis: int, weights: tuple[int, int, int]) -> Array:
    """Weighted sum of each voxel and its neighbours along an axis; the ends are dropped."""
    parts = (slice(None, -2), slice(1, -1), slice(2, None))
    kept = [data[_beside(axis, p)] * np.float32(w) for p, w in zip(parts, weights, strict=True) if w]
    return np.asarray(sum(kept[1:], kept[0]))


def _sobel(data: Array, axis: int) -> Array:
    """The gradient along an axis, smoothed across it; a voxel smaller at every end of axes of several voxels."""
    for other, n in enumerate(data.shape):
        if n > 2:
            data = _three(data, other, (-1, 0, 1) if other == axis else (1, 2, 1))
    return data


def _all_around(mask: Mask) -> Mask:
    """Where a voxel and all that Sobel reads around it are in the mask, on the grid of `_sobel`."""
    whole = mask.astype(np.float32)
    for axis, n in enumerate(mask.shape):
        if n > 2:
            whole = (_three(whole, axis, (1, 1, 1)) > 2.5).astype(np.float32)
    return whole > 0


def _line_mean(inside: Array, mask: Mask, axis: int) -> Array:
    """Mean of the masked voxels of a stretch of BLUR_VOXELS along an axis; `inside` is 0 outside the mask."""
    total, share = (
        ndimage.uniform_filter1d(values, BLUR_VOXELS, axis, output=np.float32, mode="constant")
        for values in (inside, mask.astype(np.float32))
    )
    return np.asarray(total / np.maximum(share, 0.5 / BLUR_VOXELS), np.float32)


def bounding_box(mask: Mask) -> Box:
    """The smallest box that holds the mask.

    Raises:
        InvalidConfigError: The mask is empty, so there is nothing to judge.
    """
    if not mask.any():
        raise InvalidConfigError("The mask is empty, so there is nothing to judge.", "EMPTY-MASK")
    return box_of(mask)


METRICS: dict[str, Metric] = {  # to add one: write its function above, list it here
    "mae": Metric(
        "MAE",
        "as the modality",
        "low",
        "Mean absolute error: how far off a voxel is on average. Lower is better.",
        mae,
    ),
    "psnr": Metric(
        "PSNR", "dB", "high", "Peak signal-to-noise ratio: the fixed range over the error. Higher is better.", psnr
    ),
    "ssim": Metric(
        "SSIM",
        "",
        "high",
        "Structural similarity of small neighbourhoods, 1 where they are equal. Higher is better.",
        ssim,
        lambda scales: scales[0].mean,
    ),
    "ms_ssim": Metric(
        "MS-SSIM",
        "",
        "high",
        "Structural similarity over five scales, from fine to coarse. Higher is better.",
        ms_ssim,
        multi_scale,
    ),
    "nmi": Metric(
        "NMI", "", "high", "Normalised mutual information, 1 to 2: blind to contrast. Higher is better.", nmi
    ),
    "gradient_correlation": Metric(
        "Gradient corr.",
        "",
        "high",
        "Whether edges lie at the same places, 1 where they all do. Higher is better.",
        gradient_correlation,
    ),
    "blur": Metric(
        "Blur",
        "",
        "low",
        "How blurred the image is, 0 to 1; the truth plays no part. Lower is sharper.",
        blur,
        needs_truth=False,
    ),
    "rmse": Metric(
        "RMSE", "", "low", "Root mean squared error on the 0-1 scale; large errors weigh more. Lower is better.", rmse
    ),
    "mse": Metric(
        "MSE", "", "low", "Mean squared error on the 0-1 scale; large errors weigh more. Lower is better.", mse
    ),
}


def metric_of(score: str) -> Metric:
    """The metric of a score that may be of a region: MAE of "mae@lesion"."""
    return METRICS[score.partition(PLACE)[0]]


def place_of(score: str) -> str:
    """The region or protocol of a score, empty for the whole mask: "lesion" of "mae@lesion"."""
    return score.partition(PLACE)[2]


def is_in_unit(score: str) -> bool:
    """Whether it is told in HU or SUV where the modality has them."""
    return score.partition(PLACE)[0] in IN_UNIT
