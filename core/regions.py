"""Parts of a case that are judged by themselves: tissues, and a lesion with what lies close to it."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from core.dataset import Dataset
from core.structure import Mask
from core.tasks import CLASS_NAMES

LESION = "lesion"  # the label map, and the region's name
LESION_MARGIN_MM = 5.0
LEAST_VOXELS = 20  # fewer say nothing of a region


def regions_of(dataset: Dataset, case_id: str, mask: Mask) -> dict[str, Mask]:
    """Name -> voxels of the mask, for every class of the label maps whose classes are known by name.

    They are the truth's: for judging, never for a prediction.
    """
    found: dict[str, Mask] = {}
    for name in dataset.record(case_id)["label_maps"]:
        if name in CLASS_NAMES:
            classes = np.asarray(dataset.label_map(case_id, name))
            for number, words in enumerate(CLASS_NAMES[name][1:], 1):
                part = classes == number
                found[words] = (_with_margin(part, dataset.spacing_mm) if name == LESION else part) & mask
    return {name: part for name, part in found.items() if part.sum() >= LEAST_VOXELS}


def region_words(region: str) -> str:
    """As a person reads it."""
    return f"Lesion + {LESION_MARGIN_MM:g} mm" if region == LESION else region[:1].upper() + region[1:]


def _with_margin(part: Mask, spacing_mm: tuple[float, float, float]) -> Mask:
    if not part.any():
        return part
    return np.asarray(ndimage.distance_transform_edt(~part, sampling=spacing_mm) <= LESION_MARGIN_MM)
