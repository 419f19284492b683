"""Structures of an image: spots that stand out from what surrounds them, bright or dark, and how much they do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.structure import Mask
from core.types import Array

FINE_MM, BROAD_MM = 3.0, 24.0  # what is smoothed away, and what counts as around
STANDS_OUT = 2.5  # robust standard deviations of the mask's voxels
LEAST_ML, MOST_ML = 0.4, 30.0  # smaller is noise, larger is anatomy
SHELL_MM = 6.0
Spacing = tuple[float, float, float]
Places = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Structure:
    """One of them.

    Attributes:
        voxels: flat indices into the volume.
        shell: those around it, within the mask and outside every structure.
        sign: 1 where it is brighter than what surrounds it, -1 where it is darker.
    """

    voxels: Places
    shell: Places
    sign: int

    def contrast(self, image: Array) -> float:
        """How far it stands out of its shell in an image, above 0 in its own direction."""
        values = image.ravel()
        return self.sign * float(values[self.voxels].mean() - values[self.shell].mean())


def structures_of(image: Array, mask: Mask, spacing_mm: Spacing) -> list[Structure]:
    """All of an image (I, J, K) inside the mask, in the order of their first voxels, bright ones first."""
    apart = np.where(mask, _smooth(image, mask, FINE_MM, spacing_mm) - _smooth(image, mask, BROAD_MM, spacing_mm), 0)
    scale = 1.4826 * float(np.median(np.abs(apart[mask]))) if mask.any() else 0.0
    if scale == 0:
        return []
    voxel_ml, least = float(np.prod(spacing_mm)) / 1000, STANDS_OUT * scale
    free = mask & (np.abs(apart) <= least)
    found: list[Structure] = []
    for sign in (1, -1):
        labels, n = ndimage.label(mask & (sign * apart > least))
        for number, box in enumerate(ndimage.find_objects(labels, n), 1):
            if LEAST_ML <= voxel_ml * np.count_nonzero(labels[box] == number) <= MOST_ML:
                found += _structure(labels, number, box, free, sign, spacing_mm)
    return [one for one in found if one.contrast(image) > least]  # the halo of a neighbour has none of its own


def _structure(
    labels: NDArray[np.int32], number: int, box: tuple[slice, ...], free: Mask, sign: int, spacing_mm: Spacing
) -> list[Structure]:
    """As a list of one; of none where nothing surrounds it."""
    reach = [int(np.ceil(SHELL_MM / step)) for step in spacing_mm]
    wide = tuple(slice(max(0, s.start - r), s.stop + r) for s, r in zip(box, reach, strict=True))
    own = labels[wide] == number
    near = ndimage.distance_transform_edt(~own, sampling=spacing_mm) <= SHELL_MM
    shell = near & free[wide]
    if not shell.any():
        return []
    first = [s.start for s in wide]
    voxels, around = (
        np.ravel_multi_index(tuple(at + f for at, f in zip(np.nonzero(part), first, strict=True)), labels.shape)
        for part in (own, shell)
    )
    return [Structure(voxels, around, sign)]


def _smooth(image: Array, mask: Mask, fwhm_mm: float, spacing_mm: Spacing) -> Array:
    """A Gaussian mean over the mask's voxels alone."""
    sigma = [fwhm_mm / 2.355 / step for step in spacing_mm]
    weights = ndimage.gaussian_filter(mask.astype(np.float32), sigma)
    sums = ndimage.gaussian_filter(np.where(mask, image, 0).astype(np.float32), sigma)
    return np.asarray(sums / np.maximum(weights, 1e-6), np.float32)
