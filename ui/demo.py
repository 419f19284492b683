"""The button that opens the demo."""

from __future__ import annotations

import streamlit as st

from ui.errors import guard
from ui.jobs_banner import start_job
from ui.outcome import is_running
from ui.state import State, workspace


def demo_button(key: str, primary: bool = False) -> None:
    """Generate the demo cohort (under a minute), with its dataset and its trained run."""
    busy = is_running("demo")
    pressed = st.button(
        "Open the demo",
        key=key,
        icon=":material/science:",
        type="primary" if primary else "secondary",
        disabled=busy,
        help="It is being made just now."
        if busy
        else "Makes 24 generated patients on this machine, in about a minute.",
    )
    if pressed:
        with guard():
            open_demo()
            st.rerun()


def open_demo() -> None:
    """Choose the demo where it is there; else have it at once where it lies ready for visitors; else make it."""
    from core.showcase import LEVEL, N_CASES, SEED, can_share, is_ready, share_showcase

    place = workspace()
    if is_ready(place):
        st.session_state[State.COHORT] = "demo"
    elif can_share(place):
        share_showcase(place)
    else:
        start_job("demo", {"cases": N_CASES, "seed": SEED, "level": LEVEL})
