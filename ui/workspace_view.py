"""What a visitor should know of their workspace: whose it is, how to come back, how long it is kept, how full it is."""

from __future__ import annotations

import time

import streamlit as st

from core import guests
from ui.confirm import confirm_button
from ui.jobs_banner import active_jobs
from ui.sign_in import is_set_up, is_signed_in, obstacle
from ui.sign_in_view import sign_in_buttons, sign_out_button
from ui.state import State, workspace
from ui.words import size_of_words

BY_LINK = "Its link is in the address bar: keep it to come back."
BY_NAME = "Sign in again, in any browser, to come back."
OFFER = "Sign in for one that opens in any browser, without a link. What is here is not moved: it stays at this link."
NAME_TIP = "Only who signs in as you opens it. Its name is a keyed hash: neither your name nor your address is kept."
LINK_TIP = "Whoever has the link can open the workspace. Nobody can guess it, and nobody can find it again for you."


def workspace_notice() -> None:
    """Nothing at all in the machine's own workspace."""
    place = workspace()
    if not place.owner:
        return
    signed_in = is_signed_in()
    is_offered = is_set_up() and not signed_in
    reason = obstacle() if is_offered else ""
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown("**Your own workspace**", width="content", help=NAME_TIP if signed_in else LINK_TIP)
            st.caption(f"{size_of_words(guests.own_bytes(place))} of {size_of_words(guests.quota_bytes())} used")
            if signed_in:
                sign_out_button()
            elif is_offered and not reason:
                sign_in_buttons()
            if place.root.is_dir():
                _remove_button()
        way_back = BY_NAME if signed_in else BY_LINK
        st.markdown(f"Other visitors see nothing of it. {way_back} {_kept()}")
        if is_offered:
            st.markdown(reason or OFFER)


def _kept() -> str:
    if not guests.keep_days():
        return "It is kept until you remove it."
    end = time.localtime(time.time() + guests.keep_days() * guests.DAY_S)
    days = f"{guests.keep_days():.0f}"
    return (
        f"It is removed, with all that is in it, after {days} days without a visit: on {end.tm_mday} "
        f"{time.strftime('%B %Y', end)} if you do not come back before."
    )


def _remove_button() -> None:
    busy = bool(active_jobs(workspace()))
    if busy:
        st.button(
            "Remove workspace",
            icon=":material/delete:",
            disabled=True,
            help="Work is under way in it. Wait, or cancel it, before you remove the workspace.",
        )
        return
    confirm_button(
        "Remove workspace",
        "All images, datasets, runs and results in it are deleted for good.",
        _remove,
        key="remove-workspace",
        tip="Delete all that you brought or made here",
    )


def _remove() -> None:
    guests.remove(workspace())
    for key in [key for key in st.session_state if key != State.WORKSPACE]:
        del st.session_state[key]
