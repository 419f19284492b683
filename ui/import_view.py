"""The second step of an import: correct what was found, look at each image, start the job."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import streamlit as st

from core.cohort import list_cohorts
from core.ingest import Proposal, case_token
from core.intake import HELD_BACK
from core.preprocess.faces import FACE_VISIBLE
from core.readers.choice import Choice
from core.uploads import looks
from ui.array_view import array_view, asked_of, readings_for
from ui.errors import guard
from ui.fate_table import counts_words, file_table, files_of
from ui.glimpse_view import glimpse_of, glimpse_view
from ui.import_table import (
    Sheet,
    corrections_of,
    image_table,
    named_modality,
    patient_table,
    patients_of,
    refusal,
    sheet_of,
)
from ui.jobs_banner import start_job
from ui.quarantine_view import quarantine_view
from ui.state import State, workspace
from ui.upload_view import Draft, choose, forget, look_again, wait
from ui.views import turn_to
from ui.words import FATES_BEFORE, count_words

USABLE = ("accepted", "warned")
TABLE_HEIGHT_PX = 250
LAYOUT_WORDS = {"auto": "One image each", "images": "Stacks of pictures"}
LAYOUT_TIP = "Stacks: the first axis of an array counts 2-D pictures, and each becomes a case of its own."


def import_view() -> None:
    """First the uploader, then the table."""
    draft = st.session_state.get(State.PROPOSALS)
    if draft is None:
        choose()
    elif draft.job:
        wait(draft)
    else:
        _check(draft)


def _check(draft: Draft) -> None:
    """The start on top, then the images, and whatever else asks for a person's eyes."""
    folder = looks(workspace(), draft.look)
    usable = [p for p in draft.proposals if p.fate in USABLE]
    held_back = [p for p in draft.proposals if p.fate == HELD_BACK and p.slices]
    patients = patients_of(draft.proposals)
    files = files_of(draft.proposals, patients)
    st.markdown(f"**{count_words(len(files), 'file')}**: {counts_words(files, FATES_BEFORE)}.")
    start = st.container(horizontal=True, vertical_alignment="bottom")
    if not usable and not held_back:
        st.warning("None of these files is an image that can be imported. The reasons are below.")
    asked = asked_of(usable, draft.layout)
    tabs = _tabs(draft, usable, held_back)
    table, choices, released = None, {}, {}
    if usable:
        sheet = sheet_of(usable, patients, folder.name)
        with tabs["images"]:
            _faces(usable)
            table = image_table(sheet, TABLE_HEIGHT_PX)
            _glimpse(usable, sheet, draft)
        with tabs["patients"]:
            patient_table(table, 430)
        if asked:
            with tabs["arrays"]:
                array_view(asked, folder, sheet)
        choices = _decided(usable, table, patients, draft)
    if "arrays" in tabs:
        with tabs["arrays"]:
            _layout(draft)
    if held_back:
        with tabs["held"]:
            released = quarantine_view(held_back, folder)
    with tabs["files"]:
        file_table(files)
    with start:
        _start_controls(draft, choices | released, table, len(released))


def _tabs(draft: Draft, usable: Sequence[Proposal], held_back: Sequence[Proposal]) -> dict[str, Any]:
    """A tab for each thing there is to do; every file stands in the last one."""
    names = {"images": f"Images ({len(usable)})", "patients": "Patients"} if usable else {}
    if asked_of(usable, draft.layout) or any(proposal.reader == "array" for proposal in draft.proposals):
        names["arrays"] = "How to read arrays and films"
    if held_back:
        names["held"] = f"Held back ({len(held_back)})"
    names["files"] = "Every file"
    return dict(zip(names, st.tabs(list(names.values())), strict=True))


def _faces(usable: Sequence[Proposal]) -> None:
    """The offer to remove faces."""
    n = sum(FACE_VISIBLE in proposal.codes for proposal in usable)
    if n:
        shown = "image shows a whole head" if n == 1 else "images show whole heads"
        st.caption(
            f":material/face: {n} {shown}: a person could be recognised. Prepare can remove faces: recipe step Face. "
            "The cohort itself keeps them."
        )


def _glimpse(usable: Sequence[Proposal], sheet: Sheet, draft: Draft) -> None:
    """One image of the table, drawn."""
    by_key = {proposal.key: proposal for proposal in usable}
    key = st.session_state.get(State.GLIMPSED)
    if key not in by_key:
        key = next(iter(by_key))
    row = sheet.edited.loc[key]
    shown = replace(by_key[key], modality=named_modality(str(row["modality"])))
    glimpse_view(shown, str(row["patient"]), glimpse_of(str(looks(workspace(), draft.look)), by_key[key]))


def _layout(draft: Draft) -> None:
    """Whether arrays are images or stacks of pictures: another answer looks through the files again."""
    if not any(proposal.reader == "array" for proposal in draft.proposals):
        return
    layout = st.segmented_control(
        "Arrays hold", list(LAYOUT_WORDS), default=draft.layout, format_func=LAYOUT_WORDS.__getitem__,
        help=LAYOUT_TIP, required=True, key=f"layout-{draft.look}-{draft.layout}",
    )  # fmt: skip
    if layout != draft.layout:
        with guard():
            look_again(draft, str(layout))


def _decided(
    usable: Sequence[Proposal], table: pd.DataFrame, patients: Mapping[str, str], draft: Draft
) -> dict[str, Choice]:
    """The table's corrections, with how arrays and films are read."""
    choices = corrections_of(usable, table, patients, draft.look)
    for proposal in usable:
        reading = readings_for(usable, looks(workspace(), draft.look).name).get(proposal.key)
        choice = choices.get(proposal.key, Choice(proposal.case, proposal.modality))
        if reading is not None and choice.include:
            choices[proposal.key] = replace(reading, case=choice.case, modality=choice.modality)
    return choices


def _start_controls(draft: Draft, choices: Mapping[str, Choice], table: pd.DataFrame | None, released: int) -> None:
    said = ""
    if table is not None or released:
        tip = "A new name makes a new cohort; the name of an existing one adds to it."
        cohort = st.text_input("Cohort", _proposed_name(), help=tip, max_chars=64, width=280, key="import-cohort")
        reason = refusal(table, cohort, released)
        said = reason or _joined(cohort)
        tip = reason or "Reads the ticked images, drops all identity, and stores them as cases of the cohort"
        if st.button("Import", type="primary", disabled=bool(reason), help=tip, icon=":material/download:"):
            with guard():
                _start(draft, cohort, choices)
    if st.button("Choose other files", help="Forget these files; nothing was imported"):
        forget(draft)
        st.rerun()
    if said:
        st.caption(f":material/info: {said}", width="content")


def _joined(name: str) -> str:
    """What an existing cohort of that name means."""
    cohorts = {cohort.name: cohort for cohort in list_cohorts(workspace())}
    if name not in cohorts:
        return ""
    return f"They join the {count_words(len(cohorts[name].case_ids), 'case')} of cohort {name}."


def _proposed_name() -> str:
    """A name that is free: images join an existing cohort only when a person says so."""
    taken = {cohort.name for cohort in list_cohorts(workspace())}
    names = ("my-images", *(f"my-images-{n}" for n in range(2, len(taken) + 3)))
    return next(name for name in names if name not in taken)


def _start(draft: Draft, cohort: str, corrections: Mapping[str, Choice]) -> None:
    work = workspace()  # a job's folder may outlive the import, so no name goes into it
    hidden = {key: replace(c, case=case_token(work, c.case) if c.case else "") for key, c in corrections.items()}
    chosen = {key: choice.to_json() for key, choice in hidden.items()}
    params: dict[str, object] = {"cohort": cohort, "layout": draft.layout, "corrections": chosen}
    shutil.rmtree(looks(workspace(), draft.look), ignore_errors=True)
    start_job("ingest", params | ({"upload": draft.upload} if draft.upload else {"folder": draft.folder}))
    st.session_state.pop(State.PROPOSALS, None)
    turn_to(State.DATA_VIEW, "look")
    st.rerun()
