"""The slice viewer: linked panes of volumes on one grid. All motion happens in the browser (assets/slice_viewer.js).

`slice_view(panes, affine, payload)` draws it; "Simple view" is the same with plain images and sliders.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from core import render
from core.render import Plane, Window
from core.types import Affine, Array
from ui.permalink import publish, recalled
from ui.state import State
from ui.style import ASSETS, modality_colour

Mask = NDArray[np.bool_]
MARGIN_MM = 6.0
BACKGROUND = 0.02  # of a pane's range: below is air and noise
FINE_STEPS, COARSE_STEPS = 65535, 4095  # 12 bits halve the transfer and still tell 1 HU from the next
MODES = ("side", "blend", "swipe", "checker", "blink")
_mount = st.components.v2.component(
    "crossmodal_slice_viewer",
    js=(ASSETS / "slice_viewer.js").read_text(),
    css=(ASSETS / "slice_viewer.css").read_text(),
)


@dataclass(frozen=True, eq=False)
class Pane:
    """One image of the viewer.

    Attributes:
        key: unique among the panes.
        title: what a person reads in the pane.
        modality: decides the colour of its mark; panes of one modality share their window.
        data: (I, J, K) in `unit`.
        unit: "HU", "SUV"; empty where values are on the prepared 0-1 scale.
        minus: (key, key) where this pane is the first minus the second; the browser computes it.
        is_masked: whether "Inside mask" hides what lies outside; for what a model made.
        over: key of the pane that this one is laid over, in colours that let it through.
        bar: key of the pane that holds half the width of this one's error bars.
    """

    key: str
    title: str
    modality: str
    data: Array
    window: Window
    unit: str = ""
    colours: str = "grey"
    minus: tuple[str, str] | None = None
    is_masked: bool = False
    over: str = ""
    bar: str = ""

    @property
    def group(self) -> str:
        return self.key if self.minus or self.over else self.modality


def pack(
    panes: Sequence[Pane], affine: Affine, pair: tuple[str, str], note: str = "", mask: Mask | None = None
) -> bytes:
    """All that the browser needs, in one piece: header length, header, gzipped voxels, colour maps. Cache it.

    Args:
        pair: keys of the two panes that blend, swipe, checkerboard and blink compare.
        note: stands behind the position, such as what the numbers' scale is.
        mask: (I, J, K), the voxels that are judged.
    """
    blobs: list[bytes] = []

    def put(blob: bytes) -> tuple[int, int]:
        at = (sum(map(len, blobs)), len(blob))
        blobs.append(blob)
        return at

    header: dict[str, Any] = {
        "panes": [_pane_header(pane, put) for pane in panes],
        "maps": {name: put(render.colour_map(name).tobytes()) for name in dict.fromkeys(p.colours for p in panes)},
        "shape": panes[0].data.shape,
        "field": field_of_view(panes, affine),
        "spacing": [float(v) for v in np.linalg.norm(affine[:3, :3], axis=0)],
        "affine": affine[:3].tolist(),
        "planes": _plane_table(),
        "presets": _presets(panes),
        "pair": pair,
        "mask": None if mask is None else put(gzip.compress(mask.astype(np.uint8).tobytes(), 1, mtime=0)),
        "note": note,
        "name": "_".join(pane.title.replace(" ", "-") for pane in panes[:2]),
    }
    header["id"] = hashlib.sha256(b"".join([json.dumps(header).encode(), *blobs])).hexdigest()[:24]
    return _joined(header, b"".join(blobs))


def _joined(header: dict[str, Any], blobs: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<I", len(text)) + text + blobs


def _opened_at(payload: bytes, view: dict[str, Any]) -> bytes:
    """The same content, opening at this view: so that the content can be cached for all."""
    end = 4 + struct.unpack("<I", payload[:4])[0]
    return _joined({**json.loads(payload[4:end]), "view": view}, payload[end:])


def field_of_view(panes: Sequence[Pane], affine: Affine) -> list[tuple[int, int]]:
    """First and last + 1 voxel of each axis where a real image shows more than background, with a margin."""
    margin = np.maximum(1, np.rint(MARGIN_MM / np.linalg.norm(affine[:3, :3], axis=0)).astype(int))
    seen = np.zeros(panes[0].data.shape, bool)
    for pane in panes:
        if not pane.is_masked:
            low, high = float(pane.data.min()), float(pane.data.max())
            seen |= pane.data > low + BACKGROUND * (high - low)
    bounds = []
    for axis, n in enumerate(seen.shape):
        used = np.flatnonzero(seen.any(axis=tuple(other for other in range(3) if other != axis)))
        first, last = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, n)
        bounds.append((max(0, first - int(margin[axis])), min(n, last + int(margin[axis]))))
    return bounds


def _pane_header(pane: Pane, put: Any) -> dict[str, Any]:
    said: dict[str, Any] = {
        "key": pane.key,
        "title": pane.title,
        "unit": pane.unit,
        "group": pane.group,
        "colours": pane.colours,
        "colour": modality_colour(pane.modality),
        "is_masked": pane.is_masked,
        "over": pane.over,
        "bar": pane.bar,
        "window": [pane.window.low, pane.window.high],
    }
    if pane.minus:
        return {**said, "subtract": pane.minus}
    low, high = float(pane.data.min()), float(pane.data.max())
    steps = FINE_STEPS if high - low > COARSE_STEPS else COARSE_STEPS
    step = (high - low) / steps or 1.0
    voxels = np.rint((pane.data - low) / step).astype("<u2")
    return {**said, "step": step, "offset": low, "at": put(gzip.compress(voxels.tobytes(), 1, mtime=0))}


def _plane_table() -> dict[str, Any]:
    """Orientation comes from `core.render` alone; the browser only follows this table."""
    table: dict[str, Any] = {}
    for plane, (columns, rows, axis) in render.AXES.items():
        table[plane] = {"columns": columns, "rows": rows, "axis": axis}
        for name, radiological in (("radiological", True), ("neurological", False)):
            flip_columns, flip_rows = render.flips(plane, radiological)
            letters = render.edge_letters(plane, radiological)
            table[plane][name] = {"flip_columns": flip_columns, "flip_rows": flip_rows, "letters": letters}
    return table


def _presets(panes: Sequence[Pane]) -> dict[str, Any]:
    units = dict.fromkeys(pane.unit for pane in panes)
    return {name: (unit, (w.low, w.high)) for unit in units for name, w in render.window_presets(unit).items()}


def _start_view(payload: bytes) -> dict[str, Any]:
    """Where the viewer opens: from the link as far as it makes sense, else three planes through the middle.

    Decided once for each visit to the page, so that what is sent stays the same and is sent once.
    """
    if State.START_VIEW not in st.session_state or State.PLANE not in st.query_params:
        header = json.loads(payload[4 : 4 + struct.unpack("<I", payload[:4])[0]])
        plane, mode = recalled(State.PLANE, "all"), recalled(State.MODE, "side")
        st.session_state[State.START_VIEW] = {
            "plane": plane if plane in (*render.PLANES, "all") else "all",
            "position": _position(recalled(State.POSITION, ""), header["field"]),
            "mode": mode if mode in MODES else "side",
            "radiological": True,
        }
        _tell(st.session_state[State.START_VIEW])
    start: dict[str, Any] = st.session_state[State.START_VIEW]
    return start


def _position(text: str, field: Sequence[tuple[int, int]]) -> list[int]:
    parts = text.split("-")
    if len(parts) != 3 or not all(part.isdigit() for part in parts):
        return [(first + last) // 2 for first, last in field]
    return [max(first, min(int(part), last - 1)) for part, (first, last) in zip(parts, field, strict=True)]


def looked_at(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """The voxel under the crosshair; in the simple view the middle of its axial slice."""
    i, j, k = _position(recalled(State.POSITION, ""), [(0, n) for n in shape])
    if not st.session_state.get(State.SIMPLE_VIEW):
        return i, j, k
    return shape[0] // 2, shape[1] // 2, int(st.session_state.get("simple-axial", shape[2] // 2 + 1)) - 1


def slice_view(panes: Sequence[Pane], affine: Affine, payload: bytes, mask: Mask | None = None) -> None:
    """Draw the viewer, or the simple view where that is switched on. `payload` is what `pack` made of the same."""
    if st.session_state.get(State.SIMPLE_VIEW):
        _simple_view(panes, affine, mask)
    else:
        _fluid_view(_opened_at(payload, _start_view(payload)))
    st.toggle("Simple view", key=State.SIMPLE_VIEW, help="Plain pictures and sliders, for slow or old browsers.")


@st.fragment
def _fluid_view(payload: bytes) -> None:
    """A fragment: when the browser tells where it looks, only the link is written."""
    state = _mount(key=State.VIEWER, data=payload, on_view_change=_nothing)
    view = state.get("view")
    if isinstance(view, dict):
        _tell(view)


def _tell(view: dict[str, Any]) -> None:
    """The link says where the viewer looks."""
    publish(State.PLANE, str(view["plane"]))
    publish(State.POSITION, "-".join(str(int(n)) for n in view["position"]))
    publish(State.MODE, str(view["mode"]))


def _nothing() -> None:
    """A state needs a callback to exist; the fragment reads its value."""


@st.fragment
def _simple_view(panes: Sequence[Pane], affine: Affine, mask: Mask | None) -> None:
    shape = panes[0].data.shape
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    left, middle, right = st.columns([2, 3, 2], vertical_alignment="bottom")
    with left:
        plane: Plane = st.segmented_control(
            "Plane", render.PLANES, default="axial", format_func=str.capitalize, key="simple-plane", required=True
        )
    n = shape[render.slice_axis(plane)]
    with middle:
        index = st.slider("Slice", 1, n, n // 2 + 1, key=f"simple-{plane}") - 1 if n > 1 else 0
    with right:
        radiological = st.toggle(
            "Radiological", True, key=State.RADIOLOGICAL, help="The patient's right is on the left of the picture."
        )
    for cell, pane in zip(st.columns(len(panes)), panes, strict=True):
        look = render.Look(plane, radiological, pane.window, pane.colours, height_px=420)
        picture = render.draw_slice(_shown(pane, mask), tuple(spacing), index, look)
        words = f"{pane.title}: {_short(pane.window.low)} to {_short(pane.window.high)} {pane.unit}"
        cell.image(render.webp(picture), caption=words, width="stretch")


def _shown(pane: Pane, mask: Mask | None) -> Array:
    """The pane's voxels, black outside the mask where it hides."""
    if mask is None or not pane.is_masked:
        return pane.data
    return np.where(mask, pane.data, np.float32(0 if pane.minus else pane.window.low))


def _short(value: float) -> str:
    words = f"{value:.0f}" if abs(value) >= 100 else f"{value:.2g}"
    return words.replace("-", "\u2212")
