"""Empty states: what would be here, and what to do next."""

from __future__ import annotations

import streamlit as st


def empty_state(what: str, next_step: str, icon: str = ":material/inbox:", button: str = "", key: str = "") -> bool:
    """Draw it; True when its button was pressed just now."""
    with st.container(border=True, horizontal_alignment="center", gap="small"):
        st.markdown(f"#### {icon} {what}", width="content")
        st.markdown(next_step, width="content")
        return bool(button) and st.button(button, type="primary", key=key or f"empty-{what}")
