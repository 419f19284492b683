"""Asking before something is gone: a button, a dialog with one sentence, then the deed."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from ui.errors import guard
from ui.state import State


def confirm_button(label: str, question: str, action: Callable[[], None], key: str, tip: str | None = None) -> None:
    """A button that opens a dialog; `action` runs when the person says yes, then the page runs again.

    The open dialog is a session key rather than the button's own state: so it survives a rerun of the page beneath it.
    """
    if st.button(label, key=key, icon=":material/delete:", help=tip):
        st.session_state[State.ASKED] = key
    if st.session_state.get(State.ASKED) == key:
        st.dialog(f"{label}?", on_dismiss=_forget)(_ask)(label, question, action, key)


def _ask(label: str, question: str, action: Callable[[], None], key: str) -> None:
    st.text(question)
    with st.container(horizontal=True, horizontal_alignment="right"):
        keep = st.button("Keep", key=f"{key}-no")
        gone = st.button(label, key=f"{key}-yes", type="primary")
    if gone:
        with guard():
            action()
            st.toast("Deleted.")
    if keep or gone:
        _forget()
        st.rerun()


def _forget() -> None:
    st.session_state.pop(State.ASKED, None)
