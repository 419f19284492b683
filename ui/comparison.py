"""A synthesis beside the truth as panes of the viewer, numbers with their unit, and what the numbers cannot say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from core import render
from core.dataset import Dataset
from core.render import Window
from core.types import PHYSICAL_UNITS, Array
from ui.slice_view import Pane

if TYPE_CHECKING:
    from core.compare import CompareResult

CAVEATS = {  # targets that hold something which the other modalities do not show
    "PET": "Anatomy does not show uptake: a synthesised PET is what is usual, not this patient's uptake.",
    "SPECT": "Anatomy does not show uptake: a synthesised SPECT is what is usual, not this patient's uptake.",
    "T1POST": "Enhancement needs contrast agent: a synthesised T1POST can miss, or invent, an enhancing lesion.",
    "US": "Ultrasound depends on how the probe was held: a synthesis shows likely texture, not this examination.",
}
HEAD = {"T1", "T1POST", "FLAIR"}  # a CT beside one of these shows a head
SAME_SOURCE = {"PET": {"SPECT"}, "SPECT": {"PET"}}  # given one of these, the caveat does not hold


def caveat(given: Sequence[str], target: str) -> str:
    """What the given modalities cannot tell of the target; empty where there is nothing to warn of."""
    if target in given or SAME_SOURCE.get(target, set()) & set(given):
        return ""
    return CAVEATS.get(target, "")


def panes_of(result: CompareResult, dataset: Dataset, case_id: str, target: str) -> list[Pane]:
    """Sources, target, synthesis, difference; in HU or SUV where there are such units."""
    panes = [_source_pane(result, dataset, case_id, modality) for modality in result.source]
    unit = result.unit if result.unit in PHYSICAL_UNITS else ""
    colours = render.default_colours(target, unit)
    synthesis = _in_unit(result.synthesis, result.scale, result.offset)
    truth = None if result.target is None else _in_unit(result.target, result.scale, result.offset)
    window = _window(synthesis if truth is None else truth, result.mask, unit, dataset)
    same = {"window": window, "unit": unit, "colours": colours}
    if truth is None:
        return [*panes, Pane("synthesis", f"{target}, synthesised", target, synthesis, **same, is_masked=True)]
    difference = synthesis - truth
    return [
        *panes,
        Pane("target", f"{target}, real", target, truth, **same),
        Pane("synthesis", f"{target}, synthesised", target, synthesis, **same, is_masked=True),
        Pane(
            "difference",
            "Synthesised \u2212 real",
            target,
            difference,
            render.symmetric_window(difference, result.mask),
            unit,
            "diverging",
            ("synthesis", "target"),
            is_masked=True,
        ),
    ]


def _source_pane(result: CompareResult, dataset: Dataset, case_id: str, modality: str) -> Pane:
    from core.synthesis import physical_scale

    known = physical_scale(dataset, case_id, modality)
    unit = dataset.unit(modality) if known else ""
    data = _in_unit(result.source[modality], *(known or (1.0, 0.0)))
    colours = render.default_colours(modality, unit)
    return Pane(
        f"source-{modality}",
        f"{modality}, given",
        modality,
        data,
        _window(data, np.asarray(dataset.mask(case_id)), unit, dataset),
        unit,
        colours,
    )


def _in_unit(data: Array, scale: float, offset: float) -> Array:
    return data if (scale, offset) == (1.0, 0.0) else data * np.float32(scale) + np.float32(offset)


def _window(data: Array, mask: np.ndarray, unit: str, dataset: Dataset) -> Window:
    """HU: a preset that suits; else from nothing (0) or the low percentile to the high one inside the mask."""
    if unit == "HU":
        return render.window_presets("HU")["Brain" if HEAD & set(dataset.modalities) else "Soft tissue"]
    window = render.percentile_window(data, mask)
    return Window(min(0.0, window.low) if unit == "SUV" else window.low, window.high)


def scale_note(unit: str) -> str:
    """What a number without a unit is."""
    return "" if unit in PHYSICAL_UNITS else "values on the prepared 0 to 1 scale"


def metric_row(result: CompareResult) -> None:
    """The numbers beside the picture, with unit, range and mask."""
    from core.metrics import METRICS

    in_unit = result.unit if result.unit in PHYSICAL_UNITS else ""
    mae = result.metrics["mae"]
    shown = {
        "mae": (f"MAE, {in_unit}", f"{mae:.3g}") if in_unit else ("MAE", f"{mae:.3f}"),
        "psnr": ("PSNR, dB", f"{result.metrics['psnr']:.1f}"),
        "ssim": ("SSIM", f"{result.metrics['ssim']:.3f}"),
    }
    for cell, (name, (label, words)) in zip(st.columns(3), shown.items(), strict=True):
        cell.metric(label, words, help=METRICS[name].help)
    scale = "PSNR and SSIM are on" if in_unit else "All are on"
    st.caption(f"Inside the mask of {int(result.mask.sum()):,} voxels. {scale} the prepared scale, whose range is 1.")
