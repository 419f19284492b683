"""A dataset in words: its grid, where it is from, what could not be prepared and why; a way to delete it."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from core.dataset import Dataset
from core.types import PHYSICAL_UNITS
from ui.confirm import confirm_button
from ui.exclusion import runs_made_with
from ui.style import simulated_badge
from ui.words import count_words, size_words, spacing_words


def dataset_summary(dataset: Dataset) -> None:
    """Size, grid, provenance."""
    index = dataset.index
    with st.container(horizontal=True, vertical_alignment="center"):
        n_modalities = count_words(len(dataset.modalities), "modality", "modalities")
        st.markdown(f"{count_words(len(dataset.case_ids), 'case')} · {n_modalities}", width="content")
        if dataset.is_simulated:
            simulated_badge()
    units = {m: dataset.unit(m) for m in dataset.modalities if dataset.unit(m) in PHYSICAL_UNITS}
    lines = [
        f"Grid: {size_words(dataset.shape)} voxels of {spacing_words(dataset.spacing_mm)}",
        f"Made from cohort {index['cohort']}",
        f"Fingerprint: `{dataset.fingerprint[:12]}`",
    ]
    lines += [f"Errors are told in: {', '.join(f'{m} {unit}' for m, unit in units.items())}"] if units else []
    st.caption(" · ".join(lines), help="The fingerprint is equal only where every number of the dataset is equal.")


def left_out(dataset: Dataset) -> None:
    """The cases that could not be prepared, each with its reason."""
    reasons: Mapping[str, str] = dataset.index["recipe"].get("left_out", {})
    if reasons:
        said = "  \n".join(f"- {case_id}: {reason}" for case_id, reason in reasons.items())
        st.warning(f"{count_words(len(reasons), 'case')} left out:  \n{said}")


def delete_dataset_button(dataset: Dataset) -> None:
    """Says how many trained runs would lose their data."""
    n = runs_made_with(dataset)
    loss = f" {count_words(n, 'run')} made with it cannot be compared or evaluated any more." if n else ""
    confirm_button(
        "Delete dataset",
        f"Dataset {dataset.name} is removed; its cohort stays.{loss}",
        dataset.delete,
        key="delete-dataset",
    )
