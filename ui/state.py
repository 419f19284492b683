"""Every session key in one place, and the workspace that this session works in."""

from __future__ import annotations

from contextlib import suppress

import streamlit as st

from core import guests
from core.errors import UserError
from core.jobs.retire import retire_now_and_then
from core.workspace import Workspace, safe_name
from ui.sign_in import is_open, is_signed_in, own_workspace


class State:
    """Names in `st.session_state`. Pickers use the ones in the first block also as names in the URL."""

    COHORT = "cohort"
    DATASET = "dataset"
    RUN = "run"
    CASE = "case"
    GIVEN = "given"
    TARGET = "target"
    PLANE = "plane"
    SLICE = "slice"
    POSITION = "at"
    MODE = "mode"
    WINDOW = "window"
    PAIR = "pair"
    METRIC = "metric"
    PLACE = "place"  # Evaluate: the region or protocol whose numbers are shown
    JUDGED_ON = "judged_on"
    MAP = "map"
    LEVEL = "level"
    COLOUR = "colour"
    AXES = "axes"
    LINES = "lines"
    BESIDE = "beside"
    TASK = "task"
    ENTRY = "entry"  # Evaluate: the line of the table that is looked into
    RUN_VIEW = "run_view"
    BARS = "bars"  # Compare: whose error bars are shown
    AUDIT = "audit"  # Evaluate: which further check of a run is shown
    GENERATED = "_generated"  # Evaluate: prefix of what is chosen for a generated cohort
    SEARCH = "search"
    ARENA = "arena"
    RIVAL = "rival"  # Train, Arena: whose differences from the others are shown
    FOUND_CASES = "cases"

    WORKSPACE = "ws"
    SEEN = "_seen_in_url"  # name -> the value this session last wrote to, or took from, the URL
    SIMPLE_VIEW = "simple_view"
    RADIOLOGICAL = "radiological"
    VIEWER = "viewer"
    START_VIEW = "_start_view"  # where the slice viewer opened in this session

    EXPLAINED = "_explained"  # Compare: what was asked of a synthesis -> the answer, the newest last
    SELECTION = "selection"  # Latent: the (case, modality, slice) that a lasso caught
    CASES_PICKED = "cases_picked"  # Evaluate: the case table's selected row
    UPLOADS = "uploads"  # Data: counts up so that the uploader forgets its files
    ARCHIVES = "archives"  # Home: the same for the uploader of exports
    PROPOSALS = "proposals"  # Data: the series table before import
    SHEET = "_sheet"  # Data: what a person made of that table
    READINGS = "_readings"  # Data: how arrays and films are to be read
    GLIMPSED = "glimpsed"  # Data: the image of that table that is drawn
    LOOKED = "_looked"  # Data: what was decided of each held-back picture of an upload
    LABELS = "_labels"  # Data: job id -> labels of the files of an import that this session made
    JOB = "job"  # the id of the job that the page just started
    ACTIVE = "_active"  # ids of the jobs that the banner last showed
    DATA_VIEW = "data_view"  # Data, Prepare, Train: which half of the page is shown
    PREPARE_VIEW = "prepare_view"
    DATASET_VIEW = "dataset_view"  # Prepare: gallery, one case, or quality
    GALLERY_PAGE = "_gallery_page"  # Prepare: which page of the gallery is shown, from 0
    OVERLAY = "overlay"  # Prepare: images alone, in a checkerboard with the reference, or blended
    TRAIN_VIEW = "train_view"
    PRESET = "_preset"  # Train: the settings that a search found best, as the form starts with them
    NEXT_VIEW = "_next_view"  # view key -> the half to show from the next run of the page on
    ASKED = "_asked"  # the question that a dialog asks just now
    RECIPE = "_recipe"  # Prepare: the recipe that was loaded from a file
    HISTORY = "_history"  # Train: how far the chosen run's history is read, and what was read


def workspace() -> Workspace:
    """The workspace of this session: that of who has signed in; else the one that `?ws=` names; else the machine's
    own, or a new one where visitors are kept apart. Nothing goes on where a sign-in is required and lacking."""
    if not is_open():
        st.stop()
    if is_signed_in():
        return own_workspace()
    name = st.session_state.get(State.WORKSPACE, "")
    if not name and guests.are_apart():
        name = st.session_state[State.WORKSPACE] = guests.new_token()
    return guests.guest(name) if name else Workspace.default()


def restore_workspace() -> None:
    """Take `?ws=` into the session, and put it back into the URL: navigation drops query parameters. Who has signed
    in stays in the workspace of their own: a link could lead them to bring their images to somebody else."""
    if is_signed_in():
        _turn_link_away()
        guests.close_to_links(workspace())
    else:
        _follow_link()
    guests.visit(workspace())
    retire_now_and_then(Workspace.default())


def _follow_link() -> None:
    wanted = st.query_params.get(State.WORKSPACE, "")
    if wanted and not _may_name(wanted):
        del st.query_params[State.WORKSPACE]
        wanted = ""
    if wanted and wanted != st.session_state.get(State.WORKSPACE):
        st.session_state[State.WORKSPACE] = wanted
    workspace()
    if not wanted and st.session_state.get(State.WORKSPACE):
        st.query_params[State.WORKSPACE] = st.session_state[State.WORKSPACE]


def _turn_link_away() -> None:
    if State.WORKSPACE in st.query_params:
        del st.query_params[State.WORKSPACE]
        way = "" if guests.must_sign_in() else " Sign out to open the other."
        said = f"The link names another workspace. You are signed in, so this is your own.{way}"
        st.toast(said, icon=":material/info:", duration="long")


def _may_name(text: str) -> bool:
    """Where visitors are kept apart, only what nobody can guess names a workspace."""
    if guests.are_apart():
        return guests.opens_by_link(text)
    with suppress(UserError):
        return bool(safe_name(text))
    return False
