"""A dataset: its grid, its cases, what was left out and why, one case's slices with the mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from core.dataset import Dataset
from core.display import draw_outlined, prepared_window
from core.render import Look, default_colours, size_mm, webp
from core.runs import list_runs
from core.types import PHYSICAL_UNITS, Array
from ui.confirm import confirm_button
from ui.errors import guard
from ui.pickers import case_picker
from ui.state import workspace
from ui.style import modality_chip, simulated_badge
from ui.words import ABSENT, NOTED, THERE, code_words, count_words, size_words, spacing_words

ROW_WIDTH_PX = 800  # what a row of panes takes on a 1400 pixel wide screen
MAX_HEIGHT_PX = 280
FIELD_VOXELS = 14
OVERLAYS = {"images": "Images", "checkerboard": "Checkerboard", "blend": "Blend"}
VERDICTS = {
    "aligned": ("check_circle", "Aligned with"),
    "doubtful": ("help", "Doubtful whether aligned with"),
    "not aligned": ("error", "Not aligned with"),
}
ALIGNED_TIP = "Found by comparing how well the images explain each other here and a little beside."


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
    st.caption("  \n".join(lines), help="The fingerprint is equal only where every number of the dataset is equal.")


def left_out(dataset: Dataset) -> None:
    """The cases that could not be prepared, each with its reason."""
    reasons: Mapping[str, str] = dataset.index["recipe"].get("left_out", {})
    if reasons:
        said = "  \n".join(f"- {case_id}: {reason}" for case_id, reason in reasons.items())
        st.warning(f"{count_words(len(reasons), 'case')} left out:  \n{said}")


def dataset_matrix(dataset: Dataset) -> None:
    """Cases by modalities."""
    rows = [_row(dataset.record(case_id), dataset.modalities) for case_id in dataset.case_ids]
    frame = pd.DataFrame(rows)
    height = min(38 + 35 * len(frame), 360)
    st.dataframe(frame, hide_index=True, width="stretch", height=height, alt="Which case has which modality")
    st.caption(f"{THERE} there · {NOTED} there, with a note · blank: not acquired")


def _row(record: Mapping[str, Any], modalities: Sequence[str]) -> dict[str, str]:
    warnings = record["warnings"]
    marks = {m: ABSENT if m not in record["modalities"] else NOTED if warnings.get(m) else THERE for m in modalities}
    notes: dict[str, list[str]] = {}
    for modality, codes in warnings.items():
        for code in codes:
            notes.setdefault(code, []).append(modality)
    return {
        "Case": record["id"],
        **marks,
        "Notes": " ".join(f"{', '.join(m)}: {code_words(c)}" for c, m in notes.items()),
    }


def exclusions(dataset: Dataset) -> None:
    """Cases that a person left out, each with its reason; and a way to leave out one more."""
    for case_id, reason in dataset.excluded.items():
        with st.container(horizontal=True, vertical_alignment="center"):
            st.text(f"{case_id} left out: {reason}")
            if st.button("Take back", key=f"include-{case_id}", help="The case joins the dataset again"):
                dataset.include(case_id)
                st.rerun()
    with st.popover("Leave a case out", icon=":material/block:", help="A case that looks wrong can be left out"):
        n = sum(run.config.dataset == dataset.name for run in list_runs(workspace()))
        if n:
            st.caption(f"{count_words(n, 'run')} made with this dataset will say that its data have changed.")
        case_id = st.selectbox("Case", dataset.case_ids, key="exclude-case", help="It is kept, and can be taken back")
        reason = st.text_input("Reason", key="exclude-reason", max_chars=200, help="Such as: motion, wrong contrast")
        if st.button("Leave out", disabled=not reason.strip(), help="Runs from now on will not see it"):
            with guard():
                dataset.exclude(str(case_id), reason)
                st.rerun()


def dataset_slices(dataset: Dataset) -> None:
    """One slice of every modality of one case, with the outline of what is judged."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        case_id = case_picker(dataset.case_ids)
        tip = "The yellow line is the edge of the mask: what lies inside is learnt from and judged."
        outlined = st.toggle("Mask outline", value=True, help=tip, key="dataset-outline")
        how = st.segmented_control(
            "Show", OVERLAYS, default="images", format_func=OVERLAYS.__getitem__, required=True, key="dataset-overlay",
            help="Checkerboard and blend lay each image over the reference: edges that break are out of place",
        )  # fmt: skip
    if case_id is None:
        return
    n = dataset.shape[2]
    at = st.slider("Slice", 0, n - 1, n // 2, key=f"dataset-slice-{n}", help="From bottom to top") if n > 1 else 0
    mask = dataset.mask(case_id) if outlined else None
    present = dataset.record(case_id)["modalities"]
    aligned: Mapping[str, Any] = dataset.record(case_id).get("findings", {}).get("align", {})
    first = next((m for m in present if m not in aligned), present[0])
    n_columns = len(present) if len(present) in (3, 4) else 3
    width_mm, height_mm = size_mm(dataset.shape, dataset.spacing_mm, "axial")
    height_px = min(MAX_HEIGHT_PX, round(ROW_WIDTH_PX / n_columns * height_mm / width_mm))
    for start in range(0, len(present), n_columns):
        row = present[start : start + n_columns]
        for cell, modality in zip(st.columns(n_columns, gap="small"), row, strict=False):
            colours = default_colours(modality, dataset.unit(modality))
            look = Look("axial", True, prepared_window(dataset, modality), colours, height_px)
            with cell:
                modality_chip(modality)
                flat = mixed(dataset.volume(case_id, modality), dataset.volume(case_id, first), at, str(how))
                inside = None if mask is None else mask[:, :, at : at + 1]
                picture = draw_outlined(flat, inside, dataset.spacing_mm, 0, look)
                st.image(webp(picture), alt=f"{modality}, axial slice {at}")
                if modality in aligned:
                    st.caption(alignment_words(aligned[modality], first), help=ALIGNED_TIP)


def mixed(image: Array, reference: Array, at: int, how: str) -> Array:
    """(I, J, 1) of one slice: the image itself, in a checkerboard with the reference, or half and half."""
    own, other = np.array(image[:, :, at : at + 1]), np.array(reference[:, :, at : at + 1])
    if how == "checkerboard":
        i, j = np.indices(own.shape[:2]) // FIELD_VOXELS
        return np.where(((i + j) % 2 == 0)[:, :, None], own, other)
    return (own + other) / 2 if how == "blend" else own


def alignment_words(found: Mapping[str, Any], reference: str) -> str:
    """Such as "Aligned with T1, moved 2.1 mm"."""
    icon, word = VERDICTS[found["verdict"]]
    moved = f", moved {found['shift_mm']:.1f} mm" if "shift_mm" in found else ""
    return f":material/{icon}: {word} {reference}{moved}"


def delete_dataset_button(dataset: Dataset) -> None:
    """Says how many trained runs would lose their data."""
    n = sum(run.config.dataset == dataset.name for run in list_runs(workspace()))
    loss = f" {count_words(n, 'run')} made with it cannot be compared or evaluated any more." if n else ""
    confirm_button(
        "Delete dataset",
        f"Dataset {dataset.name} is removed; its cohort stays.{loss}",
        dataset.delete,
        key="delete-dataset",
    )
