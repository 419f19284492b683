"""The Latent page's controls and its map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from core.runs import ENDED, Run, list_jobs
from ui.jobs_banner import start_job
from ui.latent_beside import selected_keys
from ui.latent_map import CONFIG, MapLook, map_figure
from ui.latent_points import DRAWN, MAX_LINES, Pairs, Points, keys_of_event, lines_to_draw
from ui.pickers import choose
from ui.state import State, workspace

if TYPE_CHECKING:
    from core.latent import Projection

METHODS = {"umap": "UMAP", "pca": "PCA"}
LEVELS = {"slice": "Slices", "case": "Cases"}
LINES = {"none": "None", "torn": "Torn", "all": "All"}
AXES = {"2": "2-D", "3": "3-D"}
CHART = "latent-map"


def offer_map(run: Run, method: str, n_axes: int, level: str, has_codes: bool) -> None:
    """A button that starts the job which computes this map; nothing else does."""
    with st.container(border=True, horizontal_alignment="center", gap="small", height=300, vertical_alignment="center"):
        if is_at_work(run):
            st.markdown("#### :material/hourglass_top: The map is being computed", width="content")
            st.markdown("It appears here when it is done. You may leave this page.", width="content")
            return
        what = "This map is not computed yet" if has_codes else "The codes of this run are not computed yet"
        st.markdown(f"#### :material/scatter_plot: {what}", width="content")
        said = "Every slice in every modality becomes a point; points that the model finds alike lie close."
        st.markdown(said if not has_codes else "The codes are there; drawing this map takes a moment.", width="content")
        tip = "Runs in the background. The first UMAP on a machine takes about half a minute longer."
        if st.button("Compute the map", type="primary", icon=":material/play_arrow:", help=tip, key="compute-map"):
            quick = [["pca", n, which] for n in (2, 3) for which in LEVELS]
            wanted = [method, n_axes, level]
            start_job("embed", {"run": run.id, "device": "auto", "maps": [wanted, *(q for q in quick if q != wanted)]})
            st.rerun()


def is_at_work(run: Run) -> bool:
    """Whether this run's codes or maps are being computed."""
    return any(
        job.kind == "embed" and job.state not in ENDED and job.params["run"] == run.id for job in list_jobs(workspace())
    )


def choose_colour(points: Points) -> str:
    """What the points are coloured by."""
    names = points.colour_names()
    tip = "Slice position is worth a look first: what follows it is place in the body, not biology."
    return choose("Colour by", names, State.COLOUR, tip=tip) or names[0]


def show_map(points: Points, drawn: Projection, colour: str, pairs: Pairs, which_lines: str) -> None:
    """The chart; a lasso, a box or a click goes to our own session key."""
    found = st.session_state.get(State.FOUND_CASES, [])
    focus = [row for row, key in enumerate(points.keys) if key[0] in found]
    lines: list[int] = [] if which_lines == "none" else lines_to_draw(points, pairs, which_lines, focus)
    ink = "#E8EAF0" if st.context.theme.type == "dark" else "#1B1D26"
    look = MapLook(colour, points.rows(selected_keys()), focus, lines, ink)
    st.plotly_chart(
        map_figure(points, drawn.xy, look, pairs),
        key=CHART,
        on_select=take_selection,
        selection_mode=("points", "box", "lasso"),
        config=CONFIG,
        alt=f"Map of {points.n} codes coloured by {colour.lower()}",
    )
    notes = []
    if points.n > DRAWN:
        notes.append(f"{DRAWN:,} of {points.n:,} points are drawn, chosen at random.")
    if len(lines) == MAX_LINES:
        notes.append(f"Only the {MAX_LINES:,} most torn pairs have a line: find a case to see all of its lines.")
    if drawn.xy.shape[1] == 3:
        notes.append("Drag to turn. To select by lasso, go to 2-D; to follow a case, find it by name.")
    st.caption(" ".join([*notes, "Distances on a map mislead; true ones stand under Neighbours."]))


def take_selection() -> None:
    """Copy what was caught. An empty event is the chart forgetting, not the person: only Clear empties ours."""
    keys = keys_of_event(st.session_state.get(CHART, {}))
    if keys:
        st.session_state[State.SELECTION] = keys
