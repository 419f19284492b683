"""The gallery of a dataset: a row a case with small pictures, what is to be looked at, and the act beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from core.dataset import Dataset
from core.quality.flags import ALIGNMENT, TWIN, Flag, count
from core.quality.thumbnails import GAP_PX, cell_px, strip_path
from core.render import Plane
from ui.case_slices import look_at, overlay_of, plane_control
from ui.case_view import radiological_toggle
from ui.exclusion import exclusion, runs_made_with
from ui.state import State
from ui.words import flag_words

ROWS = 8
FILTERS = {"all": "All", "flagged": "Flagged", "out": "Left out"}
NAME_PX, FLAGS_PX, ACT_PX = 130, 400, 150  # columns beside the pictures
PAGE_PX = 1340


def gallery(dataset: Dataset, flags: Mapping[str, Sequence[Flag]]) -> None:
    """The cases with most flags first; a page of them at a time."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        shown = _filtered(dataset, flags)
        plane = plane_control("gallery-plane")
        radiological = radiological_toggle()
        page = _pager(len(shown))
    if not shown:
        st.info("No case here. Choose All to see every case.", icon=":material/info:")
        return
    n_runs = runs_made_with(dataset)
    for case_id in shown[page * ROWS : (page + 1) * ROWS]:
        with st.container(border=True, key=f"cs-row-{case_id}"):
            _row(dataset, case_id, flags[case_id], (plane, radiological), n_runs)


def _filtered(dataset: Dataset, flags: Mapping[str, Sequence[Flag]]) -> list[str]:
    """Case ids, most flags first."""
    order = sorted(flags, key=lambda case_id: (-count(flags[case_id]), case_id))
    out = dataset.excluded
    groups = {
        "all": order,
        "flagged": [case_id for case_id in order if case_id not in out and count(flags[case_id])],
        "out": [case_id for case_id in order if case_id in out],
    }
    chosen = st.segmented_control(
        "Cases", list(FILTERS), default="all", required=True, key="gallery-filter", on_change=_to_first_page,
        format_func=lambda name: f"{FILTERS[name]} {len(groups[name])}",
        help="Flagged: something about the case should be looked at. Left out: runs do not see the case.",
    )  # fmt: skip
    return groups[str(chosen or "all")]


def _pager(n: int) -> int:
    """Which page is shown, from 0; buttons (and the keys N and P) for the others."""
    last = max(0, (n - 1) // ROWS)
    page = min(int(st.session_state.get(State.GALLERY_PAGE, 0)), last)
    st.session_state[State.GALLERY_PAGE] = page
    ways = (("P", "chevron_left", "Earlier cases", -1), ("N", "chevron_right", "Further cases", 1))
    for key, icon, tip, by in ways if last else ():
        st.button(
            tip, icon=f":material/{icon}:", key=f"gallery-{key}", help=tip, shortcut=key, on_click=_turn, args=(by,),
            disabled=not 0 <= page + by <= last,
        )  # fmt: skip
    first = page * ROWS + 1 if n else 0
    st.caption(f"{first} to {min(n, (page + 1) * ROWS)} of {n}", width="content")
    return page


def _turn(by: int) -> None:
    st.session_state[State.GALLERY_PAGE] = int(st.session_state.get(State.GALLERY_PAGE, 0)) + by


def _to_first_page() -> None:
    st.session_state[State.GALLERY_PAGE] = 0


def _row(dataset: Dataset, case_id: str, flags: Sequence[Flag], view: tuple[Plane, bool], n_runs: int) -> None:
    width, _ = cell_px(dataset, view[0])
    strip = (width + GAP_PX) * len(dataset.modalities) + 16
    widths = (NAME_PX, strip, max(FLAGS_PX, PAGE_PX - NAME_PX - strip - ACT_PX), ACT_PX)
    name, pictures, words, act = st.columns(widths, vertical_alignment="center", gap="small")
    with name:
        st.markdown(f"**{case_id}**")
    with pictures:
        _strip(dataset, case_id, *view)
    with words, st.container(gap="xxsmall"):
        for n, flag in enumerate(flags):
            _flag(case_id, flag, n)
        if not flags:
            st.caption(":material/check: Nothing to look at")
    with act:
        exclusion(dataset, case_id, n_runs)


def _strip(dataset: Dataset, case_id: str, plane: Plane, radiological: bool) -> None:
    """The small pictures, under an unseen button of their size: a click or Enter opens the case."""
    path = strip_path(dataset, case_id, plane, radiological)
    with st.container(key=f"cs-thumb-{case_id}"):
        if path.exists():
            st.image(path.read_bytes(), alt=f"{case_id}, {plane}: {', '.join(dataset.modalities)}")
        else:
            st.caption("No small pictures yet; check the quality again.")
        tip = "Look at this case in the larger view"
        st.button(f"Open {case_id}", key=f"open-{case_id}", help=tip, on_click=look_at, args=(case_id,))


def _flag(case_id: str, flag: Flag, n: int) -> None:
    """One line; a button where there is something to open."""
    if flag.code in ALIGNMENT:
        st.button(
            flag_words(flag), key=f"flag-{case_id}-{n}", type="tertiary", icon=":material/flag:", wrap=True,
            help="Lay the images over the reference in a checkerboard", on_click=look_at,
            args=(case_id, overlay_of(flag)),
        )  # fmt: skip
    elif flag.code == TWIN:
        st.button(
            flag_words(flag), key=f"flag-{case_id}-{n}", type="tertiary", icon=":material/flag:", wrap=True,
            help="See the two cases side by side", on_click=_to_twins,
        )  # fmt: skip
    else:
        said = f":material/{'flag' if flag.counts else 'info'}: {flag_words(flag)}"
        st.markdown(f":small[{said}]") if flag.counts else st.caption(said)


def _to_twins() -> None:
    st.session_state[State.DATASET_VIEW] = "quality"
