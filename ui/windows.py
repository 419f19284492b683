"""The windows in which images are shown as they were imported: by unit where it has presets, else by what is there."""

from __future__ import annotations

import numpy as np

from core.render import Window, percentile_window, window_presets
from core.types import Array, Volume
from ui.words import value_words

SOFT_HU, FAT_HU = (-200, 200), -20
TRUNK_FAT = 0.2  # share of fat in soft tissue: in slices of heads 0.08 to 0.09, of an abdomen 0.41


def usual_preset(values: Array) -> str:
    """The window in which Hounsfield units are shown at first: heads hold little fat, trunks much."""
    soft = values[(values > SOFT_HU[0]) & (values < SOFT_HU[1])]
    return "Soft tissue" if soft.size and np.mean(soft < FAT_HU) > TRUNK_FAT else "Brain"


def default_window(volume: Volume, preset: str = "") -> Window:
    """Label maps whole; Hounsfield units by a preset, the usual one unless named; all else by percentiles."""
    if volume.is_label:
        return Window(0.0, max(1.0, float(volume.data.max())))
    presets = window_presets("HU") if volume.unit == "HU" else {}
    return presets[preset or usual_preset(volume.data)] if presets else percentile_window(volume.data)


def window_words(window: Window, unit: str) -> str:
    """Such as "Black to white: -160 to 240 HU"."""
    return f"Black to white: {value_words(window.low, '')} to {value_words(window.high, unit)}"
