"""Which voxels are judged: a brain, a body, or all of the image."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from core.boxes import box_of
from core.preprocess.grids import EVERYWHERE, Mask
from core.types import Array, Volume

BODY_HU = -400.0
EXTRACTED_SHARE = 0.2  # so much of an image exactly at its background: somebody has cut it out
IN_SLICE = np.zeros((3, 3, 3), bool)
IN_SLICE[1] = ndimage.generate_binary_structure(2, 1)  # neighbours within a slice only
MAX_BRAIN_ML = 2200.0  # more than that is a head


def make_mask(reference: Volume, method: str, covered: Mask = EVERYWHERE) -> tuple[Mask, list[str]]:
    """The voxels that are judged, from one image on the grid, and warnings.

    "brain" takes what is not background in a brain-extracted image; where the image still has a head around the
    brain, the head is taken and BRAIN-NOT-EXTRACTED warned of. What is not `covered` is no part of the image: it is
    neither judged nor taken for a background that somebody made.
    """
    field = np.broadcast_to(covered, reference.data.shape)
    if method == "none" or not field.any():
        return np.array(field), []
    box = box_of(field)
    data, seen = reference.data[box], field[box]
    background = background_of(data, seen)
    is_extracted = reference.unit != "HU" and _is_common(data, background, seen)
    barely = 1e-6 * (data.max() - background)  # what interpolation's rounding leaks into neighbouring voxels
    mask = np.zeros(field.shape, bool, order="F")
    mask[box] = _largest_filled(data > background + barely if is_extracted else _body(data, reference.unit, seen))
    is_head = mask.sum() * np.prod(reference.spacing_mm) > 1000 * MAX_BRAIN_ML
    warnings = ["BRAIN-NOT-EXTRACTED"] if method == "brain" and (is_head or not is_extracted) else []
    if mask.sum() < 0.02 * field.sum():
        return np.array(field), [*warnings, "NO-FOREGROUND"]
    return mask, warnings


def background_of(data: Array, covered: Mask = EVERYWHERE) -> np.float32:
    """What surrounds the object: 0 where much is just that (interpolation rings below it), else the least value."""
    return np.float32(0) if _is_common(data, np.float32(0), covered) else np.float32(data.min())


def is_cut_out(volume: Volume, covered: Mask = EVERYWHERE) -> bool:
    """Whether so much is exactly background that somebody has cut the object out, or its air has been blackened."""
    return _is_common(volume.data, background_of(volume.data, covered), covered)


def _is_common(data: Array, value: np.float32, covered: Mask) -> bool:
    """Whether so much of what is covered has this very value that somebody has put it there."""
    n_covered = np.count_nonzero(np.broadcast_to(covered, data.shape))
    return bool(np.count_nonzero((data == value) & covered) > EXTRACTED_SHARE * n_covered)


def _body(data: Array, unit: str, covered: Mask) -> Mask:
    """What is not air: by Hounsfield units in CT, else by Otsu's threshold on a lightly smoothed image."""
    size = [3 if n > 8 else 1 for n in data.shape]
    above = data > BODY_HU if unit == "HU" else _above_otsu(data, covered)
    return np.asarray(ndimage.binary_closing(np.pad(above, 4), np.ones(size), 2)[4:-4, 4:-4, 4:-4])


def _above_otsu(data: Array, covered: Mask) -> Mask:
    smooth = ndimage.gaussian_filter(data, [1 if n > 8 else 0 for n in data.shape])
    judged = smooth[covered]
    counts, edges = np.histogram(judged, 256)
    centres = (edges[:-1] + edges[1:]) / 2
    below, above = np.cumsum(counts), np.cumsum(counts[::-1])[::-1]
    mean_below = np.cumsum(counts * centres) / np.maximum(below, 1)
    mean_above = (np.cumsum((counts * centres)[::-1]) / np.maximum(above[::-1], 1))[::-1]
    between = below[:-1] * above[1:] * (mean_below[:-1] - mean_above[1:]) ** 2
    # Otsu's cut lies between air and the mean of the body; halving it keeps dim skin and marrow.
    threshold = judged.min() + 0.5 * (centres[int(np.argmax(between))] - judged.min())
    return np.asarray(smooth > threshold)


def _largest_filled(mask: Mask) -> Mask:
    """The largest part, its holes closed slice by slice: nostrils open a head in 3-D, not in a slice."""
    box = box_of(mask)
    inside = np.ascontiguousarray(mask[box].transpose(2, 1, 0))  # slice after slice in memory
    result = np.zeros(mask.shape, bool, order="F")
    result[box] = _without_holes(_largest(inside)).transpose(2, 1, 0)
    return result


def _largest(mask: Mask) -> Mask:
    parts, n = ndimage.label(mask)
    if n < 2:
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.asarray(parts == sizes.argmax())


def _without_holes(mask: Mask) -> Mask:
    """(slices, rows, columns) without what cannot be reached from the edge of its slice."""
    parts, n = ndimage.label(~mask, structure=IN_SLICE)
    reached = np.zeros(n + 1, bool)
    for edge in (parts[:, 0], parts[:, -1], parts[:, :, 0], parts[:, :, -1]):
        reached[edge] = True
    reached[0] = False
    return np.asarray(~reached[parts])
