"""What is measured of each case, once: the mask's size, the brightness inside it, how the images were acquired."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from core.dataset import Dataset
from core.quality.imprints import Mask, Spacing

QUARTILES = (25.0, 50.0, 75.0)
THICK = 1.3  # a voxel so much longer along one axis than along the others tells the plane of the slices
SLICES_ALONG = ("sagittal", "coronal", "axial")  # right, anterior, superior


@dataclass(frozen=True)
class Brightness:
    """Median and quartiles inside the mask, on the prepared scale."""

    low: float
    median: float
    high: float

    @property
    def spread(self) -> float:
        """The range of the middle half."""
        return self.high - self.low


@dataclass(frozen=True)
class Source:
    """How an image came in.

    Attributes:
        plane: "axial", "coronal" or "sagittal" slices, "3-D" voxels, or "picture" for a single slice.
        tilt_degrees: the largest angle between an axis of the image and the patient's axis next to it.
    """

    shape: tuple[int, int, int]
    spacing_mm: Spacing
    plane: str
    tilt_degrees: float


@dataclass(frozen=True)
class Measured:
    """One case.

    Attributes:
        mask_ml: volume of what is judged.
        brightness: modality -> what is inside the mask.
        sources: modality -> how it came in; empty where the cohort is gone.
    """

    mask_ml: float
    brightness: Mapping[str, Brightness]
    sources: Mapping[str, Source]

    def to_json(self) -> dict[str, Any]:
        """Plain values for a file."""
        return asdict(self)

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Measured:
        """What `to_json` gave."""
        sources = {
            m: Source(_triple(s["shape"]), _triple(s["spacing_mm"]), s["plane"], s["tilt_degrees"])
            for m, s in values["sources"].items()
        }
        brightness = {m: Brightness(**b) for m, b in values["brightness"].items()}
        return Measured(values["mask_ml"], brightness, sources)


def _triple(values: Any) -> tuple[Any, Any, Any]:
    i, j, k = values
    return i, j, k


def measure_case(dataset: Dataset, case_id: str, facts: Mapping[str, Any]) -> Measured:
    """Read one case through once.

    Args:
        facts: modality -> what the cohort's record says of it.
    """
    mask = np.asarray(dataset.mask(case_id))
    voxel_ml = float(np.prod(dataset.spacing_mm)) / 1000
    present = dataset.record(case_id)["modalities"]
    brightness = {modality: _brightness(dataset, case_id, modality, mask) for modality in present}
    sources = {modality: source_of(facts[modality]) for modality in present if modality in facts}
    return Measured(float(mask.sum()) * voxel_ml, brightness, sources)


def _brightness(dataset: Dataset, case_id: str, modality: str, mask: Mask) -> Brightness:
    """Of an image with a limited field of view, inside that field."""
    where = mask
    if f"{modality}_fov" in dataset.record(case_id)["label_maps"]:
        seen = mask & (dataset.label_map(case_id, f"{modality}_fov") > 0)
        where = seen if seen.any() else mask
    values = dataset.volume(case_id, modality)[where]
    low, median, high = (float(v) for v in np.percentile(values, QUARTILES)) if values.size else (0.0, 0.0, 0.0)
    return Brightness(low, median, high)


def source_of(facts: Mapping[str, Any]) -> Source:
    """From what a cohort's record says of an image."""
    shape, spacing = _triple(facts["shape"]), _triple([float(v) for v in facts["spacing_mm"]])
    return Source(shape, spacing, _plane(shape, spacing), _tilt_degrees(np.asarray(facts["affine"], float)))


def _plane(shape: tuple[int, int, int], spacing_mm: Spacing) -> str:
    if min(shape) == 1:
        return "picture"
    longest = int(np.argmax(spacing_mm))
    others = [value for axis, value in enumerate(spacing_mm) if axis != longest]
    return SLICES_ALONG[longest] if spacing_mm[longest] > THICK * max(others) else "3-D"


def _tilt_degrees(affine: Any) -> float:
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return float(np.degrees(np.arccos(np.clip(np.abs(axes).max(axis=0), 0, 1))).max())
