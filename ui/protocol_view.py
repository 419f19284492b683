"""Evaluate: under which conditions a table's numbers hold, and what was looked for before judging."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from ui.judged_table import Table
from ui.words import size_words, spacing_words


def _registration_words(recipe: Mapping[str, Any]) -> str:
    mode = str(recipe.get("align", {}).get("mode", "none"))
    return "none: images lie as their files say" if mode == "none" else mode


def _leaks_checked(table: Table) -> None:
    """What the leakage guard looked at before these runs were judged; it stops an evaluation where it finds a leak."""
    said = list(dict.fromkeys(line for item in table.items for line in item.about.get("leaks", {}).get("checked", ())))
    if said:
        st.caption("Looked for leaks before judging, and found none:  \n" + "  \n".join(f"- {line}" for line in said))
    else:
        st.caption("These results were made before leaks were looked for. Evaluate again to have them looked for.")


def protocol_view(table: Table) -> None:
    """Under which conditions these numbers hold."""
    protocol = table.protocol
    unit_words = ", ".join(f"{m} in {unit}" for m, unit in table.mae_units.items())
    cases = sorted({case for item in table.items for case in item.protocol["cases"]})
    facts = {
        "Fingerprint": " ".join(sorted({item.fingerprint for item in table.items})),
        "Dataset": f"{protocol['dataset']} ({protocol['dataset_fingerprint'][:12]})",
        "Held-out cases": ", ".join(cases),
        "Training cases": str(protocol["n_train"]),
        "Judged voxels": protocol["mask"],
        "PSNR and SSIM": f"on the prepared scale, with a fixed range of {protocol['data_range']:g}",
        "MAE": unit_words,
        "Grid": f"{size_words(protocol['crop'])} voxels of {spacing_words(protocol['spacing_mm'])}",
        "Registration": _registration_words(protocol["normaliser"]),
        "Metrics": f"version {protocol['metrics_version']}",
    }
    st.table(pd.DataFrame({"": facts}), border="horizontal")
    _leaks_checked(table)
    st.caption("How the images were prepared")
    st.code(json.dumps(protocol["normaliser"], indent=1), language="json", height=200)
