"""Import: choose files, correct the table of what was found, start the job, read each file's fate."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from core.cohort import list_cohorts
from core.ingest import LAYOUTS, Proposal
from core.quarantine import load_proposals, look
from core.readers.choice import Choice
from core.runs import ENDED, list_jobs
from core.uploads import discard, discard_forgotten, looks, server_folder, server_folders, stage, staged
from core.workspace import Workspace, new_id
from ui.errors import guard
from ui.import_table import NEW_CASE, corrections_of, image_table, reading_table, refusal
from ui.jobs_banner import start_job
from ui.quarantine_view import quarantine_view
from ui.state import State, workspace
from ui.views import turn_to
from ui.words import FATES, count_words

USABLE = ("accepted", "warned")
QUICK_FILES, QUICK_BYTES = 20, 64 * 1024**2  # so many are looked through at once, more by a job
SOURCES = {"files": "Files or a zip", "folder": "A folder", "server": "On the server"}
LAYOUT_WORDS = {"auto": "One image each", "images": "Stacks of pictures"}
PRIVACY = """**What happens to your images**
- Kept: pixels, geometry and unit. Names, numbers, dates and all other header text are dropped.
- Cases get new ids. Patients keep theirs when more of their images follow.
- Pictures that may carry a name in the image itself are held back.
- Nothing leaves this machine. The uploaded files are removed after the import."""
KINDS_TIP = (
    "NIfTI, DICOM, NumPy arrays, PNG and JPEG, or zips of them. What a file is, is found from its content. Put the "
    "images of one patient into one folder, or name them patient_T1, patient_T2; DICOM is paired by patient."
)
LAYOUT_TIP = "How to read .npy and .npz arrays: as one image, or as a stack of 2-D pictures, each a case of its own."


@dataclass(frozen=True)
class Draft:
    """Files that were looked through and wait for the person's word."""

    upload: str
    folder: str
    layout: str
    look: str
    job: str = ""
    proposals: tuple[Proposal, ...] = ()

    def place(self, work: Workspace) -> Path:
        return staged(work, self.upload) if self.upload else server_folder(self.folder)


def import_view() -> None:
    """First the uploader, then the table."""
    draft = st.session_state.get(State.PROPOSALS)
    if draft is None:
        _choose()
    elif draft.job:
        _wait(draft)
    else:
        _check(draft)


def _wait(draft: Draft) -> None:
    """Until the job that looks through the files has ended; the banner shows how far it is."""
    job = next((job for job in list_jobs(workspace()) if job.id == draft.job), None)
    if job is not None and job.state not in ENDED:
        st.info("The files are being looked through. The table comes here when that is done.")
        return
    if job is None or job.state != "finished":
        _forget(draft)
        st.error(job.status.error if job is not None and job.status.error else "Looking through was stopped.")
        _choose()
        return
    found = tuple(load_proposals(looks(workspace(), draft.look)))
    st.session_state[State.PROPOSALS] = replace(draft, job="", proposals=found)
    st.rerun()


def _choose() -> None:
    left, right = st.columns([3, 2], gap="large")
    with right, st.container(border=True):
        st.markdown(PRIVACY)
    with left:
        sources = [source for source in SOURCES if source != "server" or server_folders()]
        with st.container(horizontal=True, vertical_alignment="bottom"):
            source = st.segmented_control(
                "Import", sources, default="files", format_func=SOURCES.__getitem__, required=True, key="import-source"
            )
            layout = st.segmented_control(
                "Arrays hold",
                LAYOUTS,
                default="auto",
                format_func=LAYOUT_WORDS.__getitem__,
                help=LAYOUT_TIP,
                required=True,
            )
        if source == "server":
            _choose_on_server(str(layout))
        else:
            _choose_upload("directory" if source == "folder" else True, str(layout))


def _choose_upload(multiple: Any, layout: str) -> None:
    key = f"uploader-{st.session_state.get(State.UPLOADS, 0)}"
    label = "Drop a folder here" if multiple == "directory" else "Drop images here"
    files = st.file_uploader(label, accept_multiple_files=multiple, key=key, help=KINDS_TIP)
    if files:
        with guard():
            discard_forgotten(workspace())
            is_quick = len(files) <= QUICK_FILES and sum(file.size for file in files) <= QUICK_BYTES
            upload = stage(workspace(), ((file.name, file) for file in files))
            _look_through(Draft(upload, "", layout, upload), is_quick)


def _choose_on_server(layout: str) -> None:
    tip = "Folders of this machine that its operator offers. They are read in place, not copied."
    folder = st.selectbox("Folder", list(server_folders()), help=tip)
    if st.button("Look through", type="primary", icon=":material/search:"):
        with guard():
            _look_through(Draft("", folder, layout, new_id("server")), is_quick=False)


def _look_through(draft: Draft, is_quick: bool) -> None:
    """Scan, at once or as a job, and let the uploader forget its files, which gives their memory back."""
    st.session_state[State.UPLOADS] = st.session_state.get(State.UPLOADS, 0) + 1
    if not is_quick:
        source: dict[str, object] = {"upload": draft.upload} if draft.upload else {"folder": draft.folder}
        job = start_job("scan", {"look": draft.look, "layout": draft.layout, **source})
        st.session_state[State.PROPOSALS] = replace(draft, job=job.id)
        st.rerun()
    with st.spinner("Looking through the files"):
        try:
            place = looks(workspace(), draft.look)
            found = look(workspace(), [draft.place(workspace())], draft.layout, place)
        except BaseException:
            _forget(draft)
            raise
    st.session_state[State.PROPOSALS] = replace(draft, proposals=tuple(found))
    st.rerun()


def _forget(draft: Draft) -> None:
    discard(workspace(), draft.upload or draft.look)
    st.session_state.pop(State.PROPOSALS, None)


def _check(draft: Draft) -> None:
    usable = [proposal for proposal in draft.proposals if proposal.fate in USABLE]
    held_back = [proposal for proposal in draft.proposals if proposal.slices]
    others = [proposal for proposal in draft.proposals if proposal not in usable and proposal not in held_back]
    table, choices, released = None, {}, {}
    if usable:
        st.markdown(
            f"**{count_words(len(usable), 'image')} found.** Untick, or correct case and modality, then import."
        )
        table = image_table(usable, draft.upload)
        choices = _decided(draft, usable, table)
    elif not held_back:
        st.warning("None of these files is an image that can be imported. The reasons are below.")
    if held_back:
        released = quarantine_view(held_back, looks(workspace(), draft.look))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        _start_controls(draft, choices | released, table, len(released))
    if others:
        report_table([_as_row(proposal) for proposal in others], "Not imported")


def _decided(draft: Draft, usable: Sequence[Proposal], table: pd.DataFrame) -> dict[str, Choice]:
    """The table's corrections, with how arrays and films are read."""
    choices = corrections_of(usable, table.replace({"case": {NEW_CASE: draft.upload}}))
    for key, reading in reading_table(usable).items():
        choice = choices.get(key, reading)
        if choice.include:
            choices[key] = replace(reading, case=choice.case, modality=choice.modality)
    return choices


def _start_controls(draft: Draft, choices: Mapping[str, Choice], table: pd.DataFrame | None, released: int) -> None:
    if table is not None or released:
        tip = "A new name makes a new cohort; the name of an existing one adds to it."
        cohort = st.text_input("Cohort", _proposed_name(), help=tip, max_chars=64, width=280, key="import-cohort")
        reason = refusal(table, cohort, released)
        if st.button("Import", type="primary", disabled=bool(reason), help=reason or None, icon=":material/download:"):
            with guard():
                _start(draft, cohort, choices)
    if st.button("Choose other files", help="Forget these files; nothing was imported"):
        _forget(draft)
        st.rerun()
    if table is not None or released:
        said = reason or _joined(cohort)
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
    chosen = {key: choice.to_json() for key, choice in corrections.items()}
    params: dict[str, object] = {"cohort": cohort, "layout": draft.layout, "corrections": chosen}
    shutil.rmtree(looks(workspace(), draft.look), ignore_errors=True)
    start_job("ingest", params | ({"upload": draft.upload} if draft.upload else {"folder": draft.folder}))
    st.session_state.pop(State.PROPOSALS, None)
    turn_to(State.DATA_VIEW, "look")
    st.rerun()


def _as_row(proposal: Proposal) -> dict[str, Any]:
    shown = {"label": proposal.label, "fate": proposal.fate, "code": proposal.code, "message": proposal.message}
    return shown | {"case": "", "modality": proposal.modality, "n": proposal.n_files}


def report_table(rows: Sequence[Mapping[str, Any]], title: str) -> None:
    """Files with their fates, those with the same fate and reason as one row."""
    groups: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in rows:
        key = tuple(str(row[name]) for name in ("fate", "code", "case", "modality", "message"))
        group = groups.setdefault(key, {"n": 0, "label": row["label"]})
        group["n"] += row.get("n", 1)
    order = list(FATES)
    said = [
        {
            "Fate": FATES.get(key[0], key[0]),
            "Files": group["n"],
            "Case": key[2],
            "Modality": key[3],
            "First file": group["label"],
            "Why": key[4],
            "Code": key[1],
        }
        for key, group in sorted(groups.items(), key=lambda item: order.index(item[0][0]) if item[0][0] in order else 9)
    ]
    st.markdown(f"**{title}**")
    st.dataframe(said, hide_index=True, width="stretch", height=min(38 + 35 * len(said), 330))
