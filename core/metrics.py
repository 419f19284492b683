"""How close a synthesis is to the truth, inside a mask. To add a metric: a function, and a line in METRICS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.boxes import Box, box_of
from core.errors import InvalidConfigError
from core.types import Array

Mask = NDArray[np.bool_]
Function = Callable[[Array, Array, Mask, float], float]
Score = Callable[[Array], float]

METRICS_VERSION = "1"  # part of a protocol's fingerprint: raise it when a number's meaning changes
DATA_RANGE = 1.0  # of the prepared 0-1 scale, fixed: never the range of an image
IN_UNIT = ("mae",)  # reported in HU or SUV where the modality has them; all others stay on the 0-1 scale
SSIM_SIGMA = 1.5
SSIM_RADIUS = 5  # voxels: truncated at 3.5 sigma, as scikit-image does


@dataclass(frozen=True)
class Metric:
    """One number for one image.

    Attributes:
        unit: "dB", "" for a pure number, "as the modality" where HU or SUV apply.
        best: which end of the scale is good.
        function: (prediction, target, mask, data_range) -> number; arrays are (I, J, K).
        prepare: (target, mask, data_range) -> (prediction -> number), for many predictions of one target.
    """

    name: str
    unit: str
    best: Literal["low", "high"]
    help: str
    function: Function
    prepare: Callable[[Array, Mask, float], Score] | None = None

    def scorer(self, target: Array, mask: Mask, data_range: float = DATA_RANGE) -> Score:
        """The metric with its truth filled in."""
        if self.prepare is not None:
            return self.prepare(target, mask, data_range)
        return lambda prediction: self.function(prediction, target, mask, data_range)


def mae(prediction: Array, target: Array, mask: Mask, data_range: float = DATA_RANGE) -> float:
    """Mean absolute error, on the arrays' own scale."""
    return float(np.abs(prediction[mask] - target[mask]).mean(dtype=np.float64))


def mse(prediction: Array, target: Array, mask: Mask, data_range: float = DATA_RANGE) -> float:
    """Mean squared error, on the arrays' own scale."""
    return float(np.square(prediction[mask] - target[mask]).mean(dtype=np.float64))


def psnr(prediction: Array, target: Array, mask: Mask, data_range: float = DATA_RANGE) -> float:
    """10 log10(range^2 / MSE) in dB; infinite where the images are equal."""
    error = mse(prediction, target, mask)
    return float(10 * np.log10(data_range**2 / error)) if error else float("inf")


def ssim(prediction: Array, target: Array, mask: Mask, data_range: float = DATA_RANGE) -> float:
    """Mean over the mask of `ssim_map`."""
    return prepare_ssim(target, mask, data_range)(prediction)


def ssim_map(prediction: Array, target: Array, mask: Mask, data_range: float = DATA_RANGE) -> Array:
    """Structural similarity of each voxel's Gaussian window, in which only voxels of the mask take part.

    The window has as many axes as the image has more than one slice along; 0 outside the mask.

    Source:
        Wang et al. 2004, doi:10.1109/TIP.2003.819861; normalised convolution, Knutsson & Westin 1993.
    """
    box = bounding_box(mask)
    result: Array = np.zeros(mask.shape, np.float32)
    local = _Windows(target[box], mask[box], data_range).compare(prediction[box])
    result[box] = np.where(mask[box], local, 0)
    return result


def prepare_ssim(target: Array, mask: Mask, data_range: float = DATA_RANGE) -> Score:
    """`ssim` with all that does not depend on the prediction computed once."""
    box = bounding_box(mask)
    inside = np.ascontiguousarray(mask[box])
    windows = _Windows(target[box], inside, data_range)
    return lambda prediction: float(windows.compare(prediction[box])[inside].mean(dtype=np.float64))


class _Windows:
    """Window means and variances of one target, as SSIM needs them."""

    def __init__(self, target: Array, mask: Mask, data_range: float) -> None:
        self.mask = mask
        self.weights = [_gaussian_band(length) for length in mask.shape]
        weight = self._blur(mask.astype(np.float32))
        self.per_weight = np.divide(1, weight, out=np.zeros_like(weight), where=mask)
        self.centre = np.float32(target[mask].mean())  # variances of centred values keep float32's digits
        self.c1, self.c2 = np.float32((0.01 * data_range) ** 2), np.float32((0.03 * data_range) ** 2)
        self.target = self._centred(target)
        self.mean, self.variance = self._moments(self.target)

    def compare(self, prediction: Array) -> Array:
        """SSIM at each voxel; meaningless outside the mask."""
        values = self._centred(prediction)
        mean, variance = self._moments(values)
        covariance = self._window_mean(values * self.target) - mean * self.mean
        one, other = mean + self.centre, self.mean + self.centre
        luminance = (2 * one * other + self.c1) / (one * one + other * other + self.c1)
        structure = (2 * covariance + self.c2) / (variance + self.variance + self.c2)
        return (luminance * structure).astype(np.float32, copy=False)

    def _centred(self, image: Array) -> Array:
        return np.where(self.mask, image - self.centre, np.float32(0)).astype(np.float32, copy=False)

    def _moments(self, values: Array) -> tuple[Array, Array]:
        mean = self._window_mean(values)
        return mean, self._window_mean(values * values) - mean * mean

    def _window_mean(self, values: Array) -> Array:
        result: Array = self._blur(values) * self.per_weight
        return result

    def _blur(self, values: Array) -> Array:
        """Separable, zeros outside; a product with a band matrix is several times faster than a filter."""
        along_i, along_j, along_k = self.weights
        i, j, k = values.shape
        values = (along_i @ values.reshape(i, j * k)).reshape(i, j, k)
        blurred: Array = np.matmul(along_j, values @ along_k)
        return blurred


def _gaussian_band(length: int) -> Array:
    offsets = np.arange(length)[:, None] - np.arange(length)
    weights = np.exp(-0.5 * (offsets / SSIM_SIGMA) ** 2) * (np.abs(offsets) <= SSIM_RADIUS)
    whole = np.exp(-0.5 * (np.arange(-SSIM_RADIUS, SSIM_RADIUS + 1) / SSIM_SIGMA) ** 2).sum()
    band: Array = (weights / whole).astype(np.float32)
    return band


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
        prepare_ssim,
    ),
    "mse": Metric(
        "MSE", "", "low", "Mean squared error on the 0-1 scale; large errors weigh more. Lower is better.", mse
    ),
}


class Judge:
    """One target inside one mask; its own terms are computed once for many predictions."""

    def __init__(self, target: Array, mask: Mask, data_range: float = DATA_RANGE) -> None:
        self._box = bounding_box(mask)
        inside = np.ascontiguousarray(mask[self._box])
        truth = np.ascontiguousarray(target[self._box])
        self._scorers = {name: metric.scorer(truth, inside, data_range) for name, metric in METRICS.items()}

    def scores(self, prediction: Array) -> dict[str, float]:
        """Every metric of METRICS; `prediction` is (I, J, K), whole."""
        local = np.ascontiguousarray(prediction[self._box])
        return {name: score(local) for name, score in self._scorers.items()}
