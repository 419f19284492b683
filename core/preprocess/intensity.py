"""Intensities onto a common scale: each way of scaling is a line, and the two ends that become 0 and 1 are kept."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field, field_validator

from core.config import Names, Settings
from core.errors import InvalidConfigError
from core.preprocess.compress import DISPLAY_MAX, ULTRASOUND
from core.preprocess.grids import AIR_HU, Mask
from core.types import Volume

METHODS = ("window", "percentiles", "z-score", "none")
WINDOWED = ("HU", "SUV")  # units with a window of their own
Limits = tuple[float, float]


class NormaliseConfig(Settings):
    mr: Literal["percentiles", "z-score", "none"] = Field(
        "percentiles",
        description=(
            "How MR, and all else without a unit, comes onto the 0-1 scale: by percentiles of the image, by its mean "
            "and standard deviation, or not at all"
        ),
    )
    ct: Literal["window", "percentiles", "z-score", "none"] = Field(
        "window", description="How CT comes onto the 0-1 scale: by a window in Hounsfield units, or as MR may"
    )
    low: float = Field(0.5, ge=0, le=50, description="Percentile inside the mask that becomes 0")
    high: float = Field(99.5, ge=50, le=100, description="Percentile inside the mask that becomes 1")
    z_reach: float = Field(
        3.0, ge=1, le=10, description="Standard deviations below and above the mean in the mask that become 0 and 1"
    )
    pet: Literal["window", "percentiles", "z-score", "none"] = Field(
        "window", description="How PET comes onto the 0-1 scale: by a window in SUV, or as MR may"
    )
    us: Literal["display", "percentiles", "z-score", "none"] = Field(
        "display", description="How ultrasound pictures come onto the 0-1 scale: 0 to 255 as displayed, or as MR may"
    )
    exceptions: Names = Field(
        (), description="Modalities that go another way, such as ADC=none, T2=z-score; ways: " + ", ".join(METHODS)
    )
    clip: bool = Field(True, description="Cut values below 0 and above 1")
    divide_by: float = Field(
        0.0, ge=0, description="A fixed divisor in place of percentiles, such as 255 for 8-bit pictures; 0 is off"
    )
    ct_low: float = Field(AIR_HU, description="Hounsfield units that become 0 (CT)")
    ct_high: float = Field(2000.0, description="Hounsfield units that become 1 (CT)")
    suv_high: float = Field(15.0, gt=0, description="Standardised uptake value that becomes 1 (PET)")

    @field_validator("exceptions")
    @classmethod
    def _known(cls, exceptions: tuple[str, ...]) -> tuple[str, ...]:
        for part in exceptions:
            modality, _, method = part.partition("=")
            if not modality.strip() or method.strip() not in METHODS:
                raise ValueError(f"write modality=way, such as T2=z-score; ways are {', '.join(METHODS)}")
        return exceptions

    def method_of(self, volume: Volume) -> str:
        """How an image is scaled: one of METHODS, "display" or "divide"."""
        for part in self.exceptions:
            modality, _, method = part.partition("=")
            if modality.strip() == volume.modality:
                return method.strip()
        if volume.unit in WINDOWED:
            return self.ct if volume.unit == "HU" else self.pet
        if self.divide_by:
            return "divide"
        return self.us if volume.modality.startswith(ULTRASOUND) else self.mr


def intensity_range(volume: Volume, mask: Mask, config: NormaliseConfig) -> Limits:
    """The two intensities that become 0 and 1.

    Raises:
        InvalidConfigError: All intensities are one, or a window is asked for where the unit has none.
    """
    method = config.method_of(volume)
    inside = volume.data[mask]
    if method == "window":
        low, high = _window(volume, config)
    elif method == "divide":
        low, high = 0.0, config.divide_by
    elif method == "none":
        low, high = 0.0, 1.0
    elif method == "z-score":
        middle, reach = float(inside.mean(dtype=np.float64)), config.z_reach * float(inside.std(dtype=np.float64))
        low, high = middle - reach, middle + reach
    elif method == "display" and is_display(volume):
        low, high = 0.0, DISPLAY_MAX
    else:
        low, high = (float(v) for v in np.percentile(inside, [config.low, config.high]))
        if high <= low:
            low, high = float(inside.min()), float(inside.max())
    if high <= low:
        raise InvalidConfigError(f"{volume.modality}: the intensities cannot be scaled, all are {low:g}.", "CONSTANT")
    return low, high


def _window(volume: Volume, config: NormaliseConfig) -> Limits:
    if volume.unit == "HU":
        return config.ct_low, config.ct_high
    if volume.unit == "SUV":
        return 0.0, config.suv_high
    raise InvalidConfigError(
        f"{volume.modality} is not in HU or SUV, so it has no window. Choose percentiles or z-score.", "NO-WINDOW"
    )


def is_display(volume: Volume) -> bool:
    """Whether the values lie on the display scale of 0 to 255."""
    return bool(volume.data.min() >= 0 and 1 < volume.data.max() <= DISPLAY_MAX)


def scale_doubts(volume: Volume, config: NormaliseConfig) -> tuple[str, ...]:
    """What is doubtful about how an image is scaled, as codes."""
    method = config.method_of(volume)
    if method == "none" and (volume.data.min() < 0 or volume.data.max() > 1):
        return ("NOT-SCALED",)
    return ("NOT-DISPLAY-SCALE",) if method == "display" and not is_display(volume) else ()


def normalise(volume: Volume, limits: Limits, clip: bool) -> Volume:
    """Scale so that the limits become 0 and 1. The unit stays that of the source: the dataset keeps the scale."""
    low, high = limits
    data = (volume.data - np.float32(low)) / np.float32(high - low)
    return volume.with_data(np.clip(data, 0, 1) if clip else data)
