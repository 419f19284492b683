"""A cohort: which case has which modality, and how the last import went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from core.cohort import Cohort
from core.runs import ENDED, Job, list_jobs
from core.types import LABEL_UNIT
from core.uploads import take_labels
from ui.fate_table import counts_words, report_table
from ui.state import State, workspace
from ui.style import simulated_badge, table_height
from ui.words import ABSENT, FATE_HELP, FATES, NOTED, THERE, code_words, count_words, notes_of, spacing_words


def cohort_summary(cohort: Cohort, records: Sequence[Mapping[str, Any]]) -> None:
    """How many cases, in which units and spacings; a badge for generated ones."""
    units: dict[str, Counter[str]] = {}
    for record in records:
        for modality, facts in record["volumes"].items():
            said = f"{facts['unit']}, {spacing_words(facts['spacing_mm'])}"
            units.setdefault(modality, Counter())[said] += 1
    maps = [m for m in units if all(said.startswith(LABEL_UNIT) for said in units[m])]
    images = [m for m in units if m not in maps]
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        parts = [count_words(len(records), "case"), count_words(len(images), "modality", "modalities")]
        parts += [count_words(len(maps), "label map")] if maps else []
        st.markdown(" · ".join(parts), width="content")
        if cohort.info.get("simulated"):
            simulated_badge()
    by_geometry: dict[str, list[str]] = {}
    for modality in images:
        by_geometry.setdefault(_usual(units[modality]), []).append(modality)
    st.caption("  \n".join(f"{', '.join(names)}: {geometry}" for geometry, names in by_geometry.items()))


def _usual(counts: Counter[str]) -> str:
    usual = counts.most_common(1)[0][0]
    return usual if len(counts) == 1 else f"{usual}, and {count_words(len(counts) - 1, 'other')}"


def case_matrix(records: Sequence[Mapping[str, Any]]) -> None:
    """Cases by modalities; a click on a row chooses the case."""
    modalities = list(dict.fromkeys(m for record in records for m in record["volumes"]))
    frame = pd.DataFrame([_matrix_row(record, modalities) for record in records])
    widths = {m: st.column_config.TextColumn(m, width=max(44, 9 * len(m) + 18)) for m in modalities}
    ids = tuple(record["id"] for record in records)
    st.dataframe(
        frame,
        hide_index=True,
        width="stretch",
        height=table_height(len(frame), 470),
        column_config={"Case": st.column_config.TextColumn("Case", pinned=True), **widths},
        selection_mode="single-row",
        on_select=lambda: _choose(ids),
        key="case-matrix",
        alt="Which case has which modality",
    )
    marks = [f"{THERE} there", f"{NOTED} there, with a note", "blank: not acquired"]
    st.caption(" · ".join(marks))


def _matrix_row(record: Mapping[str, Any], modalities: Sequence[str]) -> dict[str, str]:
    volumes = record["volumes"]
    marks = {m: ABSENT if m not in volumes else NOTED if volumes[m]["warnings"] else THERE for m in modalities}
    notes: dict[str, list[str]] = {}
    for modality, code in notes_of(volumes):
        notes.setdefault(code, []).append(modality)
    said = " ".join(f"{', '.join(who)}: {code_words(code)}" for code, who in notes.items())
    return {"Case": record["id"], **marks, "Notes": said}


def _choose(ids: tuple[str, ...]) -> None:
    rows = st.session_state["case-matrix"]["selection"]["rows"]
    if rows:
        st.session_state[State.CASE] = ids[rows[0]]


def last_import(cohort: str) -> Job | None:
    """The newest import into this cohort."""
    jobs = (job for job in list_jobs(workspace()) if job.kind == "ingest" and job.params.get("cohort") == cohort)
    return next(jobs, None)


def import_report(job: Job, is_open: bool) -> None:
    """What became of each file: counts first, then the reasons."""
    files = _labelled(job, (job.result or {}).get("files", []))
    counts = Counter(row["fate"] for row in files)
    said = counts_words(files, FATES)
    has_news = is_open and any(counts[fate] for fate in FATE_HELP)
    with st.expander(f"Last import: {said or 'no files'}", expanded=has_news, icon=":material/receipt_long:"):
        told = [f"**{FATES[fate]}** ({counts[fate]}): {words}" for fate, words in FATE_HELP.items() if counts[fate]]
        if told:
            st.caption("  \n".join(told))
        report_table(files)
        dropped: Mapping[str, int] = (job.result or {}).get("dropped", {})
        if dropped:
            said = ", ".join(f"{kind} {count:,}" for kind, count in sorted(dropped.items(), key=lambda kv: -kv[1]))
            st.caption(f"**Left behind**, by kind: {said}", help="Values of the files that were not stored anywhere.")


def _labelled(job: Job, files: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The files under their own labels in the session that looks first, and by number ever after."""
    kept: dict[str, list[str]] = st.session_state.setdefault(State.LABELS, {})
    if job.id not in kept:
        kept[job.id] = take_labels(job.folder)
    labels = kept[job.id] or [str(row["label"]) for row in files]
    return [{**row, "label": label} for row, label in zip(files, labels, strict=True)]


def delete_cohort(cohort: Cohort) -> None:
    """Remove the cohort and the reports of its imports."""
    for job in list_jobs(workspace()):
        if job.kind == "ingest" and job.params.get("cohort") == cohort.name and job.state in ENDED:
            job.delete()
    cohort.delete()
