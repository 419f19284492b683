"""Choosing a cohort, a dataset, a run, a case. What is chosen stands in the URL and follows from page to page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import streamlit as st

from core.cohort import Cohort, list_cohorts
from core.dataset import Dataset, list_datasets
from core.runs import Run, list_runs
from ui.permalink import adopt, adopt_many, publish
from ui.state import State, workspace


def choose(
    label: str, options: Sequence[str], key: str, words: Callable[[str], str] = str, tip: str | None = None
) -> str | None:
    """A select box of ids whose choice is part of the link; None where there is nothing to choose."""
    if not options:
        return None
    adopt(key, options)
    chosen = st.selectbox(label, options, format_func=words, key=key, help=tip, persist_state="session")
    publish(key, chosen)
    return chosen


def cohort_picker(label: str = "Cohort", key: str = State.COHORT) -> Cohort | None:
    """None where the workspace has no cohort."""
    cohorts = {cohort.name: cohort for cohort in list_cohorts(workspace())}
    chosen = choose(label, list(cohorts), key)
    return cohorts[chosen] if chosen else None


def dataset_picker(label: str = "Dataset", key: str = State.DATASET) -> Dataset | None:
    """None where nothing is prepared yet."""
    datasets = {dataset.name: dataset for dataset in list_datasets(workspace())}
    chosen = choose(label, list(datasets), key)
    return datasets[chosen] if chosen else None


def run_picker(
    label: str = "Run", key: str = State.RUN, suits: Callable[[Run], bool] = lambda run: run.has_weights
) -> Run | None:
    """The runs that suit (by default: that have weights), newest first; None where there is none."""
    runs = {run.id: run for run in list_runs(workspace()) if suits(run)}
    chosen = choose(label, list(runs), key, lambda run_id: runs[run_id].title)
    return runs[chosen] if chosen else None


def case_picker(
    case_ids: Sequence[str], label: str = "Case", key: str = State.CASE, marks: Mapping[str, str] | None = None
) -> str | None:
    """A select box with buttons (and the keys N and P) for the next and previous case.

    Args:
        marks: case id -> a word behind it, such as "held out" or "training".
    """
    if not case_ids:
        return None
    said = marks or {}
    adopt(key, case_ids)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="xxsmall"):
        chosen = st.selectbox(
            label,
            case_ids,
            format_func=lambda c: f"{c} ({said[c]})" if said.get(c) else c,
            key=key,
            persist_state="session",
        )
        step_buttons(key, tuple(case_ids), "case")
    publish(key, chosen)
    return chosen


def modality_boxes(label: str, modalities: Sequence[str], key: str) -> tuple[str, ...]:
    """One checkbox per modality; the first is ticked at the start. Returns those that are ticked."""
    is_new = adopt_many(key, modalities)
    for n, modality in enumerate(modalities):
        box = f"{key}-{modality}"
        if is_new or box not in st.session_state:
            st.session_state[box] = modality in st.session_state[key] if is_new else n == 0
    st.markdown(f":small[{label}]")
    with st.container(horizontal=True, gap="small"):
        ticked = tuple(m for m in modalities if st.checkbox(m, key=f"{key}-{m}", persist_state="session"))
    publish(key, ",".join(ticked))
    return ticked


def step_buttons(key: str, options: tuple[str, ...], what: str, told: Callable[[str], None] | None = None) -> None:
    """Buttons (and the keys P and N) that move a select box to the previous and the next of its options.

    Args:
        told: called with the new option.
    """
    for word, by, icon, shortcut in (("previous", -1, "chevron_left", "P"), ("next", 1, "chevron_right", "N")):
        name = f"{word.capitalize()} {what}"  # not drawn beside the icon, but read aloud
        st.button(
            name,
            help=name,
            icon=f":material/{icon}:",
            key=f"{key}-{word}",
            shortcut=shortcut,
            on_click=_step,
            args=(key, options, by, told),
        )


def _step(key: str, options: tuple[str, ...], by: int, told: Callable[[str], None] | None) -> None:
    now = options.index(st.session_state[key]) if st.session_state.get(key) in options else 0
    st.session_state[key] = options[(now + by) % len(options)]
    if told is not None:
        told(st.session_state[key])
