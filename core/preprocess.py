"""Preparing steps: each takes a Volume and gives a Volume, pure. Fixed or fitted to one case, never across cases.

To add a step: write its settings and its function, list it in STEPS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage

from core.config import Settings
from core.errors import InvalidConfigError
from core.types import Affine, Array, Volume

Mask = NDArray[np.bool_]
MAX_VOXELS = 512**3
AIR_HU = -1024.0
BODY_HU = -400.0
EXTRACTED_SHARE = 0.2  # so much of an image exactly at its background: somebody has cut it out
MAX_BRAIN_ML = 2200.0  # more than that is a head
FIXED_RANGES = {"US": (0.0, 255.0)}  # modalities whose scanner output is a display scale


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the voxels of a prepared case lie: shape (I, J, K) and affine (4, 4), voxel -> RAS mm."""

    shape: tuple[int, int, int]
    affine: Affine

    def is_grid_of(self, volume: Volume) -> bool:
        """Whether the volume is on this very grid, to a thousandth of a voxel at every corner."""
        return volume.data.shape == self.shape and np.allclose(volume.affine, self.affine, atol=1e-3, rtol=1e-5)


class CanonicalConfig(Settings):
    """Turning the axes has nothing to set."""


class ResampleConfig(Settings):
    spacing_mm: float = Field(
        0.0, ge=0, le=20, description="Voxel size of the common grid in millimetres; 0 keeps the reference's own"
    )
    reference: str = Field(
        "", description="Modality whose position and grid the others follow; empty chooses the finest one"
    )


class MaskConfig(Settings):
    method: Literal["brain", "foreground", "none"] = Field(
        "foreground",
        description="Voxels that are judged: the brain (of brain-extracted images), the body, or all of the image",
    )
    outside: Literal["zero", "keep"] = Field("zero", description="What happens to voxels outside the mask")


class NormaliseConfig(Settings):
    low: float = Field(0.5, ge=0, le=50, description="Percentile inside the mask that becomes 0 (MR and the like)")
    high: float = Field(99.5, ge=50, le=100, description="Percentile inside the mask that becomes 1 (MR and the like)")
    clip: bool = Field(True, description="Cut values below 0 and above 1")
    divide_by: float = Field(
        0.0, ge=0, description="A fixed divisor in place of percentiles, such as 255 for 8-bit pictures; 0 is off"
    )
    ct_low: float = Field(AIR_HU, description="Hounsfield units that become 0 (CT)")
    ct_high: float = Field(2000.0, description="Hounsfield units that become 1 (CT)")
    suv_high: float = Field(15.0, gt=0, description="Standardised uptake value that becomes 1 (PET)")


def canonical(volume: Volume) -> Volume:
    """Turn and flip whole axes until they run closest to right, anterior, superior. No value changes."""
    turn = nib.orientations.io_orientation(volume.affine)
    if np.array_equal(turn, [[0, 1], [1, 1], [2, 1]]):
        return volume
    data = nib.orientations.apply_orientation(volume.data, turn)
    back = nib.orientations.inv_ornt_aff(turn, volume.data.shape)
    return volume.with_data(np.ascontiguousarray(data), volume.affine @ back)


def resample(volume: Volume, grid: Grid) -> Volume:
    """The volume on another grid: linear for intensities (no value leaves the range), nearest for label maps.

    What lies outside the image becomes air (CT) or the image's least value. A volume on this very grid is returned
    untouched.
    """
    if grid.is_grid_of(volume):
        return volume.with_data(volume.data, grid.affine)
    least = 0.0 if volume.is_label else float(volume.data.min())
    method = sitk.sitkNearestNeighbor if volume.is_label else sitk.sitkLinear
    moved = sitk.Resample(
        _to_sitk(volume.data, volume.affine),
        _to_sitk(np.zeros(grid.shape, np.uint8), grid.affine),
        sitk.Transform(),
        method,
        AIR_HU if volume.unit == "HU" else least,
        sitk.sitkFloat32,
    )
    return volume.with_data(_from_sitk(moved), grid.affine)


def coverage(volume: Volume, grid: Grid) -> Mask:
    """(I, J, K): where on the grid the volume has data at all."""
    if grid.is_grid_of(volume):
        return np.ones(grid.shape, dtype=bool)
    ones = Volume(np.ones_like(volume.data), volume.affine, volume.modality, unit="label")
    return resample(ones, grid).data > 0


def intensity_range(volume: Volume, mask: Mask, config: NormaliseConfig) -> tuple[float, float]:
    """The two intensities that become 0 and 1: fixed for HU, SUV and display scales, percentiles of this case else."""
    if volume.unit == "HU":
        low, high = config.ct_low, config.ct_high
    elif volume.unit == "SUV":
        low, high = 0.0, config.suv_high
    elif config.divide_by:
        low, high = 0.0, config.divide_by
    elif volume.modality in FIXED_RANGES:
        low, high = FIXED_RANGES[volume.modality]
    else:
        inside = volume.data[mask]
        low, high = (float(v) for v in np.percentile(inside, [config.low, config.high]))
        if high <= low:
            low, high = float(volume.data.min()), float(volume.data.max())
    if high <= low:
        raise InvalidConfigError(f"{volume.modality}: the intensities cannot be scaled, all are {low:g}.", "CONSTANT")
    return low, high


def normalise(volume: Volume, limits: tuple[float, float], clip: bool) -> Volume:
    """Scale so that the limits become 0 and 1. The unit stays that of the source: the dataset keeps the scale."""
    low, high = limits
    data = (volume.data - np.float32(low)) / np.float32(high - low)
    return volume.with_data(np.clip(data, 0, 1) if clip else data)


def make_mask(reference: Volume, method: str) -> tuple[Mask, list[str]]:
    """The voxels that are judged, from one image on the grid, and warnings.

    "brain" takes what is not background in a brain-extracted image; where the image still has a head around the
    brain, the head is taken and BRAIN-NOT-EXTRACTED warned of.
    """
    data = reference.data
    if method == "none":
        return np.ones(data.shape, dtype=bool), []
    # Spline interpolation rings below a background of 0.
    background = np.float32(0) if np.mean(data == 0) > EXTRACTED_SHARE else data.min()
    is_extracted = reference.unit != "HU" and np.mean(data == background) > EXTRACTED_SHARE
    barely = 1e-6 * (data.max() - background)  # what interpolation's rounding leaks into neighbouring voxels
    mask = data > background + barely if is_extracted else _body(reference)
    mask = _filled(_largest(mask))
    is_head = mask.sum() * np.prod(reference.spacing_mm) > 1000 * MAX_BRAIN_ML
    warnings = ["BRAIN-NOT-EXTRACTED"] if method == "brain" and (is_head or not is_extracted) else []
    if mask.mean() < 0.02:
        return np.ones(data.shape, dtype=bool), [*warnings, "NO-FOREGROUND"]
    return mask, warnings


def _body(volume: Volume) -> Mask:
    """What is not air: by Hounsfield units in CT, else by Otsu's threshold on a lightly smoothed image."""
    size = [3 if n > 8 else 1 for n in volume.data.shape]
    above = volume.data > BODY_HU if volume.unit == "HU" else _above_otsu(volume.data)
    return np.asarray(ndimage.binary_closing(np.pad(above, 4), np.ones(size), 2)[4:-4, 4:-4, 4:-4])


def _above_otsu(data: Array) -> Mask:
    smooth = ndimage.gaussian_filter(data, [1 if n > 8 else 0 for n in data.shape])
    counts, edges = np.histogram(smooth, 256)
    centres = (edges[:-1] + edges[1:]) / 2
    below, above = np.cumsum(counts), np.cumsum(counts[::-1])[::-1]
    mean_below = np.cumsum(counts * centres) / np.maximum(below, 1)
    mean_above = (np.cumsum((counts * centres)[::-1]) / np.maximum(above[::-1], 1))[::-1]
    between = below[:-1] * above[1:] * (mean_below[:-1] - mean_above[1:]) ** 2
    # Otsu's cut lies between air and the mean of the body; halving it keeps dim skin and marrow.
    threshold = smooth.min() + 0.5 * (centres[int(np.argmax(between))] - smooth.min())
    return np.asarray(smooth > threshold)


def _largest(mask: Mask) -> Mask:
    parts, n = ndimage.label(mask)
    if n < 2:
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.asarray(parts == sizes.argmax())


def _filled(mask: Mask) -> Mask:
    """Holes closed slice by slice along every axis that is long enough: nostrils open a head in 3-D, not in a slice."""
    filled = ndimage.binary_fill_holes(mask)
    for k in range(mask.shape[2]):
        filled[:, :, k] = ndimage.binary_fill_holes(filled[:, :, k])
    return np.asarray(filled)


def _to_sitk(data: NDArray[Any], affine: Affine) -> sitk.Image:
    """The one place where an array (I, J, K) in RAS becomes a SimpleITK image (LPS, axes reversed)."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.transpose(2, 1, 0)))
    image.SetSpacing([float(value) for value in spacing])
    image.SetOrigin([float(value) for value in lps[:3, 3]])
    image.SetDirection([float(value) for value in (lps[:3, :3] / spacing).ravel()])
    return image


def _from_sitk(image: sitk.Image) -> Array:
    """Back to (I, J, K)."""
    return np.ascontiguousarray(sitk.GetArrayFromImage(image).transpose(2, 1, 0), dtype=np.float32)


@dataclass(frozen=True)
class Around:
    """What a step may use of the case beside the volume: the common grid, the mask, the limits that become 0 and 1."""

    grid: Grid
    mask: Mask
    limits: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True)
class Step:
    """One line of a recipe: its name for people, what it does in a sentence, its settings, its function."""

    title: str
    summary: str
    Config: type[Settings]
    apply: Callable[[Volume, Any, Around], Volume]


def _apply_mask(volume: Volume, config: MaskConfig, around: Around) -> Volume:
    if config.outside == "keep" or volume.is_label:
        return volume
    outside = AIR_HU if volume.unit == "HU" else min(0.0, float(volume.data.min()))
    return replace(volume, data=np.where(around.mask, volume.data, np.float32(outside)))


def _apply_normalise(volume: Volume, config: NormaliseConfig, around: Around) -> Volume:
    return normalise(volume, around.limits, config.clip)


STEPS: dict[str, Step] = {
    "canonical": Step(
        "Orientation",
        "Axes are turned to right, anterior, superior. No value changes.",
        CanonicalConfig,
        lambda volume, config, around: canonical(volume),
    ),
    "resample": Step(
        "One grid",
        "All modalities of a case are brought onto one grid.",
        ResampleConfig,
        lambda volume, config, around: resample(volume, around.grid),
    ),
    "mask": Step("Mask", "The voxels that are learnt from and judged are marked.", MaskConfig, _apply_mask),
    "normalise": Step(
        "Intensity",
        "Intensities are scaled to 0-1: Hounsfield units and uptake by fixed windows, MR by its own percentiles.",
        NormaliseConfig,
        _apply_normalise,
    ),
}
