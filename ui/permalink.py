"""Choices that a link carries. Ours rather than `bind=`: that writes labels, not ids, and forgets them between pages.

Around a widget with `key=name`: `adopt(name, options)`, then the widget, then `publish(name, value)`.
"""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from ui.state import State


def adopt(name: str, options: Sequence[str]) -> None:
    """Before the widget: take a value that the URL newly brings; forget one that is no longer on offer."""
    url = st.query_params.get(name)
    if url is not None and url != _seen().get(name):
        _seen()[name] = url
        if url in options:
            st.session_state[name] = url
    if options and name in st.session_state and st.session_state[name] not in options:
        st.session_state[name] = options[0]  # set, not deleted: else the browser goes on showing the old one


def adopt_many(name: str, options: Sequence[str]) -> bool:
    """The same for a choice of several, written `a,b`; True when the URL newly brought one."""
    url = st.query_params.get(name)
    if url is None or url == _seen().get(name):
        return False
    _seen()[name] = url
    st.session_state[name] = [part for part in url.split(",") if part in options]
    return True


def publish(name: str, value: str) -> None:
    """After the widget: the URL says what is chosen."""
    if st.query_params.get(name) != value:
        st.query_params[name] = value
    _seen()[name] = value


def recalled(name: str, otherwise: str) -> str:
    """What the URL says or, where navigation emptied it, what it said last."""
    return str(st.query_params.get(name) or _seen().get(name) or otherwise)


def retract(name: str) -> None:
    """The URL no longer speaks of this."""
    st.query_params.pop(name, None)
    _seen().pop(name, None)


def _seen() -> dict[str, str]:
    seen: dict[str, str] = st.session_state.setdefault(State.SEEN, {})
    return seen
