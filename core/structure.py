"""Structural similarity inside a mask, at one scale and at five: voxels outside the mask never enter a window.

Windows are normalised convolutions (Knutsson & Westin 1993): weighted means over those voxels of a window that the mask
holds. A product with a band matrix is several times faster than a filter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.types import Array

Mask = NDArray[np.bool_]
SSIM_SIGMA = 1.5
SSIM_RADIUS = 5  # voxels: truncated at 3.5 sigma, as scikit-image does
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # finest first: what observers weighed (Wang et al. 2003)


@dataclass(frozen=True, eq=False)
class Alike:
    """How alike two images are around each voxel of one scale; meaningless outside the mask."""

    luminance: Array
    structure: Array
    mask: Mask

    @property
    def map(self) -> Array:
        """SSIM of each voxel's window."""
        return self.luminance * self.structure

    @property
    def mean(self) -> float:
        """SSIM."""
        return float(self.map[self.mask].mean(dtype=np.float64))

    @property
    def mean_structure(self) -> float:
        """Contrast and structure without luminance, as the finer scales of MS-SSIM count them."""
        return float(self.structure[self.mask].mean(dtype=np.float64))


class Windows:
    """Window means and variances of one target at one scale."""

    def __init__(self, target: Array, mask: Mask, data_range: float) -> None:
        self.mask = mask
        self.weights = [_gaussian_band(length) for length in mask.shape]
        weight = self._blur(mask.astype(np.float32))
        self.per_weight = np.divide(1, weight, out=np.zeros_like(weight), where=mask)
        self.centre = np.float32(target[mask].mean())  # variances of centred values keep float32's digits
        self.c1, self.c2 = np.float32((0.01 * data_range) ** 2), np.float32((0.03 * data_range) ** 2)
        self.target = self._centred(target)
        self.mean, self.variance = self._moments(self.target)

    def compare(self, prediction: Array) -> Alike:
        """Luminance and structure of Wang et al. 2004, doi:10.1109/TIP.2003.819861."""
        values = self._centred(prediction)
        mean, variance = self._moments(values)
        covariance = self._window_mean(values * self.target) - mean * self.mean
        one, other = mean + self.centre, self.mean + self.centre
        luminance = (2 * one * other + self.c1) / (one * one + other * other + self.c1)
        structure = (2 * covariance + self.c2) / (variance + self.variance + self.c2)
        return Alike(luminance.astype(np.float32, copy=False), structure.astype(np.float32, copy=False), self.mask)

    def _centred(self, image: Array) -> Array:
        return np.where(self.mask, image - self.centre, np.float32(0)).astype(np.float32, copy=False)

    def _moments(self, values: Array) -> tuple[Array, Array]:
        mean = self._window_mean(values)
        return mean, self._window_mean(values * values) - mean * mean

    def _window_mean(self, values: Array) -> Array:
        result: Array = self._blur(values) * self.per_weight
        return result

    def _blur(self, values: Array) -> Array:
        """Separable, zeros outside."""
        along_i, along_j, along_k = self.weights
        i, j, k = values.shape
        values = (along_i @ values.reshape(i, j * k)).reshape(i, j, k)
        blurred: Array = np.matmul(along_j, values @ along_k)
        return blurred


class Pyramid:
    """One target at the scales of MS-SSIM, its windows computed once for many predictions.

    Blocks are counted from the first voxel: cut both images to the mask's box, or a crop would move them.
    """

    def __init__(self, target: Array, mask: Mask, data_range: float, n_scales: int = len(SCALE_WEIGHTS)) -> None:
        self.scales = [Windows(target, mask, data_range)]
        for _ in range(n_scales - 1):
            target, mask = halved(target, mask)
            self.scales.append(Windows(target, mask, data_range))

    def compare(self, prediction: Array) -> list[Alike]:
        """The finest scale first."""
        found: list[Alike] = []
        for windows in self.scales:
            if found:
                prediction, _ = halved(prediction, found[-1].mask)
            found.append(windows.compare(prediction))
        return found


def multi_scale(scales: list[Alike]) -> float:
    """MS-SSIM: the structure of the finer scales, luminance too at the coarsest; a negative mean counts as 0.

    Source:
        Wang, Simoncelli & Bovik 2003, Multiscale structural similarity for image quality assessment.
    """
    means = [*(scale.mean_structure for scale in scales[:-1]), scales[-1].mean]
    return float(np.prod([max(mean, 0.0) ** weight for mean, weight in zip(means, SCALE_WEIGHTS, strict=True)]))


def halved(image: Array, mask: Mask) -> tuple[Array, Mask]:
    """Means over blocks of two voxels along every axis that has several, of those in the mask; and where there are any.

    A last voxel without a partner is a block of its own.
    """
    total, count = np.where(mask, image, np.float32(0)).astype(np.float32), mask.astype(np.float32)
    for axis, n in enumerate(mask.shape):
        if n > 1:
            starts = np.arange(0, n, 2)
            total, count = np.add.reduceat(total, starts, axis), np.add.reduceat(count, starts, axis)
    return np.asarray(total / np.maximum(count, 1), np.float32), np.asarray(count > 0)


def _gaussian_band(length: int) -> Array:
    offsets = np.arange(length)[:, None] - np.arange(length)
    weights = np.exp(-0.5 * (offsets / SSIM_SIGMA) ** 2) * (np.abs(offsets) <= SSIM_RADIUS)
    whole = np.exp(-0.5 * (np.arange(-SSIM_RADIUS, SSIM_RADIUS + 1) / SSIM_SIGMA) ** 2).sum()
    band: Array = (weights / whole).astype(np.float32)
    return band
