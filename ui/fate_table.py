"""What becomes, or became, of each file: its fate, a code, one sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from core.ingest import Proposal
from ui.csv_table import safe_cell
from ui.words import FATES, FATES_BEFORE, tail_words

ROW_PX, HEAD_PX = 35, 38
REPORT_PX = HEAD_PX + 6 * ROW_PX  # leaves room for the images below


def files_of(proposals: Sequence[Proposal], patients: Mapping[str, str]) -> list[dict[str, Any]]:
    """One row for each file before the import; a file of several images has one for each."""
    return [
        {
            "fate": proposal.fate,
            "label": proposal.label if len(proposal.files) < 2 else label,
            "case": patients.get(proposal.case, ""),
            "modality": proposal.modality,
            "code": ", ".join(proposal.codes),
            "message": proposal.message,
        }
        for proposal in proposals
        for label in proposal.files or (proposal.label,)
    ]


def counts_words(rows: Sequence[Mapping[str, Any]], words: Mapping[str, str]) -> str:
    """Such as "12 ready, 3 held back": what needs no attention first."""
    counts = Counter(row["fate"] for row in rows)
    return ", ".join(f"{counts[fate]:,} {words[fate].lower()}" for fate in reversed(words) if counts[fate])


def file_table(rows: Sequence[Mapping[str, Any]], height: int = 560) -> None:
    """Every file by itself, what needs attention first."""
    order = list(FATES_BEFORE)
    ranked = sorted(rows, key=lambda row: order.index(row["fate"]))
    said = [
        {
            "Fate": FATES_BEFORE[row["fate"]],
            "File": safe_cell(tail_words(row["label"])),
            "Patient": row["case"],
            "Modality": row["modality"],
            "Why": row["message"],
            "Code": row["code"],
        }
        for row in ranked
    ]
    config = {"Fate": st.column_config.TextColumn(width=120), "File": st.column_config.TextColumn(width=290)}
    st.dataframe(
        said, hide_index=True, width="stretch", height=min(HEAD_PX + ROW_PX * len(said), height), column_config=config
    )


def report_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Files after the import, those with the same fate and reason as one row."""
    groups: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in rows:
        codes = ", ".join(row.get("codes", [])) or row["code"]
        key = (row["fate"], codes, row["case"], row["modality"], row["message"])
        group = groups.setdefault(key, {"n": 0, "label": row["label"]})
        group["n"] += 1
    order = list(FATES)
    said = [
        {
            "Fate": FATES.get(fate, fate),
            "Files": group["n"],
            "Case": case,
            "Modality": modality,
            "First file": safe_cell(tail_words(group["label"])),
            "Why": message,
            "Code": codes,
        }
        for (fate, codes, case, modality, message), group in sorted(groups.items(), key=lambda g: order.index(g[0][0]))
    ]
    column = st.column_config
    config = {
        "Fate": column.TextColumn(width=145),
        "Files": column.NumberColumn(width=50),
        "Case": column.TextColumn(width=145),
        "First file": column.TextColumn(width=230),
        "Why": column.TextColumn(width=480),
    }
    height = min(HEAD_PX + ROW_PX * len(said), REPORT_PX)
    st.dataframe(said, hide_index=True, width="stretch", height=height, column_config=config)
