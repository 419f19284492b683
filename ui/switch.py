"""A few choices side by side, whose choice is part of the link."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from ui.permalink import adopt, publish


def switch(label: str, options: Mapping[str, str], key: str, tip: str = "", is_label_shown: bool = True) -> str:
    """A segmented control of value -> words; the first value at the start. Returns the value."""
    values = list(options)
    adopt(key, values)
    st.session_state.setdefault(key, values[0])
    chosen = st.segmented_control(
        label,
        values,
        format_func=options.__getitem__,
        key=key,
        help=tip or None,
        required=True,
        label_visibility="visible" if is_label_shown else "collapsed",
        persist_state="session",
    )
    publish(key, chosen or values[0])
    return chosen or values[0]
