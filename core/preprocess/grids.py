"""Turning axes, and bringing a volume onto a grid."""

from __future__ import annotations

from dataclasses import dataclass

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from core.itk import from_itk, to_itk
from core.types import LABEL_UNIT, Affine, Volume

Mask = NDArray[np.bool_]
EVERYWHERE: Mask = np.ones((1, 1, 1), dtype=bool)  # of an image that was not brought onto another grid
MAX_VOXELS = 512**3
AIR_HU = -1024.0
NOWHERE = np.finfo(np.float32).min  # a value that no image has
TILT = np.cos(np.radians(15))  # axes farther than this from right, front and up are tilted
RIGHT_ANGLE = 1e-4  # cosine up to which two axes count as upright to each other


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the voxels of a prepared case lie: shape (I, J, K) and affine (4, 4), voxel -> RAS mm."""

    shape: tuple[int, int, int]
    affine: Affine

    def is_grid_of(self, volume: Volume) -> bool:
        """Whether the volume is on this very grid, to a thousandth of a voxel at every corner."""
        return volume.data.shape == self.shape and np.allclose(volume.affine, self.affine, atol=1e-3, rtol=1e-5)


def canonical(volume: Volume) -> Volume:
    """Turn and flip whole axes until they run closest to right, anterior, superior. No value changes.

    The first axis is contiguous, as in files and in SimpleITK: nothing is turned in memory again later.
    """
    turn = nib.orientations.io_orientation(volume.affine)
    if np.array_equal(turn, [[0, 1], [1, 1], [2, 1]]):
        return volume
    data = nib.orientations.apply_orientation(volume.data, turn)
    back = nib.orientations.inv_ornt_aff(turn, volume.data.shape)
    return volume.with_data(np.asfortranarray(data), volume.affine @ back)


def resample(volume: Volume, grid: Grid) -> Volume:
    """The volume on another grid: linear for intensities (no value leaves the range), nearest for label maps.

    What lies outside the image becomes air (CT) or the image's least value. A volume on this very grid is returned
    untouched.
    """
    return resample_covered(volume, grid)[0]


def resample_covered(volume: Volume, grid: Grid) -> tuple[Volume, Mask]:
    """The volume on another grid, as `resample` makes it, and (I, J, K) where on the grid it has data at all."""
    if grid.is_grid_of(volume):
        return volume.with_data(volume.data, grid.affine), np.ones(grid.shape, dtype=bool, order="F")
    place, transform = _place(volume.affine)
    moved = from_itk(
        sitk.Resample(
            to_itk(volume.data, place),
            to_itk(np.zeros(grid.shape, np.uint8), grid.affine),
            transform,
            sitk.sitkNearestNeighbor if volume.is_label else sitk.sitkLinear,
            float(NOWHERE),
            sitk.sitkFloat32,
        )
    )
    covered = moved != NOWHERE
    outside = AIR_HU if volume.unit == "HU" else 0.0 if volume.is_label else float(volume.data.min())
    np.copyto(moved, np.float32(outside), where=~covered)
    return volume.with_data(moved, grid.affine), covered


def _place(affine: Affine) -> tuple[Affine, sitk.Transform]:
    """Axes at right angles, and the transform that leads there from the true place of a stretched image."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if np.abs(axes.T @ axes - np.eye(3)).max() < RIGHT_ANGLE:
        return affine, sitk.Transform()
    straight = np.eye(4)
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    lps = flip @ np.linalg.inv(affine) @ flip
    transform = sitk.AffineTransform(3)
    transform.SetMatrix([float(value) for value in lps[:3, :3].ravel()])
    transform.SetTranslation([float(value) for value in lps[:3, 3]])
    return straight, transform


def is_tilted(affine: Affine) -> bool:
    """Whether an axis runs so far from right, front or up that slices are not axial any more."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.diag(axes).min() < TILT)


def upright(grid: Grid, spacing_mm: tuple[float, float, float]) -> Grid:
    """A grid along right, front and up that holds all of another."""
    corners = np.stack(np.meshgrid(*[(-0.5, n - 0.5) for n in grid.shape], indexing="ij"), axis=-1).reshape(-1, 3)
    places = corners @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    i, j, k = np.ceil(np.ptp(places, axis=0) / spacing_mm).astype(int)
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = places.min(axis=0) + np.asarray(spacing_mm) / 2
    return Grid((int(i), int(j), int(k)), affine)


def mask_on(mask: Mask, affine: Affine, grid: Grid) -> Mask:
    """A mask on another grid; false outside."""
    return np.asarray(resample(Volume(mask.astype(np.float32), affine, "mask", LABEL_UNIT), grid).data > 0)
