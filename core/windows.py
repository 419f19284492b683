"""What a network sees of a case at once: an axial slice, a stack of slices, or a patch; and where windows lie.

A window's place is one number: a slice's index, or the index of a patch's first voxel in the flattened volume.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from core.models.base import Shapes
from core.types import Array

Triple = tuple[int, int, int]
V = TypeVar("V", bound=np.generic)


def starts(length: int, window: int, overlap: float) -> list[int]:
    """Where windows begin along an axis: evenly, covering all of it, the last flush with the end."""
    n = 1 + math.ceil((length - window) / max(1, int(window * (1 - overlap))))
    return [round(step) for step in np.linspace(0, length - window, n)]


def patch_places(shape: Triple, size: Sequence[int], overlap: float) -> list[int]:
    """The places of patches that cover a volume (I, J, K), neighbours sharing at least `overlap` of their length."""
    axes = [starts(length, window, overlap) for length, window in zip(shape, size, strict=True)]
    return [int(np.ravel_multi_index(corner, shape)) for corner in product(*axes)]


def moved(place: int, shape: Triple, size: Sequence[int], rng: np.random.Generator) -> int:
    """A patch up to a quarter of its length away, still inside."""
    corner = np.unravel_index(place, shape)
    reach = [max(1, window // 4) for window in size]
    steps = [int(rng.integers(-r, r + 1)) for r in reach]
    kept = [
        min(max(0, int(at) + step), length - window)
        for at, step, length, window in zip(corner, steps, shape, size, strict=True)
    ]
    return int(np.ravel_multi_index(kept, shape))


def corner_of(place: int, shape: Triple) -> Triple:
    """The first voxel of a patch."""
    i, j, k = (int(at) for at in np.unravel_index(place, shape))
    return i, j, k


def slice_position(place: int, shape: Triple, shapes: Shapes) -> int:
    """The slice that a window stands for: its own, or the middle one of a patch."""
    if shapes.spatial_dims == 2:
        return place
    return corner_of(place, shape)[2] + shapes.size[2] // 2


def cut_image(slices: NDArray[np.float32], number: int, place: int, shapes: Shapes) -> Array:
    """(C, *size) of modality `number` from a case's (K, M, I, J); a stack repeats the volume's end slices."""
    depth, _, i, j = slices.shape
    if shapes.spatial_dims == 2:
        reach = shapes.channels // 2
        chosen = np.clip(np.arange(place - reach, place - reach + shapes.channels), 0, depth - 1)
        return np.array(slices[chosen, number]) if shapes.channels > 1 else np.array(slices[place, number])[None]
    across, along, up = box_of(place, (i, j, depth), shapes)
    return np.array(slices[up, number, across, along].transpose(1, 2, 0))[None]


def cut_mask(mask: NDArray[V], place: int, shapes: Shapes) -> NDArray[V]:
    """(1, *size) of a case's mask or label map (I, J, K); that of a stack is its middle slice's."""
    if shapes.spatial_dims == 2:
        return np.array(mask[:, :, place])[None]
    i, j, k = mask.shape
    return np.array(mask[box_of(place, (i, j, k), shapes)])[None]


def box_of(place: int, shape: Triple, shapes: Shapes) -> tuple[slice, slice, slice]:
    """Where a patch lies in its volume."""
    i, j, k = (slice(at, at + n) for at, n in zip(corner_of(place, shape), shapes.size, strict=True))
    return i, j, k


def middle(shapes: Shapes) -> int:
    """Which channel of a stack is the slice itself."""
    return shapes.channels // 2


def patch_weights(size: Sequence[int]) -> Array:
    """How much a patch's voxels count where patches overlap: a bell with a standard deviation of an eighth of it.

    Source:
        Isensee et al. 2021, doi:10.1038/s41592-020-01008-z, for the Gaussian importance of a patch's middle.
    """
    bells = [np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (n / 8)) ** 2) for n in size]
    weights = bells[0][:, None, None] * bells[1][:, None] * bells[2]
    return np.asarray(np.maximum(weights, 1e-3), np.float32)
