"""The box around what a mask marks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Box = tuple[slice, slice, slice]


def box_of(mask: NDArray[np.bool_]) -> Box:
    """The smallest box that holds the mask (I, J, K); all of the image where the mask is empty."""
    spans: list[slice] = []
    for axis, n in enumerate(mask.shape):
        used = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        spans.append(slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, n))
    return spans[0], spans[1], spans[2]
