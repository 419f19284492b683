"""One target of one case, as it is judged: where the voxels that count lie, and every number in the right unit."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from core.dataset import Dataset
from core.metrics import DATA_RANGE, METRICS, bounding_box, is_in_unit, mae, psnr
from core.regions import regions_of
from core.structure import Mask, Pyramid
from core.synthrad import SynthRad
from core.types import PLACE, Array

REGIONAL = ("mae", "psnr", "ssim")  # what is told of a region


class Judge:
    """One target inside one mask; its own terms are computed once for many predictions.

    Args:
        regions: parts of the mask that are judged by themselves too: name -> (I, J, K).
    """

    def __init__(
        self, target: Array, mask: Mask, data_range: float = DATA_RANGE, regions: Mapping[str, Mask] | None = None
    ) -> None:
        self._box = bounding_box(mask)
        self._mask = np.ascontiguousarray(mask[self._box])
        self._truth = np.ascontiguousarray(target[self._box])
        self._range = data_range
        self._pyramid = Pyramid(self._truth, self._mask, data_range)
        self._regions = {name: np.flatnonzero(part[self._box] & self._mask) for name, part in (regions or {}).items()}

    def scores(self, prediction: Array) -> dict[str, float]:
        """Every metric of METRICS, and REGIONAL ones as NAME@REGION; `prediction` is (I, J, K), whole."""
        local = np.ascontiguousarray(prediction[self._box])
        scales = self._pyramid.compare(local)
        found = {
            name: metric.function(local, self._truth, self._mask, self._range)
            if metric.of_scales is None
            else metric.of_scales(scales)
            for name, metric in METRICS.items()
        }
        return found | self._regional(local, scales[0].map)

    def _regional(self, local: Array, alike: Array) -> dict[str, float]:
        """SSIM there is the mean of windows around voxels of the region, which see all of the mask."""
        found: dict[str, float] = {}
        for region, place in self._regions.items():
            if place.size:
                there = local.ravel()[place], self._truth.ravel()[place], np.ones(place.size, bool)
                values = mae(*there), psnr(*there, self._range), float(alike.ravel()[place].mean(dtype=np.float64))
                found |= {f"{name}{PLACE}{region}": value for name, value in zip(REGIONAL, values, strict=True)}
        return found


class CaseJudge:
    """One target of one case, prepared 0-1 images in: errors in HU or SUV, regions, CT also by SynthRAD's protocol.

    Args:
        slab: the slices that are judged; predictions hold these alone.
    """

    def __init__(self, dataset: Dataset, case_id: str, target: str, mask: Mask, slab: slice = slice(None)) -> None:
        truth = np.array(dataset.volume(case_id, target)[..., slab])
        regions = {name: part[..., slab] for name, part in regions_of(dataset, case_id, mask).items()}
        self._judge = Judge(truth, mask[..., slab], DATA_RANGE, regions)
        scale, offset = dataset.record(case_id)["scales"][target]
        self._scale, self._offset = np.float32(scale), np.float32(offset)
        self.unit_scale = dataset.unit_scale(target, case_id)
        is_ct = dataset.unit(target) == "HU"
        self._synthrad = SynthRad(self._in_hu(truth), mask[..., slab]) if is_ct else None

    def scores(self, image: Array) -> dict[str, float]:
        """Name -> number; MAE, also of a region, in the modality's unit."""
        found = {
            name: value * (self.unit_scale if is_in_unit(name) else 1)
            for name, value in self._judge.scores(image).items()
        }
        return found | (self._synthrad.scores(self._in_hu(image)) if self._synthrad else {})

    def _in_hu(self, image: Array) -> Array:
        return np.asarray(image * self._scale + self._offset, np.float32)


def judged_mask(dataset: Dataset, case_id: str, target: str) -> Mask:
    """The case's mask, within the target's field of view where one is known."""
    mask = np.array(dataset.mask(case_id))
    fov = f"{target}_fov"
    if fov in dataset.record(case_id)["label_maps"]:
        mask &= dataset.label_map(case_id, fov) > 0
    return mask
