"""The halves of a page, such as "make" and "look": a switch at its top that code can turn too."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from ui.state import State


def view_switch(key: str, views: Mapping[str, str], default: str) -> str:
    """A segmented control of view -> words; returns the view."""
    wanted = st.session_state.get(State.NEXT_VIEW, {}).pop(key, None)
    if wanted is not None:
        st.session_state[key] = wanted
    if st.session_state.get(key) not in views:
        st.session_state[key] = default
    chosen = st.segmented_control(
        "View", list(views), format_func=lambda view: views[view], key=key, label_visibility="collapsed", required=True
    )
    return str(chosen or default)


def turn_to(key: str, view: str) -> None:
    """Show this view from the next run of the page on: a widget that is drawn already cannot be set."""
    st.session_state.setdefault(State.NEXT_VIEW, {})[key] = view
