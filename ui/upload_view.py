"""The first step of an import: choose files or a folder; they are written to disk and looked through."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import streamlit as st

from core.ingest import Proposal
from core.runs import ENDED, list_jobs
from core.survey import load_proposals, survey
from core.uploads import discard, discard_forgotten, looks, server_folder, server_folders, stage, staged
from core.workspace import Workspace, new_id
from ui.errors import guard
from ui.jobs_banner import start_job
from ui.state import State, workspace

QUICK_FILES, QUICK_BYTES = 12, 24 * 1024**2  # so many are looked through at once, more by a job
SOURCES = {"files": "Files or a zip", "folder": "A folder", "server": "On the server"}
PRIVACY = """**What happens to your images**
- Kept: pixels, geometry and unit. Names, numbers, dates and all other header text are dropped.
- Cases get new ids. Patients keep theirs when more of their images follow.
- Pictures that may carry a name in the image itself are held back.
- Nothing leaves this machine. The uploaded files are removed after the import."""
KINDS_TIP = (
    "What a file is, is found from its content. DICOM is paired by patient. Of other files, put the images of one "
    "patient into one folder, or name them patient_T1, patient_T2; BIDS names work too."
)
LIMITS = "DICOM, NIfTI, NumPy, PNG and JPEG, or zips of them. Up to 5,000 files and 4 GB at a time."


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


def wait(draft: Draft) -> None:
    """Until the job that looks through the files has ended; the banner shows how far it is."""
    job = next((job for job in list_jobs(workspace()) if job.id == draft.job), None)
    if job is not None and job.state not in ENDED:
        st.info("Your files are being looked through. The table comes here when that is done.")
        return
    if job is None or job.state != "finished":
        forget(draft)
        st.error(job.status.error if job is not None and job.status.error else "Looking through was stopped.")
        choose()
        return
    found = tuple(load_proposals(looks(workspace(), draft.look)))
    st.session_state[State.PROPOSALS] = replace(draft, job="", proposals=found)
    st.rerun()


def choose() -> None:
    """Where the images come from."""
    sources = [source for source in SOURCES if source != "server" or server_folders()]
    source = st.segmented_control(
        "Import",
        sources,
        default="files",
        format_func=SOURCES.__getitem__,
        required=True,
        key="import-source",
        help="A folder is taken with all folders inside it.",
    )
    if source == "server":
        _choose_on_server()
    else:
        _choose_upload("directory" if source == "folder" else True)


def _choose_upload(multiple: Any) -> None:
    key = f"uploader-{multiple}-{st.session_state.get(State.UPLOADS, 0)}"
    label = "Drop a folder here" if multiple == "directory" else "Drop images here"
    files = st.file_uploader(label, accept_multiple_files=multiple, key=key, help=KINDS_TIP)
    st.caption(LIMITS)
    if files:
        with guard():
            discard_forgotten(workspace())
            is_quick = len(files) <= QUICK_FILES and sum(file.size for file in files) <= QUICK_BYTES
            with st.spinner("Writing the files to disk"):
                upload = stage(workspace(), ((file.name, file) for file in files))
            look_through(Draft(upload, "", "auto", upload), is_quick)


def _choose_on_server() -> None:
    tip = "Folders of this machine that its operator offers. They are read in place, not copied."
    folder = st.selectbox("Folder", list(server_folders()), help=tip)
    if st.button("Look through", type="primary", icon=":material/search:", help="Nothing is imported yet"):
        with guard():
            look_through(Draft("", folder, "auto", new_id("server")), is_quick=False)


def look_through(draft: Draft, is_quick: bool) -> None:
    """Decode once, at once or as a job, and let the uploader forget its files, which gives their memory back."""
    st.session_state[State.UPLOADS] = st.session_state.get(State.UPLOADS, 0) + 1
    if not is_quick:
        source: dict[str, object] = {"upload": draft.upload} if draft.upload else {"folder": draft.folder}
        job = start_job("scan", {"look": draft.look, "layout": draft.layout, **source})
        st.session_state[State.PROPOSALS] = replace(draft, job=job.id)
        st.rerun()
    with st.spinner("Looking through the files"):
        try:
            place = looks(workspace(), draft.look)
            found = survey(workspace(), [draft.place(workspace())], draft.layout, place)
        except BaseException:
            forget(draft)
            raise
    st.session_state[State.PROPOSALS] = replace(draft, proposals=tuple(found))
    st.rerun()


def look_again(draft: Draft, layout: str) -> None:
    """The same files, their arrays read in another way."""
    shutil.rmtree(looks(workspace(), draft.look), ignore_errors=True)
    for key in (State.SHEET, State.READINGS, State.LOOKED):
        st.session_state.pop(key, None)
    look_through(replace(draft, layout=layout), sum(p.n_files for p in draft.proposals) <= QUICK_FILES)


def forget(draft: Draft) -> None:
    """Remove the files and what was drawn of them."""
    discard(workspace(), draft.upload or draft.look)
    for key in (State.PROPOSALS, State.SHEET, State.READINGS, State.LOOKED):
        st.session_state.pop(key, None)
