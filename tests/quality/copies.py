"""What happens to an image on its way into a second case: the ways in which a copy hides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy import ndimage

from core.types import Volume

SHIFT_MM = (5.3, -4.1, 3.7)
COARSER_MM = (3.2, 2.7, 4.1)


def exact(volume: Volume, rng: np.random.Generator) -> Volume:
    return volume


def noisy(volume: Volume, rng: np.random.Generator) -> Volume:
    """6 % of the range, or 40 HU."""
    low, high = np.percentile(volume.data, [1, 99.5])
    sd = 40.0 if volume.unit == "HU" else 0.06 * (high - low)
    return volume.with_data((volume.data + rng.normal(0, sd, volume.data.shape)).astype(np.float32))


def mirrored(volume: Volume, rng: np.random.Generator) -> Volume:
    """Left and right exchanged in place."""
    return volume.with_data(np.ascontiguousarray(volume.data[::-1]))


def shifted(volume: Volume, rng: np.random.Generator) -> Volume:
    """By parts of voxels, in millimetres that are no one's spacing."""
    by = np.asarray(SHIFT_MM) / volume.spacing_mm
    return volume.with_data(ndimage.shift(volume.data, by, order=1, mode="nearest").astype(np.float32))


def rewindowed(volume: Volume, rng: np.random.Generator) -> Volume:
    """Saved as from a viewer: a window with both ends cut off and, without a unit, another gamma."""
    data = volume.data
    if volume.unit == "HU":
        return volume.with_data(np.clip(data, -160, 240))
    if volume.unit == "SUV":
        return volume.with_data(np.clip(0.7 * data, 0, 8))
    low, high = np.percentile(data[data > 0.1 * data.max()], [8, 85])
    return volume.with_data((255 * np.clip((data - low) / (high - low), 0, 1) ** 0.6).astype(np.float32))


def resampled(volume: Volume, rng: np.random.Generator) -> Volume:
    """Onto larger voxels of three other sizes, after the blur that this needs."""
    factor = np.asarray(volume.spacing_mm) / COARSER_MM
    smooth = ndimage.gaussian_filter(volume.data, 0.5 / factor - 0.3)
    data = ndimage.zoom(smooth, factor, order=1).astype(np.float32)
    step = np.asarray(volume.data.shape) / data.shape
    affine = volume.affine.copy()
    affine[:3, :3] = volume.affine[:3, :3] * step
    affine[:3, 3] += volume.affine[:3, :3] @ ((step - 1) / 2)
    return replace(volume, data=data, affine=affine)


COPIES: dict[str, Callable[[Volume, np.random.Generator], Volume]] = {
    "exact": exact,
    "noisy": noisy,
    "mirrored": mirrored,
    "shifted": shifted,
    "rewindowed": rewindowed,
    "resampled": resampled,
}
