"""A box of one size around what is judged, cut from every case alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from core.config import Settings
from core.preprocess.grids import AIR_HU, Grid
from core.preprocess.piece import Piece
from core.types import Volume


class CropConfig(Settings):
    size_mm: float = Field(
        0.0, ge=0, le=1000, description="Edge of the box around the middle of the mask, in millimetres; 0 keeps all"
    )


def crop_case(piece: Piece, config: CropConfig) -> Piece:
    """Everything of the case in a box of `size_mm` (whole voxels; an axis of one slice is kept whole)."""
    if not config.size_mm:
        return piece
    shape = np.array(piece.grid.shape)
    spacing = np.linalg.norm(piece.grid.affine[:3, :3], axis=0)
    size = np.where(shape > 1, np.maximum(1, np.round(config.size_mm / spacing)), 1).astype(int)
    inside = np.argwhere(piece.mask) if piece.mask.any() else np.array([[0, 0, 0], shape - 1])
    start = np.floor((inside.min(axis=0) + inside.max(axis=0) + 1 - size) / 2).astype(int)
    affine = piece.grid.affine.copy()
    affine[:3, 3] = affine[:3, :3] @ start + affine[:3, 3]
    grid = Grid((int(size[0]), int(size[1]), int(size[2])), affine)
    volumes = {name: _cut_volume(volume, start, size, grid) for name, volume in piece.volumes.items()}
    covered = {name: _cut(mask, start, size, False) for name, mask in piece.covered.items()}
    return replace(piece, volumes=volumes, covered=covered, mask=_cut(piece.mask, start, size, False), grid=grid)


def _cut_volume(volume: Volume, start: NDArray[np.int64], size: NDArray[np.int64], grid: Grid) -> Volume:
    outside = 0.0 if volume.is_label else AIR_HU if volume.unit == "HU" else float(volume.data.min())
    return volume.with_data(_cut(volume.data, start, size, outside), grid.affine)


def _cut(array: NDArray, start: NDArray[np.int64], size: NDArray[np.int64], outside: float) -> NDArray:  # type: ignore[type-arg]
    """`size` voxels from `start`, which may lie outside the array."""
    result = np.full(tuple(size), outside, array.dtype, order="F" if array.flags.f_contiguous else "C")
    low, high = np.maximum(start, 0), np.minimum(start + size, array.shape)
    if (high > low).all():
        there = tuple(slice(a, b) for a, b in zip(low - start, high - start, strict=True))
        result[there] = array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    return result
