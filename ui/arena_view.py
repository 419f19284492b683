"""Train, Arena: models and baselines on the same folds: the form, how far it is, one table, one figure, the claims."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import streamlit as st

from core.config import build
from core.dataset import Dataset
from core.errors import UserError
from core.runs import ENDED, Job
from ui.csv_table import csv_bytes
from ui.errors import guard
from ui.evaluate_view import score_table, show_cases
from ui.jobs_banner import duration_words, start_job
from ui.judged_table import Table
from ui.long_job import POLL, RUNS_ON, headline, job_picker, looked_after, progress_of
from ui.pickers import choose
from ui.results import Entry, Pair
from ui.rivals_view import rivals_view
from ui.run_form import model_cards
from ui.score_choice import choose_metric, choose_pair
from ui.settings_form import settings_form
from ui.state import State
from ui.words import count_words

BEFORE = ("model", "case", "given", "target", "mae_unit")


def new_arena(dataset: Dataset) -> Job | None:
    """The form; the job that was just started."""
    from core.arena.settings import ALWAYS, ArenaOptions, check_modalities, make_arena_config

    cards = model_cards()
    offered = [name for name, card in cards.items() if card.makes_images and name not in ALWAYS]
    choices = {"models": offered, "modalities": list(dataset.modalities)}
    chosen = settings_form(ArenaOptions, "arena-options", None, ("models", "n_folds", "minutes"), choices, 1)
    options, hindrance = None, ""
    try:
        options = build(ArenaOptions, chosen)
        dataset.split(options.seed, 0, options.n_folds)
        check_modalities(dataset, options)
    except UserError as error:
        hindrance = str(error)
    if options is not None and not hindrance:
        _announce(dataset, options)
    tip = hindrance or RUNS_ON
    pressed = st.button(
        "Start arena",
        type="primary",
        icon=":material/stadium:",
        width="stretch",
        disabled=bool(hindrance),
        help=tip,
    )
    if hindrance:
        st.caption(f":material/info: {hindrance}")
    if not pressed or options is None:
        return None
    config = make_arena_config(dataset, options)
    return start_job("arena", {"config": config.model_dump(mode="json"), "device": "auto"})


def _announce(dataset: Dataset, options: Any) -> None:
    """How many trainings, and how long at most."""
    from core.arena.settings import ALWAYS

    cards = model_cards()
    entrants = dict.fromkeys((*options.models, *ALWAYS))
    n_long = options.n_folds * sum(not cards[name].is_fitted for name in entrants if name in cards)
    n = options.n_folds * len(entrants)
    sizes = sorted({len(dataset.split(options.seed, k, options.n_folds).test) for k in range(options.n_folds)})
    said = " or ".join(map(str, sizes))
    st.markdown(
        f"**{count_words(n, 'training')}** on folds of {said} cases, at most "
        f"{duration_words(60 * n_long * options.minutes)} and the time to judge them."
    )


def arena_picker() -> Job | None:
    """None where there was none yet."""
    return job_picker("arena", State.ARENA, _title, "Everything that was computed stays here until you delete it.")


def _title(job: Job) -> str:
    config = job.params["config"]
    some = f" in {', '.join(config['modalities'])}" if config.get("modalities") else ""
    return f"{', '.join(config['models'])} on {config['dataset']}{some} ({job.id.removeprefix('arena-')[:6]})"


def arena_view(job: Job) -> None:
    """Its state, which redraws itself while it runs, and what it has found so far."""
    is_active = job.state not in ENDED
    st.fragment(_watch, run_every=POLL if is_active else None)(job.id, is_active, _n_rows(job))
    found = job.result
    if not found or not found["rows"]:
        if is_active:
            st.caption("The first numbers come when the first training has ended.")
        return
    _notes(found)
    _numbers(job, found)


def _n_rows(job: Job) -> int:
    return len(list((job.folder / "scores").glob("*.json")))


def _watch(job_id: str, was_active: bool, n_rows: int) -> None:
    with guard():
        job = looked_after("arena", job_id)
        if job is None:
            return
        if was_active and (job.state in ENDED or _n_rows(job) > n_rows):
            st.rerun()
        headline(job)
        progress_of(job)


def _notes(found: Mapping[str, Any]) -> None:
    """What a reader must know before the numbers."""
    config = found["config"]
    n_folds = config["n_folds"]
    said = f"{n_folds} folds, at most {config['minutes']:g} min a training."
    if config.get("modalities"):
        said += f" Learnt and made: {', '.join(config['modalities'])} only."
    notes = [said, "Each case is judged by models that never saw it."]
    late = [one["model"] for one in found["entrants"] if one["folds"] < n_folds and not one["error"]]
    failed = [f"{one['model']}: {one['error']}" for one in found["entrants"] if one["error"]]
    if late:
        notes.append(f"Not on all folds yet: {', '.join(late)}.")
    st.caption(" ".join([*notes, *failed]))


def _numbers(job: Job, found: Mapping[str, Any]) -> None:
    table = table_of(found)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        pair, _ = choose_pair(table)
        metric = choose_metric(table, pair)
        tip = "Every number of every case, with units."
        csv = partial(_csv, found["rows"], table.mae_units)
        st.download_button("CSV", csv, f"{job.id}.csv", "text/csv", icon=":material/download:", help=tip)
    left, right = st.columns([62, 38], gap="medium")
    with left:
        score_table(table, pair, metric)
    with right:
        show_cases(table, pair, metric)
    _claims(table, pair, metric)


def _claims(table: Table, pair: Pair, metric: str) -> None:
    entries = {entry.name: entry for entry in table.entries if pair in entry.rows}
    if len(entries) < 2:
        return
    tip = "Its paired differences from every other one, with the test corrected for their number."
    name = choose("Compare", list(entries), State.RIVAL, tip=tip)
    rivals_view(table, entries[name or next(iter(entries))], pair, metric)


def table_of(found: Mapping[str, Any]) -> Table:
    """An arena's results as the tables and charts of Evaluate take them."""
    cards = model_cards()
    costs = {one["model"]: one["costs"] for one in found["entrants"]}
    by_model: dict[str, dict[Pair, list[Mapping[str, Any]]]] = {}
    for row in found["rows"]:
        pairs = by_model.setdefault(row["model"], {})
        pairs.setdefault((tuple(row["given"]), row["target"]), []).append(row)
    chosen = found["config"]["models"]
    entries = []
    for name, rows in by_model.items():
        is_baseline = name not in chosen and name in cards and cards[name].is_baseline
        shown = name.replace("_", " ") if is_baseline else name
        entries.append(Entry(shown, name, is_baseline, rows, None, costs.get(name, []), {}))
    return Table(entries, (), found["protocol"], (), is_pooled=True)


def _csv(rows: list[dict[str, Any]], units: Mapping[str, str]) -> bytes:
    told = [{**row, "mae_unit": units.get(row["target"], "")} for row in rows]
    names = dict.fromkeys(name for row in told for name in row)
    return csv_bytes((*BEFORE, *(name for name in names if name not in BEFORE)), told)
