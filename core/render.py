"""A slice of a volume as a picture: plane, side, window, colour map, letters and scale bar. numpy and Pillow only.

A picture's rows run down the screen and its columns to the right. Volumes are (I, J, K) towards right, anterior,
superior. Radiological convention: the patient's right is on the left of the picture.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from core.types import Array

Plane = Literal["axial", "coronal", "sagittal"]
Picture = NDArray[np.uint8]
Position = tuple[int, int, int]
Spacing = tuple[float, float, float]

PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
AXES: Mapping[Plane, tuple[int, int, int]] = {  # columns, rows, slices
    "axial": (0, 1, 2),
    "coronal": (0, 2, 1),
    "sagittal": (1, 2, 0),
}
ENDS = (("L", "R"), ("P", "A"), ("I", "S"))  # what lies at the low and at the high end of each axis
STEPS = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)
INK = (214, 218, 228)
CROSSHAIR = (86, 180, 233)
GAP_PX = 3  # between words
Corner = tuple[float, float] | None
PRESETS_FILE = Path(__file__).resolve().parent.parent / "assets" / "presets.json"


@dataclass(frozen=True)
class Window:
    """The range of values that is spread over the colours."""

    low: float
    high: float

    @staticmethod
    def of(width: float, level: float) -> Window:
        """From width and level (centre), as scanners state it."""
        return Window(level - width / 2, level + width / 2)


@dataclass(frozen=True)
class Look:
    """How a pane is drawn.

    Attributes:
        colours: "grey", "hot" or "diverging".
        height_px: of the picture; the width follows from millimetres.
        crosshair: voxel through which two lines are drawn, where there is one.
    """

    plane: Plane = "axial"
    radiological: bool = True
    window: Window = Window(0.0, 1.0)
    colours: str = "grey"
    height_px: int = 320
    letters: bool = True
    scale_bar: bool = True
    crosshair: Position | None = None


@cache
def presets() -> dict[str, Any]:
    """Windows by unit, and the percentiles for units without presets."""
    return dict(json.loads(PRESETS_FILE.read_text()))


def window_presets(unit: str) -> dict[str, Window]:
    """Named windows for a unit; none for arbitrary units."""
    return {name: Window.of(**values) for name, values in presets()["windows"].get(unit, {}).items()}


def percentile_window(data: Array, mask: NDArray[np.bool_] | None = None) -> Window:
    """From the low to the high percentile of what is inside the mask (or is not background)."""
    values = data[mask] if mask is not None and mask.any() else data[data > data.min()]
    if values.size == 0:
        return Window(float(data.min()), float(data.min()) + 1.0)
    low, high = np.percentile(values, [presets()["percentiles"]["low"], presets()["percentiles"]["high"]])
    return Window(float(low), float(max(high, low + 1e-6)))


def symmetric_window(difference: Array, mask: NDArray[np.bool_] | None = None) -> Window:
    """Zero in the middle; as wide as 98 % of the differences need, rounded up."""
    values = np.abs(difference[mask] if mask is not None and mask.any() else difference)
    reach = round_up(float(np.percentile(values, 98))) if values.size else 1.0
    return Window(-reach, reach)


def round_up(value: float) -> float:
    """The next number that is short to say: one of STEPS times a power of ten."""
    if not np.isfinite(value) or value <= 0:
        return 1.0
    decade = 10.0 ** np.floor(np.log10(value))
    return float(next(step * decade for step in STEPS if value <= step * decade * (1 + 1e-9)))


def default_colours(modality: str, unit: str) -> str:
    """Hot for uptake (PET, SPECT, SUV), grey for all else."""
    return "hot" if modality in ("PET", "SPECT") or unit == "SUV" else "grey"


def slice_axis(plane: Plane) -> int:
    """The axis of the volume along which the plane's slices follow each other."""
    return AXES[plane][2]


def flips(plane: Plane, radiological: bool) -> tuple[bool, bool]:
    """Whether columns and rows run against the volume's axes: up is anterior or superior, the nose looks left."""
    return radiological if AXES[plane][0] == 0 else True, True


def take_slice(volume: NDArray[Any], plane: Plane, index: int, radiological: bool = True) -> NDArray[Any]:
    """(rows, columns) as they stand on the screen, one pixel per voxel."""
    columns, rows, axis = AXES[plane]
    picture = volume[(slice(None),) * axis + (index,)]  # np.take would read all of a memory-mapped volume
    picture = picture.T if columns < rows else picture
    flip_columns, flip_rows = flips(plane, radiological)
    return np.asarray(picture[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1])


def on_screen(position: Position, shape: tuple[int, int, int], look: Look) -> tuple[float, float]:
    """Where a voxel's centre falls in its pane: (from the left, from the top), each as a share of the pane."""
    columns, rows, _ = AXES[look.plane]
    flip_columns, flip_rows = flips(look.plane, look.radiological)
    x, y = (position[columns] + 0.5) / shape[columns], (position[rows] + 0.5) / shape[rows]
    return (1 - x if flip_columns else x), (1 - y if flip_rows else y)


def edge_letters(plane: Plane, radiological: bool = True) -> tuple[str, str, str, str]:
    """What lies left, right, at the top and at the bottom of the picture, as seen from the patient."""
    columns, rows, _ = AXES[plane]
    flip_columns, flip_rows = flips(plane, radiological)
    left, right = ENDS[columns][::-1] if flip_columns else ENDS[columns]
    top, bottom = ENDS[rows] if not flip_rows else ENDS[rows][::-1]
    return left, right, top, bottom


def size_mm(shape: tuple[int, int, int], spacing_mm: Spacing, plane: Plane) -> tuple[float, float]:
    """Width and height of a pane in millimetres."""
    columns, rows, _ = AXES[plane]
    return shape[columns] * spacing_mm[columns], shape[rows] * spacing_mm[rows]


@cache
def colour_map(name: str) -> Picture:
    """(256, 3) colours. Lightness rises evenly; "diverging" is black at zero and equally bright on both sides."""
    shares = np.linspace(0, 1, 256)
    if name == "grey":
        return np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    if name in RAMPS:
        return _ramp(shares, RAMPS[name])
    if name == "diverging":
        cold, warm = _ramp(1 - 2 * shares[:128], COLD), _ramp(2 * shares[128:] - 1, WARM)
        return np.concatenate([cold, warm])
    raise KeyError(name)


Stops = tuple[tuple[int, int, int], ...]
HOT: Stops = ((0, 0, 0), (118, 8, 24), (206, 52, 8), (247, 129, 4), (255, 205, 60), (255, 255, 235))
COLD: Stops = ((0, 0, 0), (20, 66, 140), (38, 132, 230), (130, 195, 255), (225, 242, 255))
DOUBT: Stops = ((0, 0, 0), (72, 20, 112), (150, 40, 150), (222, 84, 140), (250, 160, 150), (255, 246, 234))
WARM: Stops = ((0, 0, 0), (140, 36, 14), (226, 94, 26), (255, 172, 96), (255, 237, 214))
RAMPS = {"hot": HOT, "doubt": DOUBT}
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


def _ramp(shares: NDArray[np.float64], stops: Stops) -> Picture:
    """Hues from the stops, brightness mended so that lightness rises linearly with the share."""
    places = np.linspace(0, 1, len(stops))
    colours = np.stack([np.interp(shares, places, [stop[c] for stop in stops]) for c in range(3)], axis=1) / 255
    first, last = (_lightness(np.array([stops[n]]) / 255)[0] for n in (0, -1))
    wanted = first + shares * (last - first)
    for _ in range(8):  # scale towards black, or mix towards white, until the lightness is right
        now = _lightness(colours)
        darker = np.clip(wanted / np.maximum(now, 1e-6), 0, 1)[:, None]
        whiter = np.clip((wanted - now) / np.maximum(100 - now, 1e-6), 0, 1)[:, None]
        colours = np.where(now[:, None] > wanted[:, None], colours * darker, colours + (1 - colours) * whiter)
    return np.asarray((colours * 255).round(), dtype=np.uint8)


def _lightness(srgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIE L*, 0 to 100."""
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    y = linear @ LUMINANCE
    return np.asarray(np.where(y > 0.008856, 116 * np.cbrt(y) - 16, 903.3 * y))


def to_levels(values: NDArray[Any], window: Window) -> Picture:
    """Values -> 0 to 255 within the window; what is no number counts as its low end."""
    inside = np.clip(np.nan_to_num(values, nan=window.low), window.low, window.high)
    scaled = (inside - window.low) * (255 / max(window.high - window.low, 1e-12))
    return np.asarray(np.rint(scaled), dtype=np.uint8)


def draw_slice(volume: NDArray[Any], spacing_mm: Spacing, index: int, look: Look) -> Picture:
    """One pane, (height, width, 3): true in millimetres, on black, with letters, scale bar and crosshair.

    Raises:
        IndexError: There is no such slice.
    """
    shape = (volume.shape[0], volume.shape[1], volume.shape[2])
    levels = to_levels(take_slice(volume, look.plane, index, look.radiological), look.window)
    width_mm, height_mm = size_mm(shape, spacing_mm, look.plane)
    width_px = max(1, round(look.height_px * width_mm / height_mm))
    enlarged = Image.fromarray(np.ascontiguousarray(levels)).resize(
        (width_px, look.height_px), Image.Resampling.BILINEAR
    )
    image = Image.fromarray(colour_map(look.colours)[np.asarray(enlarged)])
    pen = ImageDraw.Draw(image)
    if look.crosshair is not None:
        x, y = on_screen(look.crosshair, shape, look)
        _draw_crosshair(pen, round(x * width_px), round(y * look.height_px), image.size)
    taken = _draw_scale_bar(pen, width_px / width_mm, image.size) if look.scale_bar else None
    if look.letters:
        _draw_letters(pen, edge_letters(look.plane, look.radiological), image.size, taken)
    return np.asarray(image)


def middle(shape: tuple[int, int, int]) -> Position:
    """The voxel in the middle."""
    return shape[0] // 2, shape[1] // 2, shape[2] // 2


def draw_planes(volume: NDArray[Any], spacing_mm: Spacing, position: Position, look: Look) -> list[Picture]:
    """Axial, coronal and sagittal through one voxel."""
    return [draw_slice(volume, spacing_mm, position[slice_axis(plane)], replace(look, plane=plane)) for plane in PLANES]


def _draw_crosshair(pen: ImageDraw.ImageDraw, x: int, y: int, size: tuple[int, int]) -> None:
    gap = 8  # the point itself stays visible
    for line in ((0, y, x - gap, y), (x + gap, y, size[0], y), (x, 0, x, y - gap), (x, y + gap, x, size[1])):
        if line[0] <= line[2] and line[1] <= line[3]:
            pen.line(line, fill=CROSSHAIR, width=1)


def _draw_letters(pen: ImageDraw.ImageDraw, letters: tuple[str, ...], size: tuple[int, int], taken: Corner) -> None:
    """The lower one stands above the scale bar where that reaches it; `taken`: the bar's left and upper end."""
    width, height = size
    font = _font(max(11, height // 22))
    reach = width // 2 + font.getlength(letters[3]) / 2 + GAP_PX
    lowest = height - 5 if taken is None or taken[0] > reach else round(taken[1]) - GAP_PX
    places = (
        (6, height // 2, "lm"),
        (width - 6, height // 2, "rm"),
        (width // 2, 5, "mt"),
        (width // 2, lowest, "mb"),
    )
    for letter, (x, y, anchor) in zip(letters, places, strict=True):
        pen.text((x, y), letter, font=font, fill=INK, anchor=anchor, stroke_width=1, stroke_fill=(0, 0, 0))


def _draw_scale_bar(pen: ImageDraw.ImageDraw, px_per_mm: float, size: tuple[int, int]) -> Corner:
    """A round length of about a fifth of the width, at the lower right; returns how far left and up it reaches."""
    width, height = size
    length_mm = next((mm for mm in (100, 50, 20, 10, 5, 2, 1) if mm * px_per_mm <= 0.3 * width), 0)
    if not length_mm:
        return None
    right, y = width - 10, height - 10
    left = right - length_mm * px_per_mm
    pen.line((left, y, right, y), fill=INK, width=2)
    words = f"{length_mm // 10} cm" if length_mm >= 10 else f"{length_mm} mm"
    style = {"font": _font(max(10, height // 28)), "anchor": "rb", "stroke_width": 1}
    pen.text((right, y - 4), words, fill=INK, stroke_fill=(0, 0, 0), **style)
    words_left, top, *_ = pen.textbbox((right, y - 4), words, **style)
    return min(left, words_left), top


@cache
def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def png(picture: Picture) -> bytes:
    """The picture as a PNG file."""
    return _encoded(picture, "PNG", compress_level=3)


def webp(picture: Picture) -> bytes:
    """The picture as a WebP file, a quarter of a PNG's size; good for looking, not for measuring."""
    return _encoded(picture, "WEBP", quality=90, method=1)


def _encoded(picture: Picture, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, kind, **options)
    return stream.getvalue()
