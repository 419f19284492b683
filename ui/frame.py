"""What surrounds every page: title line, standing notice."""

from __future__ import annotations

import streamlit as st
from streamlit.runtime.pages_manager import PagesManager

NOTICE = "For research. Not for clinical use."


def page_header(title: str, purpose: str = "") -> None:
    """The page's name and, in one short sentence, what one does here. Call it first."""
    _insist_on_app()
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        st.title(title, anchor=False, width="content")
        if purpose:
            st.caption(purpose, width="content")


def notice() -> None:
    """The line that stands at the foot of every page."""
    with st.container(key="cs-notice"):
        st.caption(NOTICE)


def _insist_on_app() -> None:
    """A fresh server that is first asked for a page runs it without app.py, because the folder is named pages.

    A link to Compare may be that first request: run again, through app.py.
    """
    if PagesManager.uses_pages_directory:
        PagesManager.uses_pages_directory = False
        st.rerun()
