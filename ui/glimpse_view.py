"""One image before its import: three planes with their letters, how often each intensity occurs, what is doubtful."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import streamlit as st

from core.ingest import Proposal
from core.render import webp
from core.survey import Glimpse, load_glimpse
from core.types import Volume
from ui.case_view import planes_in_a_row, radiological
from ui.histogram import histogram_chart, histogram_of
from ui.windows import default_window, window_words
from ui.words import NOTED, code_words, size_words, spacing_words

PLANES_HEIGHT_PX = 230
LOOK_TIP = "Click the eye in the table to look at another image"


@st.cache_resource(max_entries=6, ttl=600, show_spinner=False)
def glimpse_of(folder: str, proposal: Proposal) -> Glimpse | None:
    """A small image that the survey left; None where it drew none."""
    return load_glimpse(Path(folder), proposal)


def planes(volume: Volume, height_px: int = PLANES_HEIGHT_PX) -> None:
    """The picture: axial, coronal and sagittal through the middle."""
    middle = volume.affine @ [*((n - 1) / 2 for n in volume.data.shape), 1.0]
    window = default_window(volume)
    picture = planes_in_a_row(volume, window, np.asarray(middle[:3]), radiological(), height_px)
    st.image(webp(picture), alt=f"{volume.modality}: axial, coronal and sagittal slice")
    if not volume.is_label:
        st.caption(window_words(window, volume.unit))


def glimpse_view(proposal: Proposal, patient: str, glimpse: Glimpse | None) -> None:
    """All there is to see of one row of the table."""
    said = [size_words(proposal.shape), spacing_words(proposal.spacing_mm), proposal.unit]
    facts = " · ".join(filter(None, said))
    st.markdown(f"**{patient} · {proposal.modality}** :small[:gray[{facts}]]", help=LOOK_TIP)
    if glimpse is None:
        st.caption("This image was not drawn: the upload holds very many. It can be imported all the same.")
        return
    left, right = st.columns([3, 2], gap="medium")
    with left:
        planes(glimpse.volume)
    with right:
        if not glimpse.volume.is_label:
            counted = {proposal.modality: histogram_of(glimpse.volume.data)}
            histogram_chart(counted, glimpse.volume.unit, "glimpse-histogram", height=PLANES_HEIGHT_PX)
    notes(proposal.codes)


def notes(codes: Sequence[str]) -> None:
    """What is doubtful, in words and by code."""
    for code in codes:
        st.caption(f"{NOTED} {code_words(code)} :small[{code}]")
