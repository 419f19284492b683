"""Import: choose files, correct the table of what was found, start the job, read each file's fate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from core.cohort import Cohort, list_cohorts
from core.errors import InvalidConfigError
from core.ingest import LAYOUTS, Proposal, scan
from core.readers.choice import Choice
from core.uploads import discard, discard_forgotten, server_folder, server_folders, stage, staged
from core.workspace import Workspace, safe_name
from ui.errors import guard
from ui.jobs_banner import start_job
from ui.state import State, workspace
from ui.views import turn_to
from ui.words import FATES, count_words, size_words, spacing_words

NEW_CASE = "new case"
USABLE = ("accepted", "warned")
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
    proposals: tuple[Proposal, ...]

    def place(self, work: Workspace) -> Path:
        return staged(work, self.upload) if self.upload else server_folder(self.folder)


def import_view() -> None:
    """First the uploader, then the table."""
    draft = st.session_state.get(State.PROPOSALS)
    if draft is None:
        _choose()
    else:
        _check(draft)


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
            _look_through(stage(workspace(), ((file.name, file) for file in files)), "", layout, len(files))


def _choose_on_server(layout: str) -> None:
    tip = "Folders of this machine that its operator offers. They are read in place, not copied."
    folder = st.selectbox("Folder", list(server_folders()), help=tip)
    if st.button("Look through", type="primary", icon=":material/search:"):
        with guard():
            _look_through("", folder, layout, 0)


def _look_through(upload: str, folder: str, layout: str, n_files: int) -> None:
    """Scan, keep the proposals, and let the uploader forget its files, which gives their memory back."""
    empty = Draft(upload, folder, layout, ())
    patience = " This can take a minute." if n_files > 300 or folder else ""
    st.session_state[State.UPLOADS] = st.session_state.get(State.UPLOADS, 0) + 1
    with st.spinner(f"Looking through {count_words(n_files, 'file') if n_files else 'the folder'}.{patience}"):
        try:
            proposals = scan(workspace(), [empty.place(workspace())], layout)
        except BaseException:
            _forget(empty)
            raise
    st.session_state[State.PROPOSALS] = Draft(upload, folder, layout, tuple(proposals))
    st.rerun()


def _forget(draft: Draft) -> None:
    if draft.upload:
        discard(workspace(), draft.upload)
    st.session_state.pop(State.PROPOSALS, None)


def _check(draft: Draft) -> None:
    usable = [proposal for proposal in draft.proposals if proposal.fate in USABLE]
    others = [proposal for proposal in draft.proposals if proposal.fate not in USABLE]
    table = None
    if usable:
        st.markdown(
            f"**{count_words(len(usable), 'image')} found.** Untick, or correct case and modality, then import."
        )
        table = _editor(usable, draft.upload)
    else:
        st.warning("None of these files is an image that can be imported. The reasons are below.")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        _start_controls(draft, usable, table)
    if others:
        report_table([_as_row(proposal) for proposal in others], "Not imported")


def _start_controls(draft: Draft, usable: Sequence[Proposal], table: pd.DataFrame | None) -> None:
    if table is not None:
        tip = "A new name makes a new cohort; the name of an existing one adds to it."
        cohort = st.text_input("Cohort", _proposed_name(), help=tip, max_chars=64, width=280, key="import-cohort")
        reason = refusal(table, cohort)
        if st.button("Import", type="primary", disabled=bool(reason), help=reason or None, icon=":material/download:"):
            with guard():
                _start(draft, cohort, corrections_of(usable, table.replace({"case": {NEW_CASE: draft.upload}})))
    if st.button("Choose other files", help="Forget these files; nothing was imported"):
        _forget(draft)
        st.rerun()
    if table is not None:
        said = reason or _joined(cohort)
        if said:
            st.caption(f":material/info: {said}", width="content")


def _joined(name: str) -> str:
    """What an existing cohort of that name means."""
    cohorts = {cohort.name: cohort for cohort in list_cohorts(workspace())}
    if name not in cohorts:
        return ""
    return f"They join the {count_words(len(cohorts[name].case_ids), 'case')} of cohort {name}."


def _editor(proposals: Sequence[Proposal], upload: str) -> pd.DataFrame:
    """What the person made of it. Files without a folder are grouped by the upload, which is shown as a new case."""
    rows = pd.DataFrame(
        {
            "include": [proposal.include for proposal in proposals],
            "case": [NEW_CASE if proposal.case == upload else proposal.case for proposal in proposals],
            "modality": [proposal.modality for proposal in proposals],
            "label": [proposal.label for proposal in proposals],
            "files": [proposal.n_files for proposal in proposals],
            "size": [size_words(proposal.shape) for proposal in proposals],
            "spacing": [spacing_words(proposal.spacing_mm) for proposal in proposals],
            "orientation": [proposal.orientation for proposal in proposals],
            "unit": [proposal.unit for proposal in proposals],
            "note": [proposal.message for proposal in proposals],
        }
    )
    config = st.column_config
    columns = {
        "include": config.CheckboxColumn("Import", width=84, help="Untick to leave this image out"),
        "case": config.TextColumn("Case", required=True, help="Images with the same word here become one case"),
        "modality": config.TextColumn("Modality", required=True, width=110, help="Such as T1, T2, FLAIR, CT, PET, US"),
        "label": config.TextColumn("File or series", width="medium"),
        "files": config.NumberColumn("Files", width=60),
        "size": config.TextColumn("Voxels"),
        "spacing": config.TextColumn("Spacing"),
        "orientation": config.TextColumn(
            "Axes", width=60, help="As found; everything is stored right, front, up (RAS)"
        ),
        "unit": config.TextColumn("Unit", width=60),
        "note": config.TextColumn("Note", width="large"),
    }
    height = min(38 + 35 * len(rows), 430)
    fixed = [name for name in columns if name not in ("include", "case", "modality")]
    return st.data_editor(
        rows, column_config=columns, disabled=fixed, hide_index=True, height=height, width="stretch", key="import-table"
    )


def refusal(table: pd.DataFrame, cohort: str) -> str:
    """Why the import cannot start as the table stands; "" when it can."""
    chosen = table[table["include"]]
    if chosen.empty:
        return "Tick at least one image."
    try:
        safe_name(cohort)
        for modality in chosen["modality"]:
            safe_name(str(modality))
    except InvalidConfigError as error:
        return f"Cohort and modality: {error}"
    if (workspace().cohorts / cohort).is_dir() and Cohort.open(workspace(), cohort).info.get("simulated"):
        return "Generated and real patients do not mix: choose another cohort name."
    twice = chosen[chosen.duplicated(["case", "modality"])]
    if not twice.empty:
        case, modality = twice.iloc[0][["case", "modality"]]
        return f"Case {case} has two images named {modality}: rename or untick one."
    return ""


def corrections_of(proposals: Sequence[Proposal], table: pd.DataFrame) -> dict[str, Choice]:
    """Proposal key -> what the person decided, where that differs from the proposal."""
    corrections: dict[str, Choice] = {}
    for proposal, row in zip(proposals, table.itertuples(), strict=True):
        if not row.include:
            corrections[proposal.key] = Choice(include=False)
        elif (row.case, row.modality) != (proposal.case, proposal.modality):
            corrections[proposal.key] = Choice(str(row.case), str(row.modality))
    return corrections


def _proposed_name() -> str:
    """A name that is free: images join an existing cohort only when a person says so."""
    taken = {cohort.name for cohort in list_cohorts(workspace())}
    names = ("my-images", *(f"my-images-{n}" for n in range(2, len(taken) + 3)))
    return next(name for name in names if name not in taken)


def _start(draft: Draft, cohort: str, corrections: Mapping[str, Choice]) -> None:
    chosen = {key: choice.to_json() for key, choice in corrections.items()}
    params: dict[str, object] = {"cohort": cohort, "layout": draft.layout, "corrections": chosen}
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
