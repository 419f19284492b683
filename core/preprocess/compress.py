"""Ultrasound as sampled, turned into decibels: radio-frequency lines or envelopes, never a picture by itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage, signal

from core.config import Settings
from core.preprocess.piece import Piece
from core.types import DECIBEL, Array, Volume

ULTRASOUND = "US"
DISPLAY_MAX = 255.0
PATCH = 5  # voxels along each axis in which speckle is looked at
SAMPLES, MIN_PATCHES = 200_000, 200
GROWS, VARIES = 0.5, 0.3  # least slope of speckle on brightness, and least spread over mean, to be an echo's
RF_NEGATIVE, RF_MEAN = 0.25, 0.2  # least share of values on each side of 0; mean against standard deviation
Kind = Literal["picture", "decibels", "rf", "envelope", "unclear"]


class CompressConfig(Settings):
    to_db: Literal["off", "auto", "always"] = Field(
        "off",
        description=(
            "Ultrasound as sampled (envelope or RF lines) is turned into decibels: never, where the values are sure "
            "to be such (auto), or always. Pictures on the display scale 0 to 255 are logarithms already"
        ),
    )
    range_db: float = Field(60.0, ge=10, le=120, description="Dynamic range: what is weaker by more than this is black")
    white_percentile: float = Field(
        100.0,
        ge=90,
        le=100,
        description="Percentile of an image's echoes that becomes 0 dB (white); 100: the maximum",
    )


def compress_case(piece: Piece, config: CompressConfig) -> Piece:
    """Ultrasound of the case in decibels below its own reference; what is a picture already is left as it is."""
    if config.to_db == "off":
        return piece
    found: dict[str, Any] = {}
    volumes, limits = dict(piece.volumes), dict(piece.limits)
    for name, volume in piece.images.items():
        if not name.startswith(ULTRASOUND):
            continue
        kind = kind_of(volume.data)
        found[name] = {"kind": kind}
        piece = piece.warned(name, *_doubts(kind, config.to_db))
        if kind in ("rf", "envelope") or (config.to_db == "always" and kind != "decibels"):
            volumes[name], reference = compressed(volume, kind, config)
            found[name]["reference"] = reference
            limits[name] = (-config.range_db, 0.0)
    return replace(piece, volumes=volumes, limits=limits, findings={**piece.findings, "compress": found})


def _doubts(kind: Kind, mode: str) -> tuple[str, ...]:
    if kind == "unclear" and mode == "auto":
        return ("LOG-DOUBTFUL",)
    return ("LOG-TWICE",) if kind in ("picture", "decibels") and mode == "always" else ()


def kind_of(data: Array) -> Kind:
    """What the values of an ultrasound image seem to be, by their range, and by whether speckle grows with brightness.

    Source:
        Wagner et al. 1983, Statistics of speckle in ultrasound B-scans, IEEE Trans. Sonics Ultrason. 30(3): the spread
        of an envelope is 0.52 of its mean, that of its logarithm is the same everywhere.
    """
    values = data[data != 0].astype(np.float64)
    if values.size == 0 or (data.min() >= 0 and data.max() <= DISPLAY_MAX and np.array_equal(data, np.rint(data))):
        return "picture"
    negative = float(np.mean(values < 0))
    if negative == 1:
        return "decibels"
    if RF_NEGATIVE < negative < 1 - RF_NEGATIVE and abs(values.mean()) < RF_MEAN * values.std():
        return "rf"
    return "envelope" if data.min() >= 0 and is_speckle_of_echoes(data) else "unclear"


def is_speckle_of_echoes(data: Array) -> bool:
    """Whether the spread in small patches grows with their mean; patches that touch black or white are left out."""
    size = [min(PATCH, n) for n in data.shape]
    mean = ndimage.uniform_filter(data, size, output=np.float64)
    spread = np.sqrt(np.maximum(ndimage.uniform_filter(data.astype(np.float64) ** 2, size) - mean**2, 0))
    least, most = ndimage.minimum_filter(data, size), ndimage.maximum_filter(data, size)
    telling = np.flatnonzero((least > data.min()) & (most < data.max()) & (spread > 1e-6 * mean))
    if len(telling) < MIN_PATCHES:
        return False
    chosen = telling[:: max(1, len(telling) // SAMPLES)]
    mean, spread = np.log(mean.ravel()[chosen]), np.log(spread.ravel()[chosen])
    slope = float(np.polyfit(mean, spread, 1)[0])
    return slope > GROWS and float(np.exp(np.median(spread - mean))) > VARIES


def compressed(volume: Volume, kind: Kind, config: CompressConfig) -> tuple[Volume, float]:
    """20 log10 of the echo over the reference, cut to (-range_db, 0); and the reference.

    Source:
        Szabo 2014, Diagnostic ultrasound imaging: inside out, 2nd ed., ch. 10: envelope detection, log compression.
    """
    echo = envelope(volume.data) if kind == "rf" else np.abs(volume.data)
    reference = float(np.percentile(echo[echo > 0], config.white_percentile))
    floor = reference * 10 ** (-config.range_db / 20)
    decibels = 20 * np.log10(np.maximum(echo, floor) / reference)
    data = np.clip(decibels, -config.range_db, 0).astype(np.float32)
    return replace(volume, data=data, unit=DECIBEL), reference


def envelope(data: Array) -> NDArray[np.float64]:
    """(I, J, K) amplitude of RF lines: of the analytic signal along the beam, the axis with most changes of sign."""
    sign = np.signbit(data)
    changes = [float(np.diff(sign, axis=axis).mean()) if data.shape[axis] > 1 else 0.0 for axis in range(3)]
    return np.asarray(np.abs(signal.hilbert(data.astype(np.float64), axis=int(np.argmax(changes)))))
