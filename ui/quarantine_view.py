"""Held-back pictures: look at each, blacken what can be read, and tick that nothing can be read any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray
from PIL import Image

from core.ingest import Proposal
from core.readers.choice import Choice
from core.readers.item import Box
from core.survey import picture_name
from ui.state import State
from ui.words import count_words

EDGE = np.array([255, 214, 10], np.uint8)
WHY = (
    "Ultrasound, screenshots and computed pictures often carry a patient's name in the picture itself. They are "
    "imported only when somebody has looked at every one."
)
BOXES_TIP = "Each row is a box that is blackened before anything is stored, in pixels from the top left corner."
SAID = "I have looked: no name, number or date can be read"
COLUMNS = ("column", "row", "width", "height")


@dataclass
class _Looked:
    """What was decided of the pictures of one upload; widgets forget when another picture is shown."""

    folder: str
    shown: str = ""
    start: tuple[Box, ...] = ()
    boxes: dict[str, tuple[Box, ...]] = field(default_factory=dict)
    ticked: set[str] = field(default_factory=set)

    def show(self, key: str) -> None:
        if key != self.shown:
            self.shown, self.start = key, self.boxes.get(key, ())

    def toggle(self, key: str) -> None:
        self.ticked ^= {key}


def quarantine_view(held_back: Sequence[Proposal], folder: Path) -> dict[str, Choice]:
    """Key -> Choice for every picture that was ticked; the others stay out."""
    looked = st.session_state.get(State.LOOKED)
    if looked is None or looked.folder != folder.name:
        looked = st.session_state[State.LOOKED] = _Looked(folder.name)
    st.markdown(f"**{count_words(len(held_back), 'picture')} held back.**", help=WHY)
    names = {proposal.key: proposal for proposal in held_back}
    left, right = st.columns([2, 3], gap="medium")
    with left:
        st.caption("Look at each one. Blacken names, numbers and dates, then tick it; what is not ticked stays out.")
        key = st.selectbox(
            "Picture", list(names), format_func=lambda name: names[name].label, key="held-back", help=WHY
        )
        at = _slice(names[key])
        looked.show(key)
        looked.boxes[key] = _boxes(looked.start, key)
        st.checkbox(
            SAID, key in looked.ticked, key=f"looked-{key}", on_change=looked.toggle, args=(key,),
            help="The picture joins the import when this is ticked",
        )  # fmt: skip
        st.caption(f"{len(looked.ticked)} of {len(names)} let in")
    with right:
        picture = _blackened(folder / picture_name(key, at), looked.boxes[key])
        st.image(picture, alt="The held-back picture, with the boxes black", width=620)
    return {
        p.key: Choice(p.case, p.modality, reviewed=True, blank=looked.boxes.get(p.key, ()))
        for p in held_back
        if p.key in looked.ticked
    }


def _slice(proposal: Proposal) -> int:
    if proposal.slices < 2:
        return 0
    tip = "Look at all of them: a name may stand on one only."
    return st.slider("Slice", 0, proposal.slices - 1, 0, key=f"held-slice-{proposal.key}", help=tip)


def _boxes(start: tuple[Box, ...], key: str) -> tuple[Box, ...]:
    """The boxes of one picture, as a small table."""
    st.markdown("**Boxes to blacken**", help=BOXES_TIP)
    frame = pd.DataFrame(list(start), columns=list(COLUMNS), dtype="Int64")
    config = {name: st.column_config.NumberColumn(name.capitalize(), min_value=0, step=1) for name in COLUMNS}
    edited = st.data_editor(
        frame, column_config=config, num_rows="dynamic", hide_index=True, width="stretch", key=f"boxes-{key}"
    )
    whole = edited.dropna().astype(int)
    return tuple((int(c), int(r), int(w), int(h)) for c, r, w, h in whole.itertuples(index=False))


def _blackened(path: Path, boxes: Sequence[Box]) -> NDArray[np.uint8]:
    grey = np.asarray(Image.open(path).convert("L"))
    picture = np.repeat(grey[:, :, None], 3, axis=2)
    for column, row, width, height in boxes:
        box = picture[row : row + height, column : column + width]
        box[:] = 0
        for side in (box[:1], box[-1:], box[:, :1], box[:, -1:]):
            side[:] = EDGE
    return picture
