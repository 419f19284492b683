"""From a file's axes to RAS: the only place where orientations are converted."""

from __future__ import annotations

from typing import Literal

import numpy as np
from nibabel import orientations
from numpy.typing import NDArray
from scipy import ndimage

from core.errors import UnreadableImageError
from core.types import Affine, Array

MIN_SPACING_MM, MAX_SPACING_MM = 1e-3, 100.0


def lps_to_ras(affine: Affine) -> Affine:
    """A matrix voxel -> LPS mm (DICOM, pictures) as voxel -> RAS mm."""
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def check_affine(affine: Affine) -> tuple[float, float, float]:
    """The spacing of a usable matrix.

    Raises:
        UnreadableImageError: It is not finite, flattens an axis, or a spacing is not within 0.001 to 100 mm.
    """
    if not np.isfinite(affine).all():
        raise UnreadableImageError(
            "The geometry holds values that are not numbers; export the image again.", "GEOMETRY"
        )
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not ((spacing >= MIN_SPACING_MM) & (spacing <= MAX_SPACING_MM)).all():
        raise UnreadableImageError(
            "The distance between voxels is not within 0.001 and 100 mm; correct the header and export again.",
            "SPACING",
        )
    if abs(np.linalg.det(affine[:3, :3] / spacing)) < 1e-3:
        raise UnreadableImageError("The geometry flattens the image (its axes are not independent).", "GEOMETRY")
    if np.abs(affine[:3, 3]).max() > 1e5:
        raise UnreadableImageError(
            "The image lies more than 100 m from the origin; its geometry is damaged.", "GEOMETRY"
        )
    i, j, k = spacing
    return float(i), float(j), float(k)


def is_sheared(affine: Affine) -> bool:
    """Whether two axes are more than about 0.6 degrees off a right angle."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() > 0.01)


def orientation(affine: Affine) -> str:
    """ "RAS", "LPS", ...: where each axis points to, as found."""
    return "".join(code or "?" for code in orientations.aff2axcodes(affine))


def to_ras(data: NDArray[np.generic], affine: Affine) -> tuple[Array, Affine]:
    """Swap and flip axes so that they run closest to right, anterior, superior; nothing is interpolated.

    Args:
        data: (a, b, c), any order.
        affine: voxel -> RAS mm of `data`.
    """
    check_affine(affine)
    turn = orientations.io_orientation(affine)
    turned = orientations.apply_orientation(data, turn)
    matrix = affine @ orientations.inv_ornt_aff(turn, data.shape)
    # Kept in the order in which it lies in memory: transposing 300 MB takes longer than reading them.
    lies_first_axis_first = abs(turned.strides[0]) < abs(turned.strides[2])
    order: Literal["F", "C"] = "F" if lies_first_axis_first else "C"
    return np.asarray(turned, dtype=np.float32, order=order), np.asarray(matrix, dtype=np.float64)


def flips_to_ras(affine: Affine) -> tuple[slice, slice, slice]:
    """Steps of 1 or -1 along the axes of an image with this matrix: those that `to_ras` will turn round."""
    i, j, k = (slice(None, None, int(step)) for step in orientations.io_orientation(affine)[:, 1])
    return i, j, k


def straighten(data: Array, affine: Affine) -> tuple[Array, Affine]:
    """Shift the slices (last axis) of a sheared stack within their planes, so that they lie above each other.

    Linear interpolation; the grid grows so that nothing is lost, and is filled with the smallest value.
    """
    u, v, step = affine[:3, 0], affine[:3, 1], affine[:3, 2]
    per_slice = np.array([step @ u / (u @ u), step @ v / (v @ v)])  # in voxels
    upright = step - per_slice[0] * u - per_slice[1] * v
    n = data.shape[2]
    low = np.floor(np.minimum(0, per_slice * (n - 1))).astype(int)
    grown = np.ceil(np.maximum(0, per_slice * (n - 1))).astype(int) - low
    fill = float(data.min())
    padded = np.pad(data, [(0, int(grown[0])), (0, int(grown[1])), (0, 0)], constant_values=fill)
    result = np.empty_like(padded)
    for k in range(n):
        result[:, :, k] = ndimage.shift(padded[:, :, k], k * per_slice - low, order=1, cval=fill)
    straight = affine.copy()
    straight[:3, 2] = upright
    straight[:3, 3] += low[0] * u + low[1] * v
    return result, straight


def picture_to_ras(picture: NDArray[np.generic], spacing_mm: tuple[float, float] = (1.0, 1.0)) -> tuple[Array, Affine]:
    """A picture (rows, columns), seen as an axial slice: columns run to the patient's left, rows to posterior.

    Args:
        spacing_mm: between rows, between columns.

    Returns:
        (columns, rows, 1) with both axes flipped, and its matrix.
    """
    row_mm, column_mm = spacing_mm
    affine = lps_to_ras(np.diag([column_mm, row_mm, 1.0, 1.0]))
    return to_ras(picture.T[:, :, None], affine)
