"""Tissue by what a synthesis and the given images show: the nearest class of the training cases, never the truth.

Error bars are calibrated by these, because only what can be told of a new patient can choose the width of a bar.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.dataset import Dataset
from core.structure import Mask
from core.tasks import CLASS_NAMES
from core.types import Array

MAPS = {"HU": ("tissue_ct", "tissue")}  # by the target's unit; else:
USUAL = ("tissue", "tissue_ct")
BANDS = ("dark", "medium", "bright")  # thirds of the synthesis' values, where no map of tissues is known
LEAST_SHARE = 0.01  # of the voxels learnt from; a rarer class is not told apart


@dataclass(frozen=True, eq=False)
class TissueReader:
    """Classes by their mean intensities.

    Attributes:
        names: of the classes.
        means: (C, F) of each class in each image.
        sd: (F,) within classes.
    """

    names: tuple[str, ...]
    means: NDArray[np.float64]
    sd: NDArray[np.float64]

    def classes(self, images: Array) -> NDArray[np.intp]:
        """(n, F) intensities -> (n,) the nearest class."""
        scaled = (images / self.sd).astype(np.float32)
        apart = [((scaled - mean / self.sd) ** 2).sum(1) for mean in self.means]
        return np.asarray(np.argmin(apart, axis=0))

    def to_json(self) -> dict[str, Any]:
        return {"names": list(self.names), "means": self.means.tolist(), "sd": self.sd.tolist()}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> TissueReader:
        return TissueReader(tuple(values["names"]), np.array(values["means"], float), np.array(values["sd"], float))


def intensities(synthesis: Array, given: Sequence[Array], mask: Mask) -> Array:
    """(n, F) of the mask's voxels."""
    return np.stack([image[mask] for image in (synthesis, *given)], 1).astype(np.float32)


def map_for(dataset: Dataset, case_ids: Sequence[str], target: str) -> str:
    """The label map of tissues that all these cases have; "" where there is none."""
    names = MAPS.get(dataset.unit(target), USUAL)
    known = [set(dataset.record(case_id)["label_maps"]) for case_id in case_ids]
    return next((name for name in names if known and all(name in has for has in known)), "")


def fit_reader(images: Array, classes: NDArray[np.integer] | None, map_name: str) -> TissueReader:
    """(n, F) intensities of training cases and (n,) their classes; without a map, thirds of the synthesis' values."""
    if classes is None:
        means = np.quantile(images[:, 0], [1 / 6, 1 / 2, 5 / 6]).astype(np.float64)
        return TissueReader(BANDS, _padded(means, images.shape[1]), np.ones(images.shape[1]))
    kept = [c for c in range(len(CLASS_NAMES[map_name])) if np.mean(classes == c) >= LEAST_SHARE]
    groups = [images[classes == c].astype(np.float64) for c in kept]
    within = np.mean([group.var(0) for group in groups], 0)
    names = tuple(CLASS_NAMES[map_name][c] for c in kept)
    return TissueReader(names, np.array([group.mean(0) for group in groups]), np.maximum(np.sqrt(within), 1e-3))


def _padded(means: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """(C, n): the given images do not count."""
    return np.concatenate([means[:, None], np.zeros((len(means), n - 1))], 1)
