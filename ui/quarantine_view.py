"""Held-back pictures: look at each, blacken what can be read, and tick that nothing can be read any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from numpy.typing import NDArray
from PIL import Image

from core.ingest import Proposal
from core.readers.choice import Choice
from core.readers.item import Box
from core.survey import picture_name
from ui.pickers import step_buttons
from ui.state import State
from ui.words import count_words, tail_words

EDGE = np.array([255, 214, 10], np.uint8)
WHY = (
    "Ultrasound, screenshots and computed pictures often carry a patient's name in the picture itself. They are "
    "imported only when somebody has looked at every one."
)
BOXES_TIP = "Each row is a box that is blackened before anything is stored, in pixels from the top left corner."
SAID = "I have looked: no name, number or date can be read"
COLUMNS = ("column", "row", "width", "height")
PICTURE_PX = 560
GRID = 48  # invisible points a side: a box is told by the browser only where it catches one
BOXES, CHART = "held-boxes", "held-picture"


@dataclass
class _Looked:
    """What was decided of the pictures of one upload; widgets forget when another picture is shown.

    Attributes:
        start: what the table of boxes began with; another version makes table and picture begin anew.
    """

    folder: str
    boxes: dict[str, tuple[Box, ...]] = field(default_factory=dict)
    start: dict[str, tuple[Box, ...]] = field(default_factory=dict)
    ticked: set[str] = field(default_factory=set)
    version: int = 0

    def set_boxes(self, key: str, boxes: Sequence[Box]) -> None:
        self.boxes[key] = self.start[key] = tuple(boxes)
        self.version += 1

    def show(self, key: str) -> None:
        self.start[key] = self.boxes.get(key, ())
        self.version += 1

    def toggle(self, key: str) -> None:
        self.ticked ^= {key}


def quarantine_view(held_back: Sequence[Proposal], folder: Path) -> dict[str, Choice]:
    """Key -> Choice for every picture that was ticked; the others stay out."""
    looked = st.session_state.get(State.LOOKED)
    if not isinstance(looked, _Looked) or looked.folder != folder.name:
        looked = st.session_state[State.LOOKED] = _Looked(folder.name)
    names = {proposal.key: proposal for proposal in held_back}
    left, right = st.columns([2, 3], gap="medium")
    with left:
        key = _pick(names, looked)
        picture, at = names[key], _slice(names[key])
        st.caption("Draw a box over every name, number and date. What is not ticked stays out.")
        looked.boxes[key] = _boxes(looked, key)
        st.checkbox(
            SAID, key in looked.ticked, key=f"looked-{key}", on_change=looked.toggle, args=(key,),
            help="The picture joins the import when this is ticked",
        )  # fmt: skip
        st.caption(f"{len(looked.ticked)} of {count_words(len(names), 'picture')} let in")
    with right:
        _picture(_drawn(folder, picture, at), looked, key)
    return {
        p.key: Choice(p.case, p.modality, reviewed=True, blank=looked.boxes.get(p.key, ()))
        for p in held_back
        if p.key in looked.ticked
    }


def _pick(names: dict[str, Proposal], looked: _Looked) -> str:
    """Which picture is looked at."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="xxsmall"):
        key: str = st.selectbox(
            "Picture", list(names), format_func=lambda name: tail_words(names[name].label), key="held-back", help=WHY,
            on_change=lambda: looked.show(st.session_state["held-back"]),
        )  # fmt: skip
        step_buttons("held-back", tuple(names), "picture", looked.show)
    return key


def _slice(proposal: Proposal) -> int:
    """Which slice is shown; -1 for all of them at once."""
    if proposal.slices < 2:
        return 0
    tip = "The brightest value of all slices at each place: writing on any of them shows"
    if st.toggle(f"All {proposal.slices} slices at once", True, key=f"held-all-{proposal.key}", help=tip):
        return -1
    tip = "Look at all of them: a name may stand on one only."
    return st.slider("Slice", 1, proposal.slices, 1, key=f"held-slice-{proposal.key}", help=tip) - 1


def _boxes(looked: _Looked, key: str) -> tuple[Box, ...]:
    """The boxes of one picture, as a small table, which can be typed into too."""
    boxes = looked.boxes.get(key, ())
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{count_words(len(boxes), 'box', 'boxes')} to blacken**", help=BOXES_TIP, width="content")
        if boxes and st.button("Remove the last", icon=":material/undo:", key="held-undo", help="Takes a box back"):
            looked.set_boxes(key, boxes[:-1])
            st.rerun()
    frame = pd.DataFrame(list(looked.start.get(key, ())), columns=list(COLUMNS), dtype="Int64")
    config = {name: st.column_config.NumberColumn(name.capitalize(), min_value=0, step=1) for name in COLUMNS}
    edited = st.data_editor(
        frame, column_config=config, num_rows="dynamic", hide_index=True, width="stretch",
        key=f"{BOXES}-{key}-{looked.version}", height=180,
    )  # fmt: skip
    whole = edited.dropna().astype(int)
    return tuple((int(c), int(r), int(w), int(h)) for c, r, w, h in whole.itertuples(index=False))


@st.cache_resource(max_entries=4, ttl=600, show_spinner=False)
def _slices_of(folder: str, proposal: Proposal, at: int) -> NDArray[np.uint8]:
    numbers = range(proposal.slices) if at < 0 else [at]
    files = [Path(folder) / picture_name(proposal.key, number) for number in numbers]
    brightest: NDArray[np.uint8] = np.maximum.reduce([np.asarray(Image.open(file).convert("L")) for file in files])
    return brightest


def _drawn(folder: Path, proposal: Proposal, at: int) -> NDArray[np.uint8]:
    return _slices_of(str(folder), proposal, at)


def _picture(grey: NDArray[np.uint8], looked: _Looked, key: str) -> None:
    """The picture with its boxes black; a box that is drawn on it joins them."""
    name = f"{CHART}-{key}-{looked.version}"
    st.plotly_chart(
        box_figure(_blackened(grey, looked.boxes.get(key, ()))),
        key=name,
        on_select=lambda: _take(looked, key, name, grey.shape),
        selection_mode="box",
        config={"displayModeBar": False},
        width="content",
        alt="The held-back picture, with the boxes black. Drag over it to draw one",
    )


def _take(looked: _Looked, key: str, chart: str, shape: tuple[int, ...]) -> None:
    """The box that was drawn, in whole pixels."""
    for box in st.session_state[chart]["selection"]["box"]:
        looked.set_boxes(key, (*looked.boxes.get(key, ()), whole_box(box, shape)))


def whole_box(box: dict[str, list[float]], shape: tuple[int, ...]) -> Box:
    """The pixels that a drawn box touches, within the picture."""
    (left, right), (top, bottom) = sorted(box["x"]), sorted(box["y"])
    column, row = max(0, int(np.floor(left))), max(0, int(np.floor(top)))
    return column, row, min(shape[1], int(np.ceil(right))) - column, min(shape[0], int(np.ceil(bottom))) - row


def box_figure(picture: NDArray[np.uint8]) -> go.Figure:
    """A picture, pixel by pixel, on which boxes can be drawn."""
    rows, columns = picture.shape[:2]
    across, down = np.meshgrid(np.linspace(0, columns, GRID), np.linspace(0, rows, GRID))
    figure = go.Figure()
    invisible = {"opacity": 0, "size": 1}
    figure.add_scatter(x=across.ravel(), y=down.ravel(), mode="markers", marker=invisible, hoverinfo="skip")
    place = {"x": 0, "y": 0, "sizex": columns, "sizey": rows, "xref": "x", "yref": "y"}
    figure.add_layout_image(source=Image.fromarray(picture), layer="below", sizing="stretch", **place)
    scale = PICTURE_PX / max(rows, columns)
    figure.update_layout(
        dragmode="select",
        width=round(columns * scale),
        height=round(rows * scale),
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        plot_bgcolor="black",
        xaxis={"range": [0, columns], "visible": False, "fixedrange": True},
        yaxis={"range": [rows, 0], "visible": False, "fixedrange": True},
        newselection={"line": {"color": "#FFD60A", "width": 2}},
    )
    return figure


def _blackened(grey: NDArray[np.uint8], boxes: Sequence[Box]) -> NDArray[np.uint8]:
    picture = np.repeat(grey[:, :, None], 3, axis=2)
    for column, row, width, height in boxes:
        box = picture[row : row + height, column : column + width]
        box[:] = 0
        for side in (box[:1], box[-1:], box[:, :1], box[:, -1:]):
            side[:] = EDGE
    return picture
