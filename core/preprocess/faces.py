"""Whether an image shows a face that could be recognised: a head in air, its front there down to the eyes, and sharp.

Looked at are the outlines of axial slices: by them an extracted brain, a head without its face, a limb and a trunk
differ from a head. Where that leaves a doubt, a face is assumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.boxes import box_of
from core.preprocess.grids import EVERYWHERE, Grid, Mask, is_tilted, mask_on, resample_covered, upright
from core.preprocess.masks import make_mask
from core.types import Volume

FACE_VISIBLE = "FACE-VISIBLE"
FACELESS = ("PET", "SPECT", "NM", "US", "XA", "SC", "OCT")  # no skin, or nothing of a person's features
COARSE_MM = 4.0
TOP_MM = 500.0  # a head lies at the upper end of an image
MIN_CM2, MAX_CM2 = 150.0, 420.0  # the largest outline of a head
BRAIN_CM2 = 190.0  # that of an extracted brain is smaller
MIN_LENGTH_MM, MAX_LENGTH_MM, MAX_WIDTH_MM = 140.0, 280.0, 230.0
DOME = 0.85  # a head closes towards its top, a limb does not
STRIP_MM = 35.0  # to each side of the middle: forehead, eyes and nose
RECESS_MM = 28.0  # eyes and mouth lie no farther behind the forehead
DEPTH_MM = 33.0  # the forehead reaches about 20 mm below the largest outline, the eyes 40
BLUR_MM = 5.0  # skin that rises from the air over a longer way shows no features
SKIN_HU = 50.0


@dataclass(frozen=True)
class _Outline:
    """What one axial slice shows of the body.

    Attributes:
        middle, front: voxels: the column in the middle, the foremost row near it.
        is_cut: whether the image ends before the body does: on both sides; in front.
    """

    area_cm2: float = 0.0
    width_mm: float = 0.0
    length_mm: float = 0.0
    middle: int = 0
    front: int = -1
    is_cut: tuple[bool, bool] = (False, False)


def shows_face(volume: Volume, covered: Mask = EVERYWHERE) -> bool:
    """Whether somebody could be recognised by the surface that this image shows where it is `covered`."""
    if volume.is_label or volume.unit == "SUV" or volume.modality in FACELESS:
        return False
    if is_tilted(volume.affine):
        volume, covered = _upright(volume, covered)
    top, seen = _top(volume, covered)
    if min(top.data.shape) < 4:
        return False
    steps = _steps(top)
    thin = tuple(slice(None, None, step) for step in steps)
    coarse = top.with_data(top.data[thin], top.affine @ np.diag([*steps, 1.0]))
    mask, doubts = make_mask(coarse, "brain", seen[thin])
    outlines = [_outline(part, coarse.spacing_mm) for part in _parts(mask, is_ct=volume.unit == "HU")]
    widest = _widest(outlines)
    if widest < 0 or not _is_head(outlines[widest], is_extracted=not doubts):
        return False
    forehead_mm = outlines[widest].front * coarse.spacing_mm[1]
    fronts_mm = np.array([outline.front for outline in outlines[widest::-1]]) * coarse.spacing_mm[1]
    levels = int(np.argmin(np.append(fronts_mm >= forehead_mm - RECESS_MM, False)))  # until the front recedes
    if (levels - 1) * coarse.spacing_mm[2] < DEPTH_MM:
        return False
    lines = _lines(top, outlines[widest], (steps[0], steps[1], widest * steps[2]))
    return _edge_mm(lines, top.spacing_mm[1]) <= BLUR_MM


def _steps(volume: Volume) -> tuple[int, int, int]:
    i, j, k = (max(1, int(COARSE_MM / size)) for size in volume.spacing_mm)
    return i, j, k


def _upright(volume: Volume, covered: Mask) -> tuple[Volume, Mask]:
    i, j, k = volume.data.shape
    grid = upright(Grid((i, j, k), volume.affine), volume.spacing_mm)
    moved, seen = resample_covered(volume, grid)
    field = np.broadcast_to(covered, volume.data.shape)
    return moved, seen & mask_on(field, volume.affine, grid)


def _top(volume: Volume, covered: Mask) -> tuple[Volume, Mask]:
    """The upper end of a long image, without what only pads it, and where in that it has data."""
    field = np.broadcast_to(covered, volume.data.shape)
    i, j, k = box_of(field)
    box = i, j, slice(max(k.start, k.stop - int(TOP_MM / volume.spacing_mm[2])), k.stop)
    data = volume.data[box]
    if volume.unit == "HU":
        data = np.minimum(data, np.float32(SKIN_HU))  # bone behind the skin is no edge of it
    return volume.with_data(data), field[box]


def _parts(mask: Mask, is_ct: bool) -> list[Mask]:
    """The largest part of each axial slice; in CT without what is thin, such as the holder of the head."""
    parts = []
    for k in range(mask.shape[2]):
        part = ndimage.binary_opening(mask[:, :, k], np.ones((3, 3))) if is_ct else mask[:, :, k]
        labels, n = ndimage.label(part)
        parts.append(labels == 1 + np.bincount(labels.ravel())[1:].argmax() if n > 1 else part)
    return parts


def _outline(part: Mask, spacing_mm: Sequence[float]) -> _Outline:
    columns, rows = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
    if not len(columns):
        return _Outline()
    middle, reach = int(columns[0] + columns[-1]) // 2, int(STRIP_MM / spacing_mm[0])
    near = np.flatnonzero(part[max(0, middle - reach) : middle + reach + 1].any(axis=0))
    return _Outline(
        float(part.sum()) * spacing_mm[0] * spacing_mm[1] / 100,
        float(columns[-1] - columns[0] + 1) * spacing_mm[0],
        float(rows[-1] - rows[0] + 1) * spacing_mm[1],
        middle,
        int(near[-1]) if len(near) else -1,
        (bool(part[0].any() and part[-1].any()), bool(part[:, -1].any())),
    )


def _widest(outlines: Sequence[_Outline]) -> int:
    """The slice with the largest outline above the shoulders; -1 where nothing there closes like a head."""
    shoulders = max((k for k, outline in enumerate(outlines) if outline.width_mm > MAX_WIDTH_MM), default=-1)
    areas = np.array([outline.area_cm2 if k > shoulders else 0.0 for k, outline in enumerate(outlines)])
    seen = np.flatnonzero(areas)
    if not len(seen) or areas[seen[-1]] > DOME * areas.max():
        return -1
    return int(np.median(np.flatnonzero(areas >= 0.97 * areas.max())))


def _is_head(outline: _Outline, is_extracted: bool) -> bool:
    """By its size; a head may be cut off at both sides, as in a stack of sagittal slices, or in front, but not both."""
    if all(outline.is_cut):
        return False
    least = 0.0 if outline.is_cut[0] else BRAIN_CM2 if is_extracted else MIN_CM2
    return least <= outline.area_cm2 <= MAX_CM2 and MIN_LENGTH_MM <= outline.length_mm <= MAX_LENGTH_MM


def _lines(top: Volume, outline: _Outline, steps: tuple[int, int, int]) -> NDArray[np.float32]:
    """(lines, voxels) of the image itself, from 20 mm in front of the forehead to 12 mm behind its skin."""
    ahead, behind = int(20 / top.spacing_mm[1]), int(12 / top.spacing_mm[1])
    front, middle, reach = outline.front * steps[1], outline.middle * steps[0], max(1, int(20 / top.spacing_mm[0]))
    rows = slice(max(0, front - behind), front + ahead + 1)
    return np.asarray(top.data[max(0, middle - reach) : middle + reach + 1, rows, steps[2]][:, ::-1])


def _edge_mm(lines: NDArray[np.float32], spacing_mm: float) -> float:
    """Over how many millimetres the brightness rises from the air to the skin, in half of the lines."""
    rise = lines.max(axis=1) - lines.min(axis=1)
    steepest = np.diff(lines, axis=1).max(axis=1) / spacing_mm
    return float(np.median(rise / np.maximum(steepest, 1e-9)))


def with_face_check(volume: Volume) -> Volume:
    """The volume with a warning where it shows a face."""
    return replace(volume, warnings=(*volume.warnings, FACE_VISIBLE)) if shows_face(volume) else volume
