"""The table of what was found: case and modality of each image, and how arrays and films are to be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import streamlit as st

from core.cohort import Cohort
from core.errors import InvalidConfigError
from core.ingest import Proposal
from core.readers.choice import Choice
from core.workspace import safe_name
from ui.state import workspace
from ui.words import size_words, spacing_words

NEW_CASE = "new case"
READING_TIP = "Where each axis of the array runs to: three letters, one of R and L, one of A and P, one of S and I"


def image_table(proposals: Sequence[Proposal], upload: str) -> pd.DataFrame:
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


def refusal(table: pd.DataFrame | None, cohort: str, released: int = 0) -> str:
    """Why the import cannot start as the table stands; "" when it can.

    Args:
        released: how many held-back pictures somebody has looked at and let in.
    """
    table = pd.DataFrame({"include": [], "case": [], "modality": []}) if table is None else table
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


def reading_table(proposals: Sequence[Proposal]) -> dict[str, Choice]:
    """Key -> how an array or a film is to be read; nothing is drawn where no file needs it."""
    asked = [p for p in proposals if p.frames > 1 or (p.reader == "array" and len(p.shape) == 3)]
    if not asked:
        return {}
    with st.expander("How to read arrays and films", icon=":material/tune:"):
        st.caption(
            "Unless you say otherwise, arrays run to right, front, up at 1 mm, and one frame of a film is taken."
        )
        config = st.column_config
        columns = {
            "label": config.TextColumn("File", disabled=True),
            "frames": config.NumberColumn("Frames", disabled=True, help="How many the file holds"),
            "frame": config.NumberColumn("Frame", min_value=0, step=1, help="Counted from 0; empty: chosen for you"),
            "each": config.CheckboxColumn("Each a case", help="Every frame becomes a case of its own"),
            "axes": config.TextColumn("Axes", validate="^[RLAPSI]{3}$", help=READING_TIP),
            "i": config.NumberColumn("mm 1", min_value=0.001, help="Between voxels along the array's first axis"),
            "j": config.NumberColumn("mm 2", min_value=0.001, help="Along the second axis"),
            "k": config.NumberColumn("mm 3", min_value=0.001, help="Along the third axis"),
            "slope": config.NumberColumn("Slope", help="Value = stored x slope + offset"),
            "intercept": config.NumberColumn("Offset", help="Such as -1024 to turn stored numbers into HU"),
        }
        rows = pd.DataFrame([_reading_row(proposal) for proposal in asked])
        chosen = st.data_editor(rows, column_config=columns, hide_index=True, width="stretch", key="reading-table")
    return {p.key: _reading(p, row) for p, row in zip(asked, chosen.to_dict("records"), strict=True)}


def _reading_row(proposal: Proposal) -> dict[str, object]:
    spacing = [*proposal.spacing_mm, 1.0, 1.0, 1.0][:3]
    film = {"label": proposal.label, "frames": proposal.frames, "frame": None, "each": False}
    return film | {"axes": "RAS", "i": spacing[0], "j": spacing[1], "k": spacing[2], "slope": 1.0, "intercept": 0.0}


def _reading(proposal: Proposal, row: Mapping[Any, Any]) -> Choice:
    frame = -1 if pd.isna(row["frame"]) else int(row["frame"])
    choice = Choice(proposal.case, proposal.modality, frame=frame, each_frame=bool(row["each"]))
    if proposal.reader != "array":
        return choice
    spacing = (float(row["i"]), float(row["j"]), float(row["k"]))
    slope, intercept = float(row["slope"]), float(row["intercept"])
    return replace(choice, axes=str(row["axes"]), spacing_mm=spacing, slope=slope, intercept=intercept)
