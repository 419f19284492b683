"""The brain in a whole head: by deepbet in MR, by Hounsfield units in CT."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import nibabel as nib
import numpy as np
from scipy import ndimage

from core.preprocess.grids import Mask, canonical
from core.preprocess.masks import MAX_BRAIN_ML
from core.types import Volume

T1_LIKE = ("T1", "T1POST")
BRAIN_SOURCES = (*T1_LIKE, "FLAIR", "T2", "PD", "CT")  # deepbet knows T1 best; real T2 and FLAIR agree with it to 0.98
BRAIN_ML = (400.0, MAX_BRAIN_ML)  # a mask of another size is none
CT_BRAIN_HU, BONE_HU = (-5.0, 90.0), 300.0
CT_SMOOTH_MM, PASSAGE_MM, SHELL_MM = 1.0, 6.0, 8.0
ENCLOSED = 0.6  # share of the brain's surroundings that has bone within reach


def find_brain(volumes: Mapping[str, Volume]) -> tuple[str, Mask] | None:
    """The brain in the first image of a case in which one is found, and which image that is."""
    for name in BRAIN_SOURCES:
        if name in volumes:
            brain = brain_of_ct(volumes[name]) if name == "CT" else extract_brain(volumes[name])
            if brain is not None:
                return name, brain if name in T1_LIKE else _without_offshoots(brain, volumes[name].spacing_mm)
    return None


def _without_offshoots(mask: Mask, spacing_mm: tuple[float, ...]) -> Mask:
    """The largest part, without what hangs on it by a passage of under 12 mm, such as an eye."""
    core = ndimage.distance_transform_edt(mask, sampling=spacing_mm) > PASSAGE_MM
    parts, n = ndimage.label(core)
    if n == 0:
        return mask
    largest = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    return np.asarray(mask & (ndimage.distance_transform_edt(~largest, sampling=spacing_mm) < PASSAGE_MM + 1))


def brain_of_ct(volume: Volume) -> Mask | None:
    """(I, J, K) soft tissue that bone surrounds; None where none of a plausible size is, or without Hounsfield units.

    What narrow passages (the optic canals, the foramen magnum) join is parted by an erosion, as in Muschelli et al.
    2015, Validated automatic brain extraction of head CT images, NeuroImage 114.
    """
    if volume.unit != "HU":
        return None
    spacing = volume.spacing_mm
    smooth = ndimage.gaussian_filter(volume.data, [CT_SMOOTH_MM / mm for mm in spacing])
    soft = (smooth > CT_BRAIN_HU[0]) & (smooth < CT_BRAIN_HU[1])
    brain = np.asarray(ndimage.binary_fill_holes(_without_offshoots(soft, spacing)))
    if not _is_plausible(brain, volume):
        return None
    around = ndimage.distance_transform_edt(~brain, sampling=spacing)
    shell = (around > 0) & (around < SHELL_MM)
    is_enclosed = ndimage.maximum_filter(volume.data > BONE_HU, [round(2 * SHELL_MM / mm) + 1 for mm in spacing])[shell]
    return brain if is_enclosed.mean() > ENCLOSED else None


def _is_plausible(mask: Mask, volume: Volume) -> bool:
    return bool(BRAIN_ML[0] <= mask.sum() * np.prod(volume.spacing_mm) / 1000 <= BRAIN_ML[1])


def extract_brain(volume: Volume) -> Mask | None:
    """(I, J, K) where the brain is; None where none of a plausible size was found.

    Source:
        Fisch et al. 2024, deepbet: fast brain extraction of T1-weighted MRI using convolutional neural networks,
        Computers in Biology and Medicine 179.
    """
    turned = canonical(volume)
    image = nib.nifti1.Nifti1Image(turned.data, turned.affine)
    try:
        _, found, _ = _network().run(image)
    except (AssertionError, ValueError):  # nothing in the image that looks like a brain
        return None
    mask = np.asarray(found.dataobj) > 0
    if not _is_plausible(mask, turned):
        return None
    return np.asarray(_turned_back(mask, turned, volume))


def _turned_back(mask: Mask, turned: Volume, volume: Volume) -> Mask:
    """From the canonical axes to the volume's own."""
    there = nib.orientations.io_orientation(turned.affine)
    here = nib.orientations.io_orientation(volume.affine)
    turn = nib.orientations.ornt_transform(there, here)
    return np.asarray(nib.orientations.apply_orientation(mask, turn), bool)


@lru_cache(1)
def _network() -> Any:
    """Loaded once a process; torch is imported here only, so that pages do not wait for it."""
    from deepbet.bet import BrainExtraction

    return BrainExtraction(no_gpu=True)
