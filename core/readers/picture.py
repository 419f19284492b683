"""PNG and JPEG pictures, as one axial slice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from core.deidentify import SAME_VALUE, SAME_VALUE_LOSSY, Pseudonym, blanked, looks_like_text
from core.errors import RefusedError, UnreadableImageError
from core.readers.geometry import picture_to_ras
from core.readers.item import Item, Part, check_size
from core.readers.values import finish
from core.types import Volume

Image.MAX_IMAGE_PIXELS = None  # `check_size` is stricter, and speaks our language
GREY_MODES = ("1", "L", "I", "I;16", "I;16B", "I;16L", "F")
LUMINANCE = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
DAMAGED = "The picture is damaged or cut off; export it again."


def matches(head: bytes) -> bool:
    return head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"))


def scan(path: Path, pseudonym: Pseudonym) -> list[Item]:
    """One item; the header alone is read."""
    with _opened(path) as picture:
        columns, rows = picture.size
        lossy = ("LOSSY",) if picture.format == "JPEG" else ()
    return [Item("picture", (rows, columns), (1.0, 1.0), "LP", warnings=("NO-SPACING", *lossy))]


def read(parts: Sequence[Part], modality: str) -> Volume:
    """The picture as (columns, rows, 1) in RAS, at 1 mm.

    Raises:
        RefusedError: It seems to carry text, and nobody has looked at it yet.
    """
    path, item = parts[0]
    warnings = list(item.warnings)
    with _opened(path) as picture:
        try:
            upright = ImageOps.exif_transpose(picture)
            if upright.mode not in GREY_MODES:
                upright = upright.convert("RGB")
            values = np.asarray(upright)
        except (OSError, SyntaxError, ValueError) as error:
            raise UnreadableImageError(DAMAGED, "PICTURE-DAMAGED") from error
    grey = to_grey(blanked(values, item.blank), warnings)
    tolerance = SAME_VALUE_LOSSY if "LOSSY" in warnings else SAME_VALUE
    if not item.reviewed and looks_like_text(np.asarray(grey, np.float32), tolerance):
        raise RefusedError("The picture seems to have text burned in; somebody has to look at it.", "BURNED-IN-TEXT")
    data, affine = picture_to_ras(grey)
    return finish(data, affine, modality, warnings=warnings)


def _opened(path: Path) -> Image.Image:
    try:
        picture = Image.open(path, formats=("PNG", "JPEG"))
    except (OSError, SyntaxError, ValueError) as error:
        raise UnreadableImageError(DAMAGED, "PICTURE-DAMAGED") from error
    check_size(picture.size, 4, "PICTURE-SIZE")
    if getattr(picture, "n_frames", 1) > 1:
        raise RefusedError("This is a moving picture; save the frame to use as a picture.", "PICTURE-FRAMES")
    return picture


def to_grey(values: NDArray[Any], warnings: list[str]) -> NDArray[Any]:
    """(rows, columns[, channels]) -> (rows, columns); real colour becomes its luminance, and says so."""
    if values.ndim == 2:
        return values
    if values.shape[2] == 1:
        return values[:, :, 0]
    red, green, blue = values[:, :, 0], values[:, :, 1], values[:, :, 2]
    if np.array_equal(red, green) and np.array_equal(red, blue):
        return red
    if "PSEUDO-COLOUR" not in warnings:
        warnings.append("PSEUDO-COLOUR")
    grey: NDArray[Any] = values[:, :, :3] @ LUMINANCE
    return grey
