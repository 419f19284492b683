"""How a prepared image is shown: the window that fits its modality, and the edge of the mask drawn over a slice."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from core.dataset import Dataset
from core.render import Look, Picture, Spacing, Window, draw_slice, take_slice, window_presets

PREPARED = Window(0.0, 1.0)
OUTLINE = (255, 196, 0)
THICKNESS_PX = 2


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


def draw_outlined(
    volume: NDArray[Any],
    mask: NDArray[np.bool_] | None,
    spacing_mm: Spacing,
    index: int,
    look: Look,
    thickness_px: int = THICKNESS_PX,
) -> Picture:
    """The pane of `draw_slice`; where there is a mask, its edge in yellow."""
    pane = draw_slice(volume, spacing_mm, index, look)
    if mask is None:
        return pane
    flat = np.ascontiguousarray(take_slice(mask, look.plane, index, look.radiological))
    large = Image.fromarray(flat).resize((pane.shape[1], pane.shape[0]), Image.Resampling.NEAREST)
    inside = np.asarray(large)
    edge = inside & ~ndimage.binary_erosion(inside, iterations=thickness_px, border_value=1)
    outlined = pane.copy()
    outlined[edge] = OUTLINE
    return outlined
