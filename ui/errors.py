"""What a page shows when something fails: a `UserError`'s sentence, or one plain line for a bug."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from core.discreet import told
from core.errors import UserError

_log = logging.getLogger("crossmodal.ui")


def show_error(error: UserError) -> None:
    """The sentence, with its code small beside it."""
    st.error(f"{error}  \n:small[:gray[Code {error.code}]]", icon=":material/error:")


@contextmanager
def guard() -> Iterator[None]:
    """`with guard():` around a part of a page; the rest of the page goes on."""
    try:
        yield
    except UserError as error:
        show_error(error)
    except Exception as error:  # noqa: BLE001 - the one place where a bug becomes a plain line
        _log.error("A page failed\n%s", told(error))
        st.error("Something went wrong on our side. The details are in the server's log.", icon=":material/error:")
