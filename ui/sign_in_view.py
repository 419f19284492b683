"""The door of a server: buttons to sign in and out, and what stands in place of every page before that."""

from __future__ import annotations

from typing import Literal

import streamlit as st

from ui.errors import guard
from ui.sign_in import is_signed_in, obstacle, own_workspace, providers

TIP = "Your provider says who you are. Kept of that is one keyed hash, as the name of your workspace's folder."


def door() -> None:
    """One sentence and what one can press; for who has not signed in where it is required, or has no name."""
    if is_signed_in():
        with guard():
            own_workspace()  # says what is wrong
        sign_out_button()
        return
    st.markdown("Sign in to open your workspace.")
    sign_in_buttons("primary")


def sign_in_buttons(weight: Literal["primary", "secondary"] = "secondary") -> None:
    """A button for each provider, or why there is none."""
    reason = obstacle()
    if reason:
        st.caption(reason)
        return
    for name in providers():
        label = f"Sign in with {name.capitalize()}" if name else "Sign in"
        if st.button(label, icon=":material/login:", key=f"sign-in-{name}", type=weight, help=TIP):
            with guard():
                st.login(name or None)


def sign_out_button() -> None:
    if st.button("Sign out", icon=":material/logout:", key="sign-out", help="This browser forgets who you are"):
        st.logout()
