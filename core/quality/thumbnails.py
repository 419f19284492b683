"""Small pictures of a prepared case: every modality through the middle of the mask, side by side in one strip.

Drawn once by the worker, as WebP files in the dataset's folder, so that a page of them costs a few file reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from core.dataset import Dataset
from core.display import draw_outlined, prepared_window
from core.render import INK, PLANES, Look, Picture, Plane, default_colours, flips, size_mm, slice_axis, webp
from core.workspace import atomic_write, safe_name

FOLDER = "strips"
HEIGHT_PX = 116
MAX_STRIP_PX = 720  # what a page has room for beside the words
GAP_PX = 4
MISSING = "not\nacquired"
QUIET = (120, 124, 134)


def cell_px(dataset: Dataset, plane: Plane) -> tuple[int, int]:
    """Width and height of one picture: true in millimetres, all modalities in one strip."""
    width_mm, height_mm = size_mm(dataset.shape, dataset.spacing_mm, plane)
    widest = MAX_STRIP_PX / len(dataset.modalities) - GAP_PX
    height = min(HEIGHT_PX, round(widest * height_mm / width_mm))
    return max(1, round(height * width_mm / height_mm)), max(8, height)


def strip_path(dataset: Dataset, case_id: str, plane: Plane, radiological: bool = True) -> Path:
    """Where a strip lies; a side view is the same in both conventions."""
    is_same = flips(plane, True) == flips(plane, False)
    side = "" if radiological or is_same else "-neurological"
    return dataset.folder / "quality" / FOLDER / f"{safe_name(case_id)}-{plane}{side}.webp"


def make_strips(dataset: Dataset, case_id: str) -> None:
    """Draw and write all strips of a case."""
    for plane in PLANES:
        for radiological in (True, False):
            path = strip_path(dataset, case_id, plane, radiological)
            if radiological or path != strip_path(dataset, case_id, plane):
                atomic_write(path, webp(draw_strip(dataset, case_id, plane, radiological)))


def draw_strip(dataset: Dataset, case_id: str, plane: Plane, radiological: bool = True) -> Picture:
    """(height, width, 3): one picture for each modality of the dataset; a dark one with a word where it lacks."""
    return np.concatenate(list(_spaced(_cells(dataset, case_id, plane, radiological))), axis=1)


def _spaced(cells: Iterator[Picture]) -> Iterator[Picture]:
    for n, cell in enumerate(cells):
        if n:
            yield np.zeros((cell.shape[0], GAP_PX, 3), np.uint8)
        yield cell


def _cells(dataset: Dataset, case_id: str, plane: Plane, radiological: bool) -> Iterator[Picture]:
    width, height = cell_px(dataset, plane)
    mask = dataset.mask(case_id)
    index = middle_slice(mask, plane)
    one = [slice(None)] * 3
    one[slice_axis(plane)] = slice(index, index + 1)
    outline = np.asarray(mask[tuple(one)])
    present = dataset.record(case_id)["modalities"]
    for modality in dataset.modalities:
        if modality not in present:
            yield _empty(modality, (width, height))
            continue
        colours = default_colours(modality, dataset.unit(modality))
        look = Look(plane, radiological, prepared_window(dataset, modality), colours, height, scale_bar=False)
        flat = np.asarray(dataset.volume(case_id, modality)[tuple(one)])
        pane = draw_outlined(flat, outline, dataset.spacing_mm, 0, look, thickness_px=1)
        yield _named(pane, modality, INK)


def middle_slice(mask: NDArray[np.bool_], plane: Plane) -> int:
    """The slice that halves what is judged; the middle of the image where that is nothing."""
    axis = slice_axis(plane)
    area = np.cumsum(mask.sum(axis=tuple(other for other in range(3) if other != axis)))
    return int(np.searchsorted(area, area[-1] / 2)) if area[-1] else mask.shape[axis] // 2


def _empty(modality: str, size: tuple[int, int]) -> Picture:
    image = Image.new("RGB", size)
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 0, size[0] - 1, size[1] - 1), outline=(58, 61, 70))
    pen.text((size[0] // 2, size[1] // 2), MISSING, font=_font(), fill=QUIET, anchor="mm", align="center")
    return _named(np.asarray(image), modality, QUIET)


def _named(pane: Picture, modality: str, ink: tuple[int, int, int]) -> Picture:
    image = Image.fromarray(pane)
    ImageDraw.Draw(image).text(
        (4, 3), modality, font=_font(), fill=ink, anchor="lt", stroke_width=1, stroke_fill=(0, 0, 0)
    )
    return np.asarray(image)


def _font() -> Any:
    return ImageFont.load_default(11)
