"""Train: choose data, model and settings; start a run; watch it."""

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from core.dataset import Dataset, list_datasets
from core.runs import Job, list_runs
from ui.arena_view import arena_picker, arena_view, new_arena
from ui.empty import empty_state
from ui.errors import guard
from ui.frame import page_header
from ui.permalink import retract
from ui.pickers import dataset_picker, run_picker
from ui.run_form import (
    device_words,
    model_choice,
    preset,
    preset_notice,
    run_settings,
    split_choice,
    split_table,
    start_run,
)
from ui.run_view import is_training, run_table, run_view
from ui.search_form import new_search, search_model
from ui.search_view import search_picker, search_view
from ui.state import State, workspace
from ui.style import simulated_badge
from ui.views import turn_to, view_switch

VIEWS = {"new": "New run", "runs": "Runs", "search": "Search", "arena": "Arena"}


def new_run() -> None:
    """Model on the left, its settings in the middle, split and start on the right."""
    left, middle, right = st.columns([3, 4, 3], gap="medium")
    with left:
        dataset = dataset_picker()
        if dataset is None:
            return
        if dataset.is_simulated:
            simulated_badge()
        model = model_choice()
    with middle, guard():
        preset_notice()
        settings = run_settings(dataset, model, preset())
    with right:
        choice, split = split_choice(dataset)
        devices, words = device_words()
        device = "auto"
        if len(devices) > 1:
            device = st.segmented_control("Device", devices, default="auto", required=True, help=words) or "auto"
        pressed = st.button(
            "Start training",
            type="primary",
            icon=":material/play_arrow:",
            width="stretch",
            disabled=split is None,
            help="The cases cannot be divided; see above." if split is None else None,
        )
        st.caption(f"{words} Runs on when you close this tab.")
        if is_training():
            st.caption(":material/info: Another training is running; this one waits for its turn.")
        if split is not None:
            split_table(split)
        if pressed:
            with guard():
                run = start_run(dataset, model, settings, choice, device)
                st.session_state[State.RUN] = run.id
                turn_to(State.TRAIN_VIEW, "runs")
                st.rerun()


def watch() -> None:
    """All runs on the left, the chosen one on the right."""
    left, right = st.columns([2, 5], gap="medium")
    with left:
        run = run_picker(suits=lambda run: True)
        run_table(list_runs(workspace()))
    if run is not None:
        with right:
            run_view(run)


@dataclass(frozen=True)
class LongJob:
    """A kind of long job: its form, its list, its view.

    Attributes:
        key: of the session's choice, also in the link.
        widths: of the form and of what is looked at.
        hint: an empty page's words.
    """

    key: str
    widths: tuple[int, int]
    form: Callable[[Dataset], Job | None]
    picker: Callable[[], Job | None]
    view: Callable[[Job], None]
    hint: str


LONG_JOBS = {
    "search": LongJob(
        State.SEARCH,
        (2, 3),
        lambda dataset: new_search(dataset, search_model()),
        search_picker,
        search_view,
        "Choose what varies on the left. Every combination is trained on every fold, and the best one shown.",
    ),
    "arena": LongJob(
        State.ARENA,
        (1, 3),
        new_arena,
        arena_picker,
        arena_view,
        "Choose models on the left. They, a U-Net, pix2pix and two simple baselines learn from the same cases, and "
        "every case is judged by models that never saw it.",
    ),
}


def long_job(name: str) -> None:
    """A new one on the left, the chosen one on the right."""
    kind = LONG_JOBS[name]
    left, right = st.columns(kind.widths, gap="medium")
    with left, guard():
        dataset = dataset_picker()
        if dataset is None:
            return
        if dataset.is_simulated:
            simulated_badge()
        started = kind.form(dataset)
        if started is not None:
            st.session_state[kind.key] = started.id
            st.rerun()
    with right, guard():
        job = kind.picker()
        if job is not None:
            kind.view(job)
        else:
            empty_state(f"No {name} yet", kind.hint)


page_header("Train", "Train a model on a dataset, and watch it learn.")
with guard():
    has_runs = bool(list_runs(workspace()))
    keys = {**{name: kind.key for name, kind in LONG_JOBS.items()}, "runs": State.RUN}
    linked = next((name for name, key in keys.items() if key in st.query_params), "")
    if linked and State.TRAIN_VIEW not in st.session_state:
        turn_to(State.TRAIN_VIEW, linked)
    view = view_switch(State.TRAIN_VIEW, VIEWS, "runs" if is_training() else "new")
    for key in {*keys.values()} - {keys.get(view, State.RUN)}:
        retract(key)  # a link opens what is looked at
    if view in LONG_JOBS and list_datasets(workspace()):
        long_job(view)
    elif view == "runs" and has_runs:
        watch()
    elif view == "runs":
        empty_state("No run yet", "Choose a dataset and a model under New run, and start a training.")
    elif list_datasets(workspace()):
        new_run()
    else:
        empty_state("Nothing to train on yet", "Prepare a cohort on the Prepare page first, or open the demo on Data.")
