"""One prepared case: a slice of every modality with the outline of what is judged, alone or laid over the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import streamlit as st

from core.dataset import Dataset
from core.display import PREPARED, draw_outlined, prepared_window
from core.quality.flags import ALIGNMENT, Flag
from core.quality.thumbnails import middle_slice
from core.render import PLANES, Look, Plane, default_colours, size_mm, slice_axis, webp
from core.types import Array
from ui.case_view import radiological_toggle
from ui.exclusion import exclusion, runs_made_with
from ui.pickers import case_picker
from ui.state import State
from ui.style import modality_chip
from ui.words import flag_words

ROW_WIDTH_PX = 1300  # what a row of panes takes on a 1400 pixel wide screen
MAX_HEIGHT_PX = 340
FIELDS = 8  # of a checkerboard, along the longer side of a slice
OVERLAYS = {"images": "Images", "checkerboard": "Checkerboard", "blend": "Blend"}
VERDICTS = {
    "aligned": ("check_circle", "Aligned with"),
    "doubtful": ("help", "Doubtful whether aligned with"),
    "not aligned": ("error", "Not aligned with"),
}
ALIGNED_TIP = "Found by comparing how well the images explain each other here and a little beside."


def look_at(case_id: str, overlay: str = "images") -> None:
    """Open a case in the larger view: a callback."""
    st.session_state[State.CASE] = case_id
    st.session_state[State.OVERLAY] = overlay
    st.session_state[State.DATASET_VIEW] = "case"


def case_slices(dataset: Dataset, flags: Mapping[str, Sequence[Flag]]) -> None:
    """The case, what is to be said of it, the act, and its slices; cases that were left out can be looked at too."""
    whole = dataset.whole
    marks = dict.fromkeys(dataset.excluded, "left out")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        case_id = case_picker(whole.case_ids, marks=marks)
        plane = plane_control("dataset-plane")
        st.session_state.setdefault(State.OVERLAY, "images")
        how = st.segmented_control(
            "Show", OVERLAYS, format_func=OVERLAYS.__getitem__, required=True, key=State.OVERLAY,
            help="Checkerboard and blend lay each image over the reference: edges that break are out of place",
        )  # fmt: skip
        tip = "The yellow line is the edge of the mask: what lies inside is learnt from and judged."
        outlined = st.toggle("Mask outline", value=True, help=tip, key="dataset-outline")
        radiological = radiological_toggle()
    if case_id is None:
        return
    left, right = st.columns([5, 1], vertical_alignment="top")
    with left, st.container(gap="xxsmall"):
        for flag in flags.get(case_id, ()):
            st.markdown(f":material/{'flag' if flag.counts else 'info'}: {flag_words(flag)}")
    with right:
        exclusion(dataset, case_id, runs_made_with(dataset))
    _slices(whole, case_id, Look(plane, radiological), outlined, str(how))


def plane_control(key: str) -> Plane:
    """Axial, coronal or sagittal."""
    chosen: Plane = st.segmented_control(
        "Plane", PLANES, default="axial", format_func=str.capitalize, required=True, key=key,
        help="From which side the body is cut",
    )  # fmt: skip
    return chosen or "axial"


def _slices(dataset: Dataset, case_id: str, view: Look, outlined: bool, how: str) -> None:
    plane, axis = view.plane, slice_axis(view.plane)
    n = dataset.shape[axis]
    at = middle_slice(dataset.mask(case_id), plane)
    if n > 1:
        at = st.slider("Slice", 0, n - 1, at, key=f"dataset-slice-{case_id}-{plane}", help="Through the body")
    mask = dataset.mask(case_id) if outlined else None
    present = dataset.record(case_id)["modalities"]
    aligned: Mapping[str, Any] = dataset.record(case_id).get("findings", {}).get("align", {})
    first = next((m for m in present if m not in aligned), present[0])
    n_columns = max(3, min(len(present), 6))
    width_mm, height_mm = size_mm(dataset.shape, dataset.spacing_mm, plane)
    height_px = min(MAX_HEIGHT_PX, round(ROW_WIDTH_PX / n_columns * height_mm / width_mm))
    for start in range(0, len(present), n_columns):
        row = present[start : start + n_columns]
        for cell, modality in zip(st.columns(n_columns, gap="small"), row, strict=False):
            colours = default_colours(modality, dataset.unit(modality))
            look = Look(plane, view.radiological, PREPARED, colours, height_px)
            with cell:
                modality_chip(modality)
                own, other = (_shown(dataset, case_id, m, (axis, at)) for m in (modality, first))
                inside = None if mask is None else one_slice(mask, axis, at)
                picture = draw_outlined(mixed(own, other, how), inside, dataset.spacing_mm, 0, look)
                laid = "" if how == "images" or modality == first else f", {how} with {first}"
                st.image(webp(picture), alt=f"{modality}, {plane} slice {at}{laid}")
                if modality in aligned:
                    st.caption(alignment_words(aligned[modality], first), help=ALIGNED_TIP)


def _shown(dataset: Dataset, case_id: str, modality: str, place: tuple[int, int]) -> Array:
    """A slice with its modality's window spread over 0 to 1, so that two modalities can be mixed."""
    window = prepared_window(dataset, modality)
    values: Array = one_slice(dataset.volume(case_id, modality), *place)
    return np.clip((values - window.low) / (window.high - window.low), 0, 1)


def one_slice(volume: Any, axis: int, at: int) -> Any:
    """A slice that keeps its axis, so that it is drawn as a volume is."""
    return np.array(volume[(slice(None),) * axis + (slice(at, at + 1),)])


def mixed(own: Array, other: Array, how: str) -> Array:
    """One slice: the image itself, in a checkerboard with the reference, or half and half."""
    if how == "checkerboard":
        field = max(1, max(own.shape) // FIELDS)
        i, j, k = np.indices(own.shape) // field
        return np.where((i + j + k) % 2 == 0, own, other)
    return (own + other) / 2 if how == "blend" else own


def alignment_words(found: Mapping[str, Any], reference: str) -> str:
    """Such as "Aligned with T1, moved 2.1 mm"."""
    icon, word = VERDICTS[found["verdict"]]
    moved = f", moved {found['shift_mm']:.1f} mm" if "shift_mm" in found else ""
    return f":material/{icon}: {word} {reference}{moved}"


def overlay_of(flag: Flag) -> str:
    """How the larger view opens for a flag: over the reference where the question is whether images lie on it."""
    return "checkerboard" if flag.code in ALIGNMENT else "images"
