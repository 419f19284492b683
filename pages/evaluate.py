"""Evaluate: every trained run on its held-out cases, beside the baselines; every subset of modalities, every target."""

from functools import partial

import streamlit as st

from core.metrics import METRICS
from core.runs import Run, list_runs
from core.types import PLACE
from ui.audit_view import audit_view
from ui.csv_table import csv_bytes
from ui.empty import empty_state
from ui.errors import guard
from ui.evaluate_view import (
    ranked,
    score_table,
    show_cases,
    source_check,
    subset_map,
    worst_cases,
)
from ui.frame import page_header
from ui.generated_view import generated_view
from ui.judged_table import Table, choose_table, offer_evaluation
from ui.outcome import failure_notice
from ui.pickers import choose
from ui.protocol_view import protocol_view
from ui.results import Entry, Pair, all_rows, part_of, read_judged
from ui.rivals_view import rivals_view
from ui.run_form import makes_images
from ui.score_choice import choose_metric, choose_pair
from ui.state import State, workspace
from ui.style import simulated_badge
from ui.switch import switch
from ui.task_view import has_answers, task_view
from ui.uncertainty_view import uncertainty_view
from ui.unseen import looked_at
from ui.words import count_words

BEFORE, AFTER = ("run", "kind", "fold", "model", "case", "given", "target", "mae_unit"), ("seconds", "protocol")
VIEWS = {
    "subsets": "Every subset",
    "rivals": "Against the others",
    "source": "Does it read its source?",
    "uncertainty": "Error bars",
    "audits": "Further checks",
    "protocol": "Protocol",
}


def as_csv(table: Table) -> bytes:
    """Made when the button is pressed, not before."""
    rows = list(all_rows(table.items))
    placed = sorted({name for row in rows for name in row if PLACE in name})
    return csv_bytes((*BEFORE, *METRICS, *placed, *AFTER), rows)


def offer_report(entry: Entry) -> None:
    """All of one run as one file; made when the button is pressed."""
    runs = sorted(set(entry.run_of.values()))
    if len(runs) != 1:  # folds taken together are several runs
        return
    place = workspace()  # the file is made outside of the session

    def html() -> bytes:
        from core.report import report_html

        return report_html(place, Run.open(place, runs[0])).encode()

    tip = "One file with results, conditions, dataset and model card, versions and seeds. Opens without a network."
    st.download_button("Report", html, f"{entry.model}_report.html", "text/html", icon=":material/summarize:", help=tip)


def choose_entry(table: Table, pair: Pair, metric: str) -> Entry:
    """The run that was chosen on another page or that news told of, else the best one."""
    runs = {entry.name: entry for entry in ranked(table.runs, pair, metric) or table.runs}
    if st.session_state.get(State.ENTRY) not in runs:
        chosen = st.session_state.get(State.RUN)
        followed = [name for name, entry in runs.items() if chosen in entry.run_of.values()]
        st.session_state[State.ENTRY] = (*followed, *runs)[0]
    entry = runs[st.selectbox("Look into", list(runs), key=State.ENTRY, help="One run in detail.", width=280)]
    looked_at("evaluate", set(entry.run_of.values()))
    return entry


def show_run(table: Table, pair: Pair, pairs: list[Pair], metric: str, waiting: list[Run]) -> None:
    """One run: all its pairs, its cases, whether it reads its source."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        entry = choose_entry(table, pair, metric)
        views = VIEWS | ({"tasks": "Tasks"} if has_answers(table.items, entry) else {})
        view = switch("View", views, State.RUN_VIEW, is_label_shown=False)
        st.space("stretch")
        offer_report(entry)
        if waiting:
            with st.popover(f"{count_words(len(waiting), 'run')} without results", icon=":material/pending:"):
                offer_evaluation(waiting)
    if view == "protocol":
        protocol_view(table)
    elif view == "rivals":
        rivals_view(table, entry, pair, metric)
    elif view == "uncertainty":
        uncertainty_view(table, entry, pair)
    elif view == "source":
        source_check(part_of(table.items, entry, "checks"), table.mae_units)
    elif view == "audits":
        audit_view(entry)
        generated_view(entry, pair)
    elif view == "tasks":
        task_view(part_of(table.items, entry, "tasks"))
    else:
        left, right = st.columns([7, 3], gap="medium")
        with left:
            subset_map(table, entry, pairs, metric, pair)
        with right:
            worst_cases(table, entry, pair, metric)


def main() -> None:
    """The page."""
    page_header("Evaluate", "Every trained run on cases it has not seen, beside simple baselines on the same voxels.")
    failure_notice("evaluate", "The evaluation")
    trained = [run for run in list_runs(workspace()) if run.has_weights]
    if not trained:
        empty_state("Nothing to evaluate yet", "Train a model on the Train page, or open the demo on Home.")
        return
    names = sorted({run.config.dataset for run in trained})
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        dataset = choose("Dataset", names, State.DATASET, tip="Runs are compared within one dataset.")
        runs = [run for run in trained if run.config.dataset == dataset]
        judged = read_judged(runs)
        done = {item.run.id for item in judged}
        waiting = [run for run in runs if run.id not in done and makes_images(run)]
        if judged:
            table = choose_table(judged)
            pair, pairs = choose_pair(table)
            metric = choose_metric(table, pair)
            table = table.with_regions if PLACE in metric else table
            tip = "Every number of every case, runs and baselines, with units."
            st.download_button(
                "CSV", partial(as_csv, table), "evaluation.csv", "text/csv", icon=":material/download:", help=tip
            )
            if table.protocol["simulated"]:
                simulated_badge()
    if not judged:
        said = "Start the evaluation of a run; it goes on while you look elsewhere."
        if not waiting:
            said = "They make no images that could be judged. Their codes are on Latent."
        empty_state("These runs have no results" + (" yet" if waiting else ""), said)
        with st.container(width=460):
            offer_evaluation(waiting)
        return
    left, right = st.columns([63, 37], gap="medium")
    with left:
        score_table(table, pair, metric)
        st.caption(" ".join(table.notes))
    with right:
        show_cases(table, pair, metric)
    show_run(table, pair, pairs, metric, waiting)


with guard():
    main()
