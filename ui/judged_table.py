"""What is judged together: runs of one protocol, or the folds of one study; and the start of what is not judged yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import streamlit as st

from core.runs import ENDED, Run, list_jobs
from ui.audit_view import CHECKS
from ui.jobs_banner import start_job
from ui.pickers import choose
from ui.results import Entry, Judged, differences, entries_of, groups, pooled_entries, studies
from ui.state import State, workspace
from ui.words import count_words


@dataclass(frozen=True)
class Table:
    """What may stand in one table.

    Attributes:
        items: the runs in it.
        protocol: of all of them, or of the first fold.
        notes: what is left out, and why.
    """

    entries: Sequence[Entry]
    items: Sequence[Judged]
    protocol: Mapping[str, Any]
    notes: Sequence[str]
    is_pooled: bool

    @property
    def runs(self) -> list[Entry]:
        return [entry for entry in self.entries if not entry.is_baseline]

    @property
    def with_regions(self) -> Table:
        """The same with scores of regions, read from their own files."""
        entries = pooled_entries(self.items, True)[0] if self.is_pooled else entries_of(self.items, True)
        return replace(self, entries=entries)

    @property
    def mae_units(self) -> Mapping[str, str]:
        units: Mapping[str, str] = self.protocol["mae_units"]
        return units


def choose_table(judged: Sequence[Judged]) -> Table:
    """Runs of one protocol, or the folds of one study; a select box where there are several."""
    by_protocol, by_study = groups(judged), studies(judged)
    words = {key: _study_words(items) for key, items in by_study.items()}
    words |= {key: _group_words(items) for key, items in by_protocol.items()}
    key = next(iter(words))
    if len(words) > 1:
        tip = "Numbers are compared only where cases, data and metrics are the same: those stand in one table."
        key = choose("Judged on", list(words), State.JUDGED_ON, words.__getitem__, tip) or key
    if key in by_study:
        entries, lacking = pooled_entries(by_study[key])
        notes = [f"Left out, because a fold is not judged yet: {', '.join(lacking)}."] if lacking else []
        notes.append("Every case is judged by the run that did not see it in training.")
        return Table(entries, by_study[key], by_study[key][0].protocol, notes, True)
    group = by_protocol[key]
    others = [item for item in judged if item.fingerprint != key]
    notes = _why_apart(group[0], others)
    if not group[0].protocol["held_out"]:
        notes.append("Some of these cases were seen in training, so these numbers flatter.")
    return Table(entries_of(group), group, group[0].protocol, notes, False)


def _study_words(items: Sequence[Judged]) -> str:
    folds = {item.run.config.fold for item in items}
    cases = {case for item in items for case in item.protocol["cases"]}
    return f"{len(folds)} of {items[0].run.config.n_folds} folds together: {count_words(len(cases), 'case')}"


def _group_words(items: Sequence[Judged]) -> str:
    cases, config = items[0].protocol["cases"], items[0].run.config
    fold = "" if config.fold is None else f"Fold {config.fold + 1} of {config.n_folds}: "
    said = ", ".join(cases) if len(cases) <= 2 else count_words(len(cases), "case")
    return f"{fold}{said} ({count_words(len(items), 'run')})"


def _why_apart(first: Judged, others: Sequence[Judged]) -> list[str]:
    if not others:
        return []
    reasons = sorted({words for item in others for words in differences(first.protocol, item.protocol)})
    verb = "is" if len(others) == 1 else "are"
    why = "; ".join(reasons[:3]) or "another protocol"
    return [f"{count_words(len(others), 'more run')} {verb} not in this table: {why}. Choose under “Judged on”."]


def offer_evaluation(waiting: Sequence[Run]) -> None:
    """For trained runs without results: choose one and start; the banner shows how far it is."""
    at_work = runs_at_work()
    if at_work:
        st.caption(f"{count_words(len(at_work), 'evaluation')} at work. Results appear here when they are done.")
    titles = {run.id: run.title for run in waiting if run.id not in at_work}
    if not titles:
        return
    tip = "Trained runs that have not been judged on their held-out cases yet."
    chosen = st.selectbox("Run to evaluate", list(titles), format_func=titles.__getitem__, key="waiting-run", help=tip)
    tip = "Judge it on its held-out cases, every subset of modalities, beside the baselines. Takes minutes."
    asked = "Further checks of the run, after its evaluation. Each takes some minutes; they can also be done later."
    also = st.multiselect("Also check", list(CHECKS), format_func=CHECKS.__getitem__, key="waiting-checks", help=asked)
    if st.button("Evaluate", icon=":material/play_arrow:", type="primary", help=tip, key="evaluate-one"):
        start_job("evaluate", {"run": chosen, "device": "auto", "checks": also})
        st.rerun()


def runs_at_work() -> set[str]:
    """Ids of the runs that are being evaluated just now."""
    return {job.params["run"] for job in list_jobs(workspace()) if job.kind == "evaluate" and job.state not in ENDED}
