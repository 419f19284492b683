"""A case on its way through the steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from core.config import Settings
from core.preprocess.grids import EVERYWHERE, Grid, Mask
from core.types import Volume

NO_MASK: Mask = np.zeros((0, 0, 0), dtype=bool)


@dataclass(frozen=True, eq=False)
class Piece:
    """All that a step may see and change of one case.

    Attributes:
        reference: the modality whose place and grid the others follow.
        volumes: modality -> image or label map.
        grid: where the case goes; the volumes are on it from the step "resample" on.
        covered: modality -> (I, J, K) where it has data; from "resample" on.
        mask: (I, J, K) the voxels that are judged; empty before the step "mask".
        is_blank: what lies outside the mask is nothing, and becomes 0; from "mask" on.
        limits: modality -> the two intensities that become 0 and 1; from "normalise" on, or known before.
        warnings: modality -> codes of what is doubtful.
        findings: what steps found out beside the voxels, by step; plain values, kept with the dataset.
    """

    reference: str
    volumes: Mapping[str, Volume]
    grid: Grid
    covered: Mapping[str, Mask] = field(default_factory=dict)
    mask: Mask = field(default_factory=NO_MASK.copy)
    is_blank: bool = False
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    warnings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    findings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def images(self) -> dict[str, Volume]:
        """The volumes that hold intensities."""
        return {name: volume for name, volume in self.volumes.items() if not volume.is_label}

    @property
    def label_maps(self) -> dict[str, Volume]:
        """The volumes that hold classes."""
        return {name: volume for name, volume in self.volumes.items() if volume.is_label}

    def seen(self, modality: str) -> Mask:
        """(I, J, K): the judged voxels where it has data; all judged ones where it has none in them."""
        seen = self.mask & self.field_of(modality)
        return seen if seen.any() else self.mask

    def field_of(self, modality: str) -> Mask:
        """Where a modality has data; everywhere before "resample"."""
        return self.covered.get(modality, EVERYWHERE)

    def each(self, change: Callable[[Volume], Volume]) -> Piece:
        """Every image changed alike; label maps stay."""
        changed = {name: v if v.is_label else change(v) for name, v in self.volumes.items()}
        return replace(self, volumes=changed)

    def warned(self, modality: str, *codes: str) -> Piece:
        """With more to doubt about one modality."""
        if not codes:
            return self
        known = self.warnings.get(modality, ())
        return replace(self, warnings={**self.warnings, modality: tuple(dict.fromkeys((*known, *codes)))})


@dataclass(frozen=True)
class Step:
    """One line of a recipe.

    Attributes:
        title, summary: its name for people, and what it does in a sentence.
        is_on: whether these settings ask for anything at all.
    """

    title: str
    summary: str
    Config: type[Settings]
    apply: Callable[[Piece, Any], Piece]
    is_on: Callable[[Any], bool] = lambda config: True
