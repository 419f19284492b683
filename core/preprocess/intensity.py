"""Intensities onto a common scale."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from core.config import Settings
from core.errors import InvalidConfigError
from core.preprocess.grids import AIR_HU, Mask
from core.types import Volume

FIXED_RANGES = {"US": (0.0, 255.0)}  # modalities whose scanner output is a display scale


class NormaliseConfig(Settings):
    low: float = Field(0.5, ge=0, le=50, description="Percentile inside the mask that becomes 0 (MR and the like)")
    high: float = Field(99.5, ge=50, le=100, description="Percentile inside the mask that becomes 1 (MR and the like)")
    clip: bool = Field(True, description="Cut values below 0 and above 1")
    divide_by: float = Field(
        0.0, ge=0, description="A fixed divisor in place of percentiles, such as 255 for 8-bit pictures; 0 is off"
    )
    ct_low: float = Field(AIR_HU, description="Hounsfield units that become 0 (CT)")
    ct_high: float = Field(2000.0, description="Hounsfield units that become 1 (CT)")
    suv_high: float = Field(15.0, gt=0, description="Standardised uptake value that becomes 1 (PET)")


def intensity_range(volume: Volume, mask: Mask, config: NormaliseConfig) -> tuple[float, float]:
    """The two intensities that become 0 and 1: fixed for HU, SUV and display scales, percentiles of this case else."""
    if volume.unit == "HU":
        low, high = config.ct_low, config.ct_high
    elif volume.unit == "SUV":
        low, high = 0.0, config.suv_high
    elif config.divide_by:
        low, high = 0.0, config.divide_by
    elif volume.modality in FIXED_RANGES:
        low, high = FIXED_RANGES[volume.modality]
    else:
        inside = volume.data[mask]
        low, high = (float(v) for v in np.percentile(inside, [config.low, config.high]))
        if high <= low:
            low, high = float(inside.min()), float(inside.max())
    if high <= low:
        raise InvalidConfigError(f"{volume.modality}: the intensities cannot be scaled, all are {low:g}.", "CONSTANT")
    return low, high


def normalise(volume: Volume, limits: tuple[float, float], clip: bool) -> Volume:
    """Scale so that the limits become 0 and 1. The unit stays that of the source: the dataset keeps the scale."""
    low, high = limits
    data = (volume.data - np.float32(low)) / np.float32(high - low)
    return volume.with_data(np.clip(data, 0, 1) if clip else data)
