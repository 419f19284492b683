"""The table of what was found: patient and modality of each image, what is known of it, whether it comes in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import streamlit as st

from core.cohort import Cohort
from core.errors import InvalidConfigError
from core.ingest import Proposal
from core.readers.choice import Choice
from core.readers.naming import known_modality
from core.workspace import safe_name
from ui.csv_table import safe_cell
from ui.fate_table import HEAD_PX, ROW_PX
from ui.state import State, workspace
from ui.words import THERE, in_plane_words, orientation_words, spacing_words, tail_words

PATIENT_TIP = (
    "Our own short name for a patient within this import; P1 is stored under a new id. Images with the same name "
    "become one case: write another one to move an image."
)
MODALITY_TIP = "Such as T1, T2, FLAIR, CT, PET, US; masks and label maps have mask, seg or label in their name"


@dataclass
class Sheet:
    """The table as a person left it; another version makes the editor begin anew from `base`."""

    folder: str
    base: pd.DataFrame
    edited: pd.DataFrame
    version: int = 0

    def change(self, key: str, column: str, value: str) -> None:
        """Set a cell from elsewhere on the page."""
        if self.edited.at[key, column] != value:
            self.base = self.edited.copy()
            self.base.at[key, column] = value
            self.edited = self.base
            self.version += 1


def patients_of(proposals: Sequence[Proposal]) -> dict[str, str]:
    """A case's name as found -> "P1", "P2", ... in the order of the files."""
    names = dict.fromkeys(proposal.case for proposal in proposals if proposal.case)
    return {name: f"P{n}" for n, name in enumerate(names, 1)}


def sheet_of(proposals: Sequence[Proposal], patients: Mapping[str, str], folder: str) -> Sheet:
    """The sheet of this look at files: a fresh one for another look."""
    sheet = st.session_state.get(State.SHEET)
    if not isinstance(sheet, Sheet) or sheet.folder != folder:
        rows = _rows(proposals, patients)
        sheet = st.session_state[State.SHEET] = Sheet(folder, rows, rows)
    return sheet


def _rows(proposals: Sequence[Proposal], patients: Mapping[str, str]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "look": [":material/visibility:"] * len(proposals),
            "include": [proposal.include for proposal in proposals],
            "patient": [patients[proposal.case] for proposal in proposals],
            "modality": [proposal.modality for proposal in proposals],
            "slices": [proposal.shape[2] if len(proposal.shape) > 2 else 1 for proposal in proposals],
            "size": [in_plane_words(proposal.shape) for proposal in proposals],
            "spacing": [spacing_words(proposal.spacing_mm) for proposal in proposals],
            "orientation": [orientation_words(proposal.orientation) for proposal in proposals],
            "unit": [proposal.unit for proposal in proposals],
            "label": [str(safe_cell(tail_words(proposal.label, 30))) for proposal in proposals],
            "code": [", ".join(proposal.codes) for proposal in proposals],
            "note": [proposal.message for proposal in proposals],
            "files": [proposal.n_files for proposal in proposals],
        },
        index=[proposal.key for proposal in proposals],
    )


def image_table(sheet: Sheet, height: int) -> pd.DataFrame:
    """What the person made of it; a click on the eye chooses the image that is drawn."""
    config = st.column_config
    columns = {
        "look": config.ButtonColumn(
            "", width=46, type="tertiary", key="look-at", on_click=_look_at, help="Draw this image below"
        ),
        "include": config.CheckboxColumn("Import", width=76, help="Untick to leave this image out"),
        "patient": config.TextColumn("Patient", required=True, width=82, max_chars=40, help=PATIENT_TIP),
        "modality": config.TextColumn("Modality", required=True, width=104, max_chars=64, help=MODALITY_TIP),
        "slices": config.NumberColumn("Slices", width=62),
        "size": config.TextColumn("Size", width=92, help="Voxels within a slice"),
        "spacing": config.TextColumn("Spacing", width=134, help="Between voxels, along the file's own axes"),
        "orientation": config.TextColumn(
            "Orientation", width=106, help="How the slices lie, and where the file's axes run to"
        ),
        "unit": config.TextColumn("Unit", width=56, help="HU, SUV, label, or a.u.: arbitrary units"),
        "label": config.TextColumn("File or series", width=210),
        "code": config.TextColumn("Flags", width=140, help="What is doubtful, by code; the sentence stands beside"),
        "note": config.TextColumn("What to know", width=300),
        "files": config.NumberColumn("Files", width=60),
    }
    edited: pd.DataFrame = st.data_editor(
        sheet.base,
        column_config=columns,
        disabled=[name for name in columns if name not in ("include", "patient", "modality")],
        hide_index=True,
        height=min(HEAD_PX + ROW_PX * len(sheet.base), height),
        width="stretch",
        key=f"import-table-{sheet.folder}-{sheet.version}",
    )
    sheet.edited = edited
    return edited


def _look_at() -> None:
    sheet, click = st.session_state.get(State.SHEET), st.session_state.get("look-at")
    if isinstance(sheet, Sheet) and click is not None:
        st.session_state[State.GLIMPSED] = sheet.base.index[click["row"]]


def patient_table(table: pd.DataFrame, height: int) -> None:
    """Which patient brings which modality, as the table stands."""
    chosen = table[table["include"].astype(bool)]
    modalities = list(dict.fromkeys(chosen["modality"]))
    rows = []
    for patient, images in chosen.groupby("patient", sort=False):
        has = set(images["modality"])
        n_grids = len(images[["slices", "size", "spacing", "orientation"]].drop_duplicates())
        marks = {modality: THERE if modality in has else "" for modality in modalities}
        rows.append({"Patient": patient, **marks, "Grids": "one" if n_grids == 1 else f"{n_grids} different"})
    widths = {
        modality: st.column_config.TextColumn(modality, width=max(68, 11 * len(modality))) for modality in modalities
    }
    tip = "Whether the images have the same size, spacing and orientation; Prepare brings different ones onto one"
    st.dataframe(
        rows,
        hide_index=True,
        width="content",
        height=min(HEAD_PX + ROW_PX * len(rows), height),
        column_config={**widths, "Grids": st.column_config.TextColumn("Grids", help=tip)},
        alt="Which patient brings which modality",
    )


def refusal(table: pd.DataFrame | None, cohort: str, released: int = 0) -> str:
    """Why the import cannot start as the table stands; "" when it can.

    Args:
        released: how many held-back pictures somebody has looked at and let in.
    """
    table = pd.DataFrame({"include": [], "patient": [], "modality": []}) if table is None else table
    chosen = table[table["include"].astype(bool)]
    if chosen.empty and not released:
        return "Tick at least one image."
    try:
        safe_name(cohort)
        for modality in chosen["modality"]:
            safe_name(str(modality))
    except InvalidConfigError as error:
        return f"Cohort and modality: {error}"
    if (workspace().cohorts / cohort).is_dir() and Cohort.open(workspace(), cohort).info.get("simulated"):
        return "Generated and real patients do not mix: choose another cohort name."
    named = chosen.assign(modality=[named_modality(str(text)) for text in chosen["modality"]])
    twice = named[named.duplicated(["patient", "modality"])]
    if not twice.empty:
        patient, modality = twice.iloc[0][["patient", "modality"]]
        return f"{patient} has two images named {modality}: rename or untick one."
    return ""


def named_modality(text: str) -> str:
    """As it is known here, so that "flair" and "FLAIR" are one; any other name as it is written."""
    return known_modality(text) or text


def corrections_of(
    proposals: Sequence[Proposal], table: pd.DataFrame, patients: Mapping[str, str], folder: str
) -> dict[str, Choice]:
    """Proposal key -> what the person decided, where that differs from the proposal.

    Args:
        folder: of this look at files: a patient that a person makes up is another one in another import.
    """
    cases = {patient: case for case, patient in patients.items()}
    corrections: dict[str, Choice] = {}
    for proposal, row in zip(proposals, table.itertuples(), strict=True):
        patient = str(row.patient).strip()
        case, modality = cases.get(patient, f"{folder}/{patient}"), named_modality(str(row.modality))
        if not row.include:
            corrections[proposal.key] = Choice(include=False)
        elif (case, modality) != (proposal.case, proposal.modality):
            corrections[proposal.key] = Choice(case, modality)
    return corrections
