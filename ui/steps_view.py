"""Prepare: the recipe as a form, and what each of its steps does to one image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from core.cohort import Cohort
from core.config import build
from core.prepare import Stage, preview
from core.preprocess.grids import Mask
from core.preprocess.steps import STEPS
from core.recipes import RECIPE_SUMMARIES, RECIPES, PrepareConfig
from core.render import PLANES, Look, Plane, default_colours, slice_axis, webp
from core.types import LABEL_UNIT, Volume
from ui.histogram import histogram_chart, histogram_of
from ui.outline import draw_outlined
from ui.settings_form import settings_form
from ui.windows import PREPARED, default_window, scaled
from ui.words import size_words, spacing_words

RECIPE_TITLES = {
    "brain-mr": "Brain MR",
    "brain-mr-ct": "Whole head",
    "brain-whole": "Head as scanned",
    "pet-mr": "PET and MR",
    "prostate": "Prostate",
    "ultrasound": "Ultrasound",
    "generic": "Generic",
    "pictures-255": "Pictures",
}
FIRST_FIELDS = {"normalise": ("low", "high")}  # of a step with many settings, those that are asked at once
PANE_HEIGHT_PX = 190


def recipe_form(modalities: Sequence[str], usual: str = "generic") -> PrepareConfig:
    """A recipe, and the settings of its steps.

    Args:
        usual: the recipe that is chosen at first.

    Raises:
        InvalidConfigError: A setting does not fit.
    """
    recipe = st.segmented_control(
        "Recipe",
        list(RECIPES),
        default=usual,
        format_func=lambda name: RECIPE_TITLES.get(name, name),
        key="recipe",
        required=True,
        help="A starting point: settings that fit a kind of image. Every one can be changed below.",
    )
    recipe = str(recipe or usual)
    st.caption(RECIPE_SUMMARIES[recipe])
    values: dict[str, Any] = {}
    for name, step in STEPS.items():
        if not step.Config.model_fields:
            continue
        st.markdown(f"**{step.title}**", help=step.summary)
        values[name] = settings_form(
            step.Config,
            key=f"{recipe}-{name}",
            values=getattr(RECIPES[recipe], name).model_dump(),
            basic=FIRST_FIELDS.get(name),
            choices={"reference": ("", *modalities)},
        )
    return build(PrepareConfig, values)


@st.cache_resource(max_entries=2, ttl=600, show_spinner="Preparing one image")
def _views(folder: str, case_id: str, modality: str, config: str, stamp: float) -> Sequence[Stage]:
    """All steps of one image; `stamp` is the time of the case's record."""
    del stamp
    return preview(Cohort(Path(folder)), case_id, modality, PrepareConfig.model_validate_json(config))


def images_of(cohort: Cohort, case_id: str) -> list[str]:
    """The modalities of a case that are images, not label maps."""
    return [m for m, facts in cohort.describe(case_id)["volumes"].items() if facts["unit"] != LABEL_UNIT]


def steps_view(cohort: Cohort, case_id: str, config: PrepareConfig) -> None:
    """One image as imported and after each step, with its histogram before and after."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        modality = st.segmented_control(
            "Modality", images := images_of(cohort, case_id), default=images[0], required=True, key=f"steps-{images}"
        )
        plane: Plane = st.segmented_control(
            "Plane", PLANES, default="axial", format_func=str.capitalize, required=True, key="steps-plane"
        )
    stamp = (cohort.folder / case_id / "case.json").stat().st_mtime
    views = _views(str(cohort.folder), case_id, str(modality or images[0]), config.model_dump_json(), stamp)
    name = str(modality or images[0])
    _pictures(views, name, plane or "axial", config)
    _histograms(views[0].piece.volumes[name], views[-1].piece.volumes[name], views[-1].piece.mask)


def _pictures(views: Sequence[Stage], modality: str, plane: Plane, config: PrepareConfig) -> None:
    first, grid = views[0].piece.volumes[modality], views[-1].piece.volumes[modality]
    axis = slice_axis(plane)
    n = grid.data.shape[axis]
    index = n // 2
    if n > 1:
        tip = "Which slice of the prepared image; the others show the same place."
        index = st.slider("Slice", 0, n - 1, n // 2, key=f"steps-slice-{plane}-{n}", help=tip)
    centre = [(size - 1) / 2 for size in grid.data.shape]
    centre[axis] = index
    point = grid.affine @ [*centre, 1.0]
    window, prepared = default_window(first), PREPARED
    if first.unit == "HU":
        low, high = config.normalise.ct_low, config.normalise.ct_high
        prepared = scaled(window, high - low, low)
    for cell, view in zip(st.columns(len(views), gap="small"), views, strict=True):
        volume = view.piece.volumes[modality]
        is_scaled = view.step == "normalise"
        colours = default_colours(volume.modality, volume.unit)
        shown = prepared if is_scaled else window
        voxel = np.rint(np.linalg.inv(volume.affine) @ point)[:3].astype(int)
        at = int(np.clip(voxel[slice_axis(plane)], 0, volume.data.shape[axis] - 1))
        look = Look(plane, True, shown, colours, PANE_HEIGHT_PX)
        title = STEPS[view.step].title if view.step in STEPS else "As imported"
        with cell:
            st.markdown(f"**{title}**", help=STEPS[view.step].summary if view.step in STEPS else None)
            mask = view.piece.mask if view.step == "mask" else None
            st.image(webp(draw_outlined(volume.data, mask, volume.spacing_mm, at, look)), alt=f"{title}, {plane} slice")
            st.caption(f"{size_words(volume.data.shape)}  \n{spacing_words(volume.spacing_mm)}")


def _histograms(before: Volume, after: Volume, mask: Mask) -> None:
    inside = after.data[mask] if mask.any() else after.data
    left, right = st.columns(2)
    with left:
        st.markdown("**Before**", help="Intensities as imported, background left out")
        histogram_chart({before.modality: histogram_of(before.data)}, before.unit, "histogram-before", 210)
    with right:
        st.markdown("**After**", help="Intensities inside the mask, on the common scale of the dataset")
        histogram_chart({after.modality: histogram_of(inside)}, "scaled, 0 to 1", "histogram-after", 210)
