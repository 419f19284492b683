"""The demo's grid, and smooth random fields and soft shapes on it. numpy and scipy only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Field = NDArray[np.floating[Any]]  # float32, except in passing

SHAPE = (96, 112, 88)
SPACING_MM = 2.0
FIRST_MM = (-95.0, -127.0, -74.0)  # MNI-like: x to the right, y forward, z up


def grid_affine() -> NDArray[np.float64]:
    """(4, 4) voxel -> RAS mm, the same for every modality and person."""
    affine = np.diag([SPACING_MM, SPACING_MM, SPACING_MM, 1.0])
    affine[:3, 3] = FIRST_MM
    return affine


def grid_points() -> Field:
    """(3, I, J, K), the millimetres of every voxel's centre."""
    axes = [first + SPACING_MM * np.arange(n, dtype=np.float32) for first, n in zip(FIRST_MM, SHAPE, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)


def random_field(rng: np.random.Generator, sigma_mm: float, shape: tuple[int, int, int] = SHAPE) -> Field:
    """White noise smoothed by a Gaussian of `sigma_mm`, mean 0 and standard deviation 1.

    Drawn on a coarser grid where that is smooth enough: a third of the memory and a tenth of the time.
    """
    step = max(1, int(sigma_mm / SPACING_MM / 1.25))
    sigma = sigma_mm / SPACING_MM / step
    margin = int(np.ceil(2 * sigma)) + 2
    coarse = tuple(-(-n // step) + 2 * margin for n in shape)
    noise = ndimage.gaussian_filter(rng.standard_normal(coarse, dtype=np.float32), sigma, mode="wrap", truncate=3.0)
    noise *= (2.0 * np.sqrt(np.pi) * sigma) ** 1.5 if sigma > 0.5 else 1.0 / max(float(noise.std()), 1e-6)
    if step == 1:
        return np.asarray(noise[tuple(slice(margin, margin + n) for n in shape)])
    axes = [(margin + np.arange(n) / step).astype(np.float32) for n in shape]
    return spline_at_axes(noise, axes)


def spline_at_axes(data: Field, axes: list[Field]) -> Field:
    """Linear interpolation on a separable grid: one axis after the other."""
    for axis, at in enumerate(axes):
        low = np.floor(at).astype(int)
        weight = (at - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        data = data.take(low, axis) * (1 - weight) + data.take(low + 1, axis) * weight
    return data.astype(np.float32)


def soft(distance_mm: Field, width_mm: float = 1.0) -> Field:
    """1 inside (negative distance), 0 outside, over about two widths: the partial volume of a surface."""
    return np.asarray((0.5 - distance_mm / (2 * width_mm)).clip(0, 1), np.float32)


def ellipsoid(points: Field, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Field:
    """About the signed distance in mm to an ellipsoid; negative inside."""
    scaled = [(points[a] - centre[a]) / radii[a] for a in range(3)]
    length = np.sqrt(sum(part * part for part in scaled))
    return np.asarray((length - 1) * min(radii), np.float32)


def joined(first: Field, second: Field, blend_mm: float) -> Field:
    """The union of two signed distances with a rounded seam (polynomial smooth minimum)."""
    mix = (0.5 + 0.5 * (second - first) / blend_mm).clip(0, 1)
    return np.asarray(second * (1 - mix) + first * mix - blend_mm * mix * (1 - mix), np.float32)
