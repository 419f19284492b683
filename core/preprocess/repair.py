"""Single voxels far beyond all others, cut to a limit that a robust look at the image gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pydantic import Field

from core.config import Settings
from core.preprocess.piece import Piece
from core.types import PHYSICAL_UNITS


class RepairConfig(Settings):
    enabled: bool = Field(False, description="Cut single voxels that are far brighter than all others")
    reach: float = Field(
        2.0, ge=1, le=20, description="How far above the 99.9th percentile, in distances from the median, is too far"
    )


def repair_case(piece: Piece, config: RepairConfig) -> Piece:
    """Images of arbitrary units without their outliers; how many there were is found with the case."""
    if not config.enabled:
        return piece
    counts: dict[str, int] = {}
    volumes = dict(piece.volumes)
    for name, volume in piece.images.items():
        if volume.unit in PHYSICAL_UNITS:
            continue
        inside = volume.data[piece.seen(name)] if piece.mask.any() else volume.data.ravel()
        middle, high = (float(value) for value in np.percentile(inside, [50, 99.9]))
        limit = high + config.reach * (high - middle)
        counts[name] = int((volume.data > limit).sum())
        if counts[name]:
            volumes[name] = volume.with_data(np.minimum(volume.data, np.float32(limit)))
            piece = piece.warned(name, "OUTLIERS-CUT")
    return replace(piece, volumes=volumes, findings={**piece.findings, "repair": counts})
