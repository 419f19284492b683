"""The brain in a whole head: extracted by deepbet from a T1 image."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import nibabel as nib
import numpy as np

from core.preprocess.grids import Mask, canonical
from core.types import Volume

T1_LIKE = ("T1", "T1POST")
BRAIN_ML = (400.0, 2200.0)  # a mask of another size is none


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
    size_ml = mask.sum() * float(np.prod(turned.spacing_mm)) / 1000
    if not BRAIN_ML[0] <= size_ml <= BRAIN_ML[1]:
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
