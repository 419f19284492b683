"""The protocol of the SynthRAD challenges for synthetic CT: fixed Hounsfield limits, MAE, PSNR and MS-SSIM in the mask.

Both images are clipped to the limits, which also give the range; for MS-SSIM they are moved to begin at 0. The mask is
the dataset's, its grid too, so our figures are not the challenge's, whose data and body masks are its own.

Source:
    Thummerer et al. 2023, doi:10.1002/mp.16529 (2023); the SynthRAD2025 challenge's design (2025).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from core.metrics import bounding_box, mae, psnr
from core.structure import Mask, Pyramid, multi_scale
from core.types import PLACE, Array

LIMITS_HU = {"SynthRAD2023": (-1024.0, 3000.0), "SynthRAD2025": (-1024.0, 3071.0)}
EDITION = "SynthRAD2025"
METRICS_TOLD = ("mae", "psnr", "ms_ssim")


def limits_words(edition: str = EDITION, recipe: Mapping[str, Any] | None = None) -> str:
    """What is clipped before images are compared; `recipe`: how they were prepared, which may have cut more."""
    low, high = LIMITS_HU[edition]
    said = f"{edition}: both images are clipped to {_span(low, high)}, and PSNR's range is all of that."
    scaling = (recipe or {}).get("normalise", {})
    is_cut = scaling.get("ct") == "window" and scaling.get("clip")
    if is_cut and (scaling["ct_low"] > low or scaling["ct_high"] < high):
        said += f" When the CT was prepared it was cut to {_span(scaling['ct_low'], scaling['ct_high'])} already."
    return said


def _span(low: float, high: float) -> str:
    return f"{low:.0f} to {high:.0f} HU".replace("-", "\N{MINUS SIGN}")


class SynthRad:
    """One CT inside its mask, in HU, for many predictions."""

    def __init__(self, target_hu: Array, mask: Mask, edition: str = EDITION) -> None:
        self.edition = edition
        self._box = bounding_box(mask)
        self._mask = np.ascontiguousarray(mask[self._box])
        low, high = LIMITS_HU[edition]
        self._range = high - low
        self._truth = self._clipped(target_hu)
        self._pyramid = Pyramid(self._truth, self._mask, self._range)

    def scores(self, prediction_hu: Array) -> dict[str, float]:
        """MAE in HU, PSNR in dB, MS-SSIM, each as NAME@EDITION."""
        image = self._clipped(prediction_hu)
        there = image, self._truth, self._mask, self._range
        values = mae(*there), psnr(*there), multi_scale(self._pyramid.compare(image))
        return {f"{name}{PLACE}{self.edition}": value for name, value in zip(METRICS_TOLD, values, strict=True)}

    def _clipped(self, image_hu: Array) -> Array:
        low, high = LIMITS_HU[self.edition]
        return np.asarray(np.clip(image_hu[self._box], low, high) - low, np.float32)
