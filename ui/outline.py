"""A slice with the outline of a mask drawn over it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from core.render import Look, Picture, Spacing, draw_slice, take_slice

OUTLINE = (255, 196, 0)
THICKNESS_PX = 2


def draw_outlined(
    volume: NDArray[Any], mask: NDArray[np.bool_] | None, spacing_mm: Spacing, index: int, look: Look
) -> Picture:
    """The pane of `draw_slice`; where there is a mask, its edge in yellow."""
    pane = draw_slice(volume, spacing_mm, index, look)
    if mask is None:
        return pane
    flat = np.ascontiguousarray(take_slice(mask, look.plane, index, look.radiological))
    large = Image.fromarray(flat).resize((pane.shape[1], pane.shape[0]), Image.Resampling.NEAREST)
    inside = np.asarray(large)
    edge = inside & ~ndimage.binary_erosion(inside, iterations=THICKNESS_PX, border_value=1)
    outlined = pane.copy()
    outlined[edge] = OUTLINE
    return outlined
