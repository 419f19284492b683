"""One search: how far it is, which setting is best, whether that is more than chance, what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import streamlit as st

from core.metrics import METRICS
from core.runs import ENDED, Job
from core.search.grid import said
from core.search.settings import UNSAID
from ui.csv_table import csv_bytes
from ui.errors import guard
from ui.jobs_banner import duration_words
from ui.long_job import POLL, headline, job_picker, looked_after, progress_of
from ui.run_form import Preset
from ui.search_charts import interval_chart, number_words, pair_chart, parallel_chart, varied, words_of
from ui.search_words import behind_words, point_words, sentences, span_words, verdict_words
from ui.state import State
from ui.style import ink, table_height
from ui.views import turn_to, view_switch
from ui.words import TIMES

Table = Mapping[str, Any]
NOT_RUNS = (
    "A search's trainings only judge settings: each leaves out other cases. To look at images on Compare, press “Use "
    "the best” and train a run of its own."
)


def search_picker() -> Job | None:
    """None where nothing was searched yet."""
    return job_picker("search", State.SEARCH, search_title)


def search_title(job: Job) -> str:
    """Such as "mvae on demo: latent size × learning rate (3f9c21)"."""
    config = job.params["config"]
    names = TIMES.join(words_of(key).lower() for key, values in config["grid"].items() if len(values) > 1)
    return f"{config['model']} on {config['dataset']}: {names} ({job.id.removeprefix('search-')[:6]})"


def search_view(job: Job) -> None:
    """Redraws itself while the search is under way, and the whole page once when it ends."""
    is_active = job.state not in ENDED
    st.fragment(_watch, run_every=POLL if is_active else None)(job.id, is_active)


def _watch(job_id: str, was_active: bool) -> None:
    with guard():
        job = looked_after("search", job_id)
        if job is None:
            return
        if was_active and job.state in ENDED:
            st.rerun()
        table: Table | None = job.result
        has_scores = table is not None and any(row["mean"] is not None for row in table["points"])
        can_use = table is not None and has_scores and table["best"] is not None
        headline(job, partial(_best_button, job, table) if can_use else None)
        progress_of(job)
        if table is not None and has_scores:
            st.markdown("\n".join(f"- {sentence}" for sentence in sentences(table)))
            if can_use:
                st.caption(NOT_RUNS)
            _looks(job, table)
        elif job.state not in ENDED:
            st.caption("The first numbers come when the first training has ended.")


def _best_button(job: Job, table: Table) -> None:
    tip = "Fills the form of a new run with the best setting of this search, and with its seed. Press Start there."
    if st.button("Use the best", icon=":material/input:", type="primary", key=f"use-{job.id}", help=tip):
        best = next(row for row in table["points"] if row["point"] == table["best"])
        st.session_state[State.PRESET] = preset_of(job, best["values"])
        turn_to(State.TRAIN_VIEW, "new")
        st.rerun(scope="app")


def preset_of(job: Job, values: Mapping[str, Any]) -> Preset:
    """The form's start: what was the same in every training, and the point's values."""
    config = job.params["config"]
    parts = {
        group: {key.partition(".")[2]: value for key, value in values.items() if key.startswith(f"{group}.")}
        for group in ("model", "train")
    }
    of_model = {**config["model_settings"], **parts["model"]}
    return Preset(job.id, config["model"], of_model, {**UNSAID, **config["train"], **parts["train"]}, config["seed"])


def _looks(job: Job, table: Table) -> None:
    keys = varied(table)
    looks = {"table": "Table", "intervals": "Intervals", "all": "All settings"}
    looks |= {"two": "Two settings"} if len(keys) > 1 else {}
    look = view_switch("search_look", looks, "table")
    if look == "table":
        _table(job, table)
    elif look == "intervals":
        names = {row["point"]: point_words(row) for row in table["points"]}
        _draw(interval_chart(table, names), f"intervals-{job.id}", "Mean score of each setting with its interval")
        st.caption("In colour: the best, and what cannot be told apart from it.")
    elif look == "all":
        _draw(parallel_chart(table, ink()), f"all-{job.id}", "Each setting as a line over parallel axes")
        st.caption("One line per setting. Drag along an axis to keep only a part of it.")
    else:
        _two(job, table, keys)


def _two(job: Job, table: Table, keys: list[str]) -> None:
    across, down = keys[0], keys[1]
    if len(keys) > 2:
        left, right = st.columns(2)
        tip = "Of the other settings the best value is taken"
        with left:
            across = st.selectbox("Across", keys, format_func=words_of, key=f"across-{job.id}", help=tip)
        rest = [key for key in keys if key != across]
        with right:
            down = st.selectbox("Down", rest, format_func=words_of, key=f"down-{job.id}", help=tip)
    _draw(pair_chart(table, across, down, ink()), f"two-{job.id}", "The best score at each pair of values")


def _draw(figure: Any, key: str, alt: str) -> None:
    st.plotly_chart(figure, key=key, config={"displaylogo": False, "displayModeBar": False}, alt=alt)


def _table(job: Job, table: Table) -> None:
    rows = [_line(table, row) for row in table["points"]]
    st.dataframe(rows, hide_index=True, width="stretch", height=table_height(len(rows), 430), alt="All settings")
    targets = table["target"] or "all that the model makes"
    st.caption(
        f"Of {targets}, on the 0-1 scale inside the mask; each case by a run that had not seen it. Verdicts compare "
        "case by case, so a setting can be worse though the intervals of the means overlap."
    )
    st.download_button(
        "Table as CSV",
        csv_bytes(list(rows[0]), rows),
        f"{job.id}.csv",
        "text/csv",
        icon=":material/download:",
        help="The same table for a spreadsheet",
        key=f"csv-{job.id}",
    )


def _line(table: Table, row: Mapping[str, Any]) -> dict[str, Any]:
    metric = table["metric"]
    return {
        **{words_of(key): said(value) for key, value in row["values"].items()},
        METRICS[metric].name: number_words(metric, row["mean"]),
        "95 % interval": span_words(metric, row),
        "Behind the best by": behind_words(metric, row),
        "Verdict": verdict_words(table, row),
        "Folds": f"{row['folds']} of {len(table['folds'])}",
        "Time": duration_words(row["seconds"]),
    }
