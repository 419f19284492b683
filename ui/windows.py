"""The windows in which images are shown: by unit where it has presets, else by what is in the image."""

from __future__ import annotations

from core.dataset import Dataset
from core.render import Window, percentile_window, window_presets
from core.types import Volume
from ui.words import value_words

PREPARED = Window(0.0, 1.0)


def default_window(volume: Volume, preset: str = "") -> Window:
    """Label maps whole; Hounsfield units by a preset, the first unless named; all else by percentiles."""
    if volume.is_label:
        return Window(0.0, max(1.0, float(volume.data.max())))
    presets = window_presets("HU") if volume.unit == "HU" else {}
    return presets.get(preset, next(iter(presets.values()))) if presets else percentile_window(volume.data)


def window_words(window: Window, unit: str) -> str:
    """Such as "Black to white: -160 to 240 HU"."""
    return f"Black to white: {value_words(window.low, '')} to {value_words(window.high, unit)}"


def scaled(window: Window, scale: float, offset: float) -> Window:
    """A window in a unit, on the scale whose values are (unit - offset) / scale."""
    return Window((window.low - offset) / scale, (window.high - offset) / scale)


def prepared_window(dataset: Dataset, modality: str) -> Window:
    """On the dataset's 0-1 scale: all of it, but for CT, where bone would leave the brain one grey."""
    if dataset.unit(modality) != "HU":
        return PREPARED
    first = next(record for record in dataset.index["cases"] if modality in record["modalities"])
    scale, offset = first["scales"][modality]
    return scaled(next(iter(window_presets("HU").values())), scale, offset)
