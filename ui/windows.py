"""The windows in which images are shown as they were imported: by unit where it has presets, else by what is there."""

from __future__ import annotations

from core.render import Window, percentile_window, window_presets
from core.types import Volume
from ui.words import value_words


def default_window(volume: Volume, preset: str = "") -> Window:
    """Label maps whole; Hounsfield units by a preset, the first unless named; all else by percentiles."""
    if volume.is_label:
        return Window(0.0, max(1.0, float(volume.data.max())))
    presets = window_presets("HU") if volume.unit == "HU" else {}
    return presets.get(preset, next(iter(presets.values()))) if presets else percentile_window(volume.data)


def window_words(window: Window, unit: str) -> str:
    """Such as "Black to white: -160 to 240 HU"."""
    return f"Black to white: {value_words(window.low, '')} to {value_words(window.high, unit)}"
