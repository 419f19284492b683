"""Latent: the shared representation of every slice or case as a map, and what lies close, apart, or torn in it."""

import streamlit as st

from core.runs import list_runs
from ui.empty import empty_state
from ui.errors import guard
from ui.frame import page_header
from ui.latent_beside import beside_the_map
from ui.latent_points import Points, known_map, pairs_of_points, read_codes, read_points
from ui.latent_view import (
    AXES,
    LEVELS,
    LINES,
    METHODS,
    choose_colour,
    offer_map,
    show_map,
)
from ui.outcome import failure_notice
from ui.permalink import adopt_many, publish, retract
from ui.pickers import run_picker
from ui.state import State, workspace
from ui.style import simulated_badge
from ui.switch import switch


@st.cache_data(max_entries=1, show_spinner="Opening")
def models_with_codes() -> set[str]:
    """Names of the models that have a latent space."""
    from core.models import MODELS

    return {name for name, kind in MODELS.items() if kind.can_embed}


def choose_map() -> tuple[str, int, str]:
    """Method, number of axes, level."""
    tip = "UMAP keeps neighbours together. PCA is a straight shadow: plainer, and distances keep more of their meaning."
    method = switch("Map", METHODS, State.MAP, tip)
    n_axes = int(switch("Axes", AXES, State.AXES, "Lasso and box work in 2-D; 3-D can be turned."))
    level = switch("Points", LEVELS, State.LEVEL, "A point per slice, or per case: the mean over its slices.")
    return method, n_axes, level


def find_cases(points: Points) -> None:
    """Keep some cases bright; the others fade."""
    cases = sorted(set(points.codes.case.tolist()))
    adopt_many(State.FOUND_CASES, cases)
    tip = "These cases stay bright, the others fade; lines are drawn for them only."
    found = st.multiselect("Find cases", cases, key=State.FOUND_CASES, placeholder="All", help=tip, width=230)
    if found:
        publish(State.FOUND_CASES, ",".join(found))
    else:
        retract(State.FOUND_CASES)


def main() -> None:
    """The page."""
    page_header("Latent", "What the model has learnt: every slice in every modality as a point.")
    failure_notice("embed", "The map")
    if not any(run.has_weights for run in list_runs(workspace())):
        empty_state("No trained run yet", "Train a model on the Train page, or open the demo on Home.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        run = run_picker(suits=lambda run: run.has_weights and run.config.model in models_with_codes())
        if run is None:
            st.info("The trained runs here are baselines, which have no representation to look at. Train a model.")
            return
        method, n_axes, level = choose_map()
        codes = read_codes(run)
        drawn = known_map(run, codes, method, n_axes, level) if codes is not None else None
        if codes is not None and drawn is not None:
            points = read_points(workspace(), run, codes, level)
            colour = choose_colour(points)
            tip = "Lines between the modalities of one case and slice: all, or those torn apart."
            lines = switch("Pair lines", LINES, State.LINES, tip)
            find_cases(points)
            if points.dataset is not None and points.dataset.is_simulated:
                simulated_badge()
    if codes is None or drawn is None:
        offer_map(run, method, n_axes, level, codes is not None)
        return
    pairs = pairs_of_points(points)
    left, right = st.columns([64, 36], gap="medium")
    with left:
        show_map(points, drawn, colour, pairs, lines)
    with right:
        beside_the_map(points, drawn, pairs)


with guard():
    main()
