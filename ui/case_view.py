"""One case: every modality in three planes at one point of the body, its histograms, its facts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from core.cohort import Cohort
from core.remembered import file_stamp
from core.render import (
    AXES,
    PLANES,
    Look,
    Picture,
    Plane,
    Window,
    default_colours,
    draw_slice,
    size_mm,
    slice_axis,
    webp,
    window_presets,
)
from core.types import LABEL_UNIT, Volume
from ui.histogram import histogram_chart, histogram_of
from ui.state import State
from ui.style import modality_chip, table_height
from ui.windows import default_window, usual_preset, window_words
from ui.words import NOTED, code_words, notes_of, size_words, spacing_words, value_words

MAX_COLUMNS = 6
ROW_WIDTH_PX = 840  # what a row of tiles takes on a 1400 pixel wide screen: drawn for it, so that letters stay sharp
TILE_HEIGHT_PX = 500
GAP_PX = 6
Point = tuple[float, float, float]  # RAS millimetres
AXIS_NAMES = ("Left to right", "Back to front", "Bottom to top")


@st.cache_resource(max_entries=12, ttl=600, show_spinner=False)
def _shown(_cohort: Cohort, case_id: str, modality: str, preset: str, stamp: str) -> tuple[Volume, Window]:
    """A volume and the window it is shown in."""
    volume = _cohort.read_volume(case_id, modality)
    return volume, default_window(volume, preset)


def read_shown(cohort: Cohort, case_id: str, modality: str, preset: str = "") -> tuple[Volume, Window]:
    """The same, with the stamp looked up. `preset` names a window for Hounsfield units."""
    return _shown(cohort, case_id, modality, preset, stamp_of(cohort, case_id))


def stamp_of(cohort: Cohort, case_id: str) -> str:
    """Which case this is, whatever it is called: another import is another, visitors' shared demos are one."""
    return file_stamp(cohort.folder / case_id / "case.json")


@st.cache_data(max_entries=64, ttl=600, show_spinner=False)
def _usual_ct_window(_cohort: Cohort, case_id: str, modality: str, stamp: str) -> str:
    return usual_preset(_shown(_cohort, case_id, modality, "", stamp)[0].data)


@st.cache_data(max_entries=256, ttl=600, show_spinner=False)
def _tile_drawn(
    _cohort: Cohort, image: tuple[str, str, str, str], point: Point, radiological: bool, width: int
) -> tuple[bytes, str]:
    """The picture of one modality, and its window in words; `image` is what `_shown` asks for."""
    volume, window = _shown(_cohort, *image)
    picture = tile(volume, window, np.asarray(point), radiological, width)
    return webp(picture), "" if volume.is_label else window_words(window, volume.unit)


@dataclass(frozen=True)
class Box:
    """Where the images of a case lie together, RAS millimetres."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @staticmethod
    def around(records: dict[str, Any]) -> Box:
        """The box that all of the case's volumes share; of the first one where they share none."""
        boxes = [_extent(facts) for facts in records.values()]
        low = np.max([box[0] for box in boxes], axis=0)
        high = np.min([box[1] for box in boxes], axis=0)
        return Box(low, high) if (low < high).all() else Box(*boxes[0])


def _extent(facts: dict[str, Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    ends = np.asarray(facts["shape"], float) - 0.5
    corners = np.stack(np.meshgrid(*[(-0.5, end) for end in ends], indexing="ij"), axis=-1).reshape(-1, 3)
    affine = np.asarray(facts["affine"], float)
    world = corners @ affine[:3, :3].T + affine[:3, 3]
    return world.min(axis=0), world.max(axis=0)


def case_slices(cohort: Cohort, case_id: str, radiological: bool) -> None:
    """The pictures, and three sliders for the point that all of them show; label maps last."""
    volumes: dict[str, Any] = cohort.describe(case_id)["volumes"]
    axes = {slice_axis(plane) for facts in volumes.values() for plane in shown_planes(facts["shape"])}
    step_mm = min(min(facts["spacing_mm"]) for facts in volumes.values())
    point = _point(Box.around(volumes), axes, step_mm)
    in_hu = [modality for modality, facts in volumes.items() if facts["unit"] == "HU"]
    stamp = stamp_of(cohort, case_id)
    preset = _ct_window(_usual_ct_window(cohort, case_id, in_hu[0], stamp)) if in_hu else ""
    names = sorted(volumes, key=lambda modality: volumes[modality]["unit"] == LABEL_UNIT)
    n_columns = max(3, min(MAX_COLUMNS, len(names)))
    for start in range(0, len(names), n_columns):
        row = names[start : start + n_columns]
        for cell, modality in zip(st.columns(n_columns, gap="small"), row, strict=False):
            with cell:
                modality_chip(modality)
                width = ROW_WIDTH_PX // n_columns
                image = (case_id, modality, preset, stamp)
                picture, words = _tile_drawn(cohort, image, point, radiological, width)
                st.image(picture, alt=f"{modality}: axial, coronal and sagittal slice")
                if words:
                    st.caption(words)
    for modality, code in notes_of(volumes):
        st.caption(f"{NOTED} {modality}: {code_words(code)}")


def _ct_window(usual: str) -> str:
    tip = "Which Hounsfield units are spread from black to white"
    names = list(window_presets("HU"))
    chosen = st.segmented_control("CT window", names, default=usual, help=tip, key=f"ct-window-{usual}", required=True)
    return str(chosen or usual)


def shown_planes(shape: Sequence[int]) -> list[Plane]:
    """The planes in which an image has an extent: all three, or one for a picture."""
    planes = [plane for plane in PLANES if min(shape[axis] for axis in AXES[plane][:2]) > 1]
    return planes or ["axial"]


def _point(box: Box, axes: Collection[int], step_mm: float) -> Point:
    """A slider in millimetres for each axis along which there are slices."""
    point = []
    for axis, cell in enumerate(st.columns(3)):
        low, high = float(np.ceil(box.low[axis])), float(np.floor(box.high[axis]))
        if high - low < 2 * step_mm or axis not in axes:
            point.append((low + high) / 2)
            continue
        with cell:
            key = f"at-{axis}-{low:.0f}-{high:.0f}"
            middle = float(round((low + high) / 2))
            tip = "Where the slices lie, in millimetres of the scanner's coordinates. All images follow."
            step = float(max(1, round(step_mm)))
            point.append(st.slider(f"{AXIS_NAMES[axis]} (mm)", low, high, middle, step, "%d", key=key, help=tip))
    return point[0], point[1], point[2]


def tile(volume: Volume, window: Window, point_mm: NDArray[np.float64], radiological: bool, width_px: int) -> Picture:
    """Axial, coronal and sagittal through the point, one below the other, in one scale of pixels per millimetre."""
    sizes = [size_mm(volume.data.shape, volume.spacing_mm, plane) for plane in shown_planes(volume.data.shape)]
    px_per_mm = min(width_px / max(w for w, _ in sizes), TILE_HEIGHT_PX / sum(h for _, h in sizes))
    panes = _panes(volume, window, point_mm, radiological, px_per_mm)
    width = max(pane.shape[1] for pane in panes)
    return np.concatenate([_centred(pane, width, axis=1) for pane in panes])


def planes_in_a_row(
    volume: Volume, window: Window, point_mm: NDArray[np.float64], radiological: bool, height_px: int
) -> Picture:
    """The same planes beside each other."""
    sizes = [size_mm(volume.data.shape, volume.spacing_mm, plane) for plane in shown_planes(volume.data.shape)]
    panes = _panes(volume, window, point_mm, radiological, height_px / max(h for _, h in sizes))
    height = max(pane.shape[0] for pane in panes)
    return np.concatenate([_centred(pane, height, axis=0) for pane in panes], axis=1)


def _panes(
    volume: Volume, window: Window, point_mm: NDArray[np.float64], radiological: bool, px_per_mm: float
) -> list[Picture]:
    """Each plane through the point; black where it lies outside of the image."""
    shape, spacing = volume.data.shape, volume.spacing_mm
    voxel = np.rint(np.linalg.inv(volume.affine) @ [*point_mm, 1.0]).astype(int)[:3]
    colours = default_colours(volume.modality, volume.unit)
    panes = []
    for plane in shown_planes(shape):
        height_mm = size_mm(shape, spacing, plane)[1]
        look = Look(plane, radiological, window, colours, height_px=max(24, round(height_mm * px_per_mm)))
        axis = slice_axis(plane)
        inside = 0 <= voxel[axis] < shape[axis]
        pane = draw_slice(volume.data, spacing, int(np.clip(voxel[axis], 0, shape[axis] - 1)), look)
        panes.append(pane if inside else np.zeros_like(pane))
    return panes


def _centred(pane: Picture, length: int, axis: int) -> Picture:
    """Padded to the length along the axis, with a gap behind it along the other."""
    spare = length - pane.shape[axis]
    pads = [(0, GAP_PX), (0, GAP_PX), (0, 0)]
    pads[axis] = (spare // 2, spare - spare // 2)
    return np.pad(pane, pads)


def case_histograms(cohort: Cohort, case_id: str) -> None:
    """How often each intensity occurs, a chart per image: arbitrary units share no axis."""
    volumes: dict[str, Any] = cohort.describe(case_id)["volumes"]
    images = [m for m, facts in volumes.items() if facts["unit"] != LABEL_UNIT]
    n_columns = 1 if len(images) == 1 else 2
    height = max(170, 600 // -(-len(images) // n_columns) - 40)
    for start in range(0, len(images), n_columns):
        for cell, modality in zip(st.columns(n_columns), images[start : start + n_columns], strict=False):
            with cell:
                modality_chip(modality)
                counted = {modality: histogram_of(read_shown(cohort, case_id, modality)[0].data)}
                histogram_chart(counted, volumes[modality]["unit"], f"histogram-{modality}", height)
    st.caption("Background, the most frequent lowest value, is left out.")


def case_facts(cohort: Cohort, case_id: str) -> None:
    """Geometry, range and notes of every modality, and the labels of the case."""
    record = cohort.describe(case_id)
    rows = [
        {
            "Modality": modality,
            "Voxels": size_words(facts["shape"]),
            "Spacing": spacing_words(facts["spacing_mm"]),
            "Unit": facts["unit"],
            "From": value_words(facts["min"], ""),
            "To": value_words(facts["max"], ""),
            "Notes": " ".join(code_words(code) for code in facts["warnings"]),
        }
        for modality, facts in record["volumes"].items()
    ]
    st.dataframe(rows, hide_index=True, width="stretch")
    if record["labels"]:
        st.markdown("**Labels**", help="What is known of the case beside its images. No identity, no dates.")
        said = [{"Label": name, "Value": _label_words(value)} for name, value in record["labels"].items()]
        st.dataframe(said, hide_index=True, width="stretch", height=table_height(len(said), 320))


def _label_words(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def radiological() -> bool:
    """Whether the patient's right is on the left of a picture, as this session has it."""
    return bool(st.session_state.get(State.RADIOLOGICAL, True))


def radiological_toggle() -> bool:
    """Which side is which, remembered for the session."""
    tip = "On: the patient's right is on the left of the picture, as radiologists look at it. Off: the other way round."
    st.session_state.setdefault(State.RADIOLOGICAL, True)
    return st.toggle("Radiological view", key=State.RADIOLOGICAL, help=tip, persist_state="session")
