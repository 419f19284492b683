"""How the images of each modality were acquired: what is usual, and which cases differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.quality.imprints import Spacing
from core.quality.measures import Measured, Source

FACTOR = 1.5  # a voxel or a field of view so many times larger or smaller than usual is odd
TILT_DEGREES = 15.0
MIN_CASES = 3  # with two, neither is the odd one


@dataclass(frozen=True)
class Acquired:
    """One modality over all cases.

    Attributes:
        n: cases of which it is known.
        spacing_mm: the median along each axis.
        spacings_mm: the smallest and the largest of each axis.
        field_mm: the median field of view.
        planes: plane of the slices -> cases.
        odd: case -> what is unusual about it: "spacing", "field", "plane", "tilt".
    """

    n: int
    spacing_mm: Spacing
    spacings_mm: tuple[Spacing, Spacing]
    field_mm: Spacing
    planes: Mapping[str, int]
    odd: Mapping[str, tuple[str, ...]]


def acquired(cases: Mapping[str, Measured], modality: str) -> Acquired | None:
    """What is known of a modality; None where nothing is."""
    sources = {case: m.sources[modality] for case, m in cases.items() if modality in m.sources}
    if not sources:
        return None
    spacings = np.array([source.spacing_mm for source in sources.values()])
    fields = np.array([_field_mm(source) for source in sources.values()])
    spacing, field = np.median(spacings, axis=0), np.median(fields, axis=0)
    planes = Counter(source.plane for source in sources.values())
    usual_tilt = float(np.median([source.tilt_degrees for source in sources.values()]))
    odd = {}
    for case, source in sources.items() if len(sources) >= MIN_CASES else ():
        found = {
            "spacing": _differs(source.spacing_mm, spacing),
            "field": _differs(_field_mm(source), field),
            "plane": source.plane != planes.most_common(1)[0][0],
            "tilt": abs(source.tilt_degrees - usual_tilt) > TILT_DEGREES,
        }
        if any(found.values()):
            odd[case] = tuple(name for name, is_so in found.items() if is_so)
    low, high = spacings.min(axis=0), spacings.max(axis=0)
    return Acquired(len(sources), _triple(spacing), (_triple(low), _triple(high)), _triple(field), dict(planes), odd)


def _field_mm(source: Source) -> Spacing:
    i, j, k = (n * s for n, s in zip(source.shape, source.spacing_mm, strict=True))
    return i, j, k


def _differs(values: Sequence[float], usual: Sequence[float]) -> bool:
    ratio = np.asarray(values) / np.maximum(usual, 1e-9)
    return bool((ratio > FACTOR).any() or (ratio < 1 / FACTOR).any())


def _triple(values: Sequence[float]) -> Spacing:
    i, j, k = (float(v) for v in values)
    return i, j, k
