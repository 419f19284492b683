"""What may leave a file: pixels, geometry and a short list of numbers. Names become labels, identities become keys."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Pseudonym = Callable[[str], str]

MAX_LABEL = 80
SAME_VALUE, SAME_VALUE_LOSSY = 1e-3, 0.06
MANY_MARKS = 1_000  # so many marks of letter size are writing until somebody says otherwise
_HIDDEN_CATEGORIES = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")  # control, bidi and joiners, surrogates, unassigned


def clean_label(text: str) -> str:
    """`text` as it may be shown: no control or bidi characters, one line, 80 characters at most."""
    visible = "".join(" " if c in "\t\n\r" else c for c in text)
    visible = "".join(c for c in visible if unicodedata.category(c) not in _HIDDEN_CATEGORIES)
    return re.sub(r"\s+", " ", visible).strip()[:MAX_LABEL].strip() or "unnamed"


def clean_path_label(parts: tuple[str, ...]) -> str:
    """A file's relative place as a label; only its own name where the whole is too long."""
    whole = "/".join(clean_label(part) for part in parts)
    return whole if len(whole) <= MAX_LABEL else clean_label(parts[-1])


def looks_like_text(image: NDArray[np.float32], tolerance: float = SAME_VALUE) -> bool:
    """Whether a 2-D image seems to carry burned-in characters.

    Characters are small marks of one brightest value, of letter size, several side by side on one line. Anatomy has
    hardly ever even two marks of the very same extreme value in a row. A safeguard, not a proof.

    Args:
        tolerance: how far from the brightest value a mark may lie, as a share of the range; lossy images need more.
    """
    top = image.max()
    if top <= image.min():
        return False
    marks, n = ndimage.label(image >= top - tolerance * (top - image.min()), structure=np.ones((3, 3)))
    if n < 4:
        return False
    boxes = [box for box in ndimage.find_objects(marks) if box is not None]
    letters = [(r.stop, c.start, r.stop - r.start, c.stop - c.start) for r, c in boxes]
    letters = sorted((box for box in letters if 5 <= box[2] <= 40 and box[3] <= 40), key=lambda box: box[1])
    return len(letters) > MANY_MARKS or any(_line_length(box, letters) >= 4 for box in letters)


def _line_length(first: tuple[int, int, int, int], letters: list[tuple[int, int, int, int]]) -> int:
    bottom, column, height, _ = first
    reach = 2 * height
    length = 0
    for other_bottom, other_column, other_height, _ in letters:
        same_line = abs(other_bottom - bottom) <= 2 and 0.5 <= other_height / height <= 2
        if same_line and 0 <= other_column - column <= reach:
            length, column = length + 1, other_column
    return length


def blanked(values: NDArray[Any], boxes: Sequence[tuple[int, int, int, int]]) -> NDArray[Any]:
    """(rows, columns, ...) with (column, row, width, height) boxes set to the lowest value."""
    if not boxes:
        return values
    result, lowest = values.copy(), values.min()
    for column, row, width, height in boxes:
        result[max(0, row) : max(0, row + height), max(0, column) : max(0, column + width)] = lowest
    return result
