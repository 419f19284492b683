"""How a prepared image is shown: the window that fits its modality, and the edge of the mask drawn over a slice."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from core.dataset import Dataset
from core.render import Look, Picture, Spacing, Window, colour_map, draw_slice, take_slice, to_levels, window_presets

PREPARED = Window(0.0, 1.0)
OUTLINE = (255, 196, 0)
THICKNESS_PX = 2
FULL_COLD, FULL_WARM = 50, 205  # in the diverging map: strong colours, neither dark nor white


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
    return pane if mask is None else _outlined(pane, mask, index, look, thickness_px)


def draw_heat(
    volume: NDArray[Any], heat: NDArray[Any], mask: NDArray[np.bool_] | None, spacing_mm: Spacing, look: Look
) -> Picture:
    """One slice (its third axis 1 long) with signed values laid over: clear at 0, full colour at 1 and -1; and the
    mask's edge in yellow."""
    pane = draw_slice(volume, spacing_mm, 0, look)
    levels = to_levels(take_slice(heat, look.plane, 0, look.radiological), Window(-1.0, 1.0))
    size = (pane.shape[1], pane.shape[0])
    large = np.asarray(Image.fromarray(np.ascontiguousarray(levels)).resize(size, Image.Resampling.BILINEAR))
    strength = np.abs(large[..., None] / 127.5 - 1)
    colours = colour_map("diverging")[np.where(large < 128, FULL_COLD, FULL_WARM)]
    laid = np.asarray((pane * (1 - strength) + colours * strength).round(), dtype=np.uint8)
    return laid if mask is None else _outlined(laid, mask, 0, look, THICKNESS_PX)


def _outlined(pane: Picture, mask: NDArray[np.bool_], index: int, look: Look, thickness_px: int) -> Picture:
    flat = np.ascontiguousarray(take_slice(mask, look.plane, index, look.radiological))
    large = Image.fromarray(flat).resize((pane.shape[1], pane.shape[0]), Image.Resampling.NEAREST)
    inside = np.asarray(large)
    edge = inside & ~ndimage.binary_erosion(inside, iterations=thickness_px, border_value=1)
    outlined = pane.copy()
    outlined[edge] = OUTLINE
    return outlined
