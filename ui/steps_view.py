"""Prepare: the recipe as a form, and what each of its steps does to one image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from core.cohort import Cohort
from core.config import build
from core.display import PREPARED, draw_outlined, scaled
from core.prepare import is_slow, preview
from core.preprocess.intensity import NormaliseConfig
from core.preprocess.steps import STEPS
from core.recipes import RECIPE_SUMMARIES, RECIPES, PrepareConfig, recipe_from_text, recipe_to_text
from core.render import PLANES, Look, Plane, Window, default_colours, slice_axis, webp
from core.runs import ENDED, Job, list_jobs
from core.stage_files import View, has_views, is_left_out, load_views, views_of
from core.types import LABEL_UNIT
from ui.case_view import stamp_of
from ui.histogram import Histogram, histogram_chart, histogram_of
from ui.jobs_banner import start_job
from ui.settings_form import settings_form
from ui.state import State, workspace
from ui.windows import default_window
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
    "loaded": "Loaded from a file",
}
LOADED = "loaded"
FIRST_STEPS = ("align", "resample", "mask", "normalise")  # what most people set; the others wait below
FIRST_FIELDS = {"normalise": ("mr", "low", "high")}  # of a step with many settings, those that are asked at once
LEFT_OUT = (
    "This image shows nothing of the one that the others follow, so it is left out of the dataset. Choose another "
    "reference, or turn the alignment on."
)
PANE_HEIGHT_PX = 190
PANES_A_ROW = 5  # or one more, so that none stands alone


def recipe_picker(usual: str = "generic") -> tuple[str, PrepareConfig]:
    """The name of a recipe and its settings; `usual` is chosen at first."""
    offered = dict(RECIPES)
    loaded = st.session_state.get(State.RECIPE)
    if loaded is not None:
        offered[LOADED] = loaded
    recipe = st.selectbox(
        "Recipe",
        list(offered),
        index=list(offered).index(usual),
        format_func=lambda name: RECIPE_TITLES.get(name, name),
        key=f"recipe-{loaded is not None}",
        help="A starting point: settings that fit a kind of image. Every one can be changed below.",
    )
    st.caption(RECIPE_SUMMARIES.get(recipe, "The recipe that you loaded from a file."))
    return recipe, offered[recipe]


def recipe_form(recipe: str, start: PrepareConfig, modalities: Sequence[str]) -> PrepareConfig:
    """The settings of a recipe's steps.

    Raises:
        InvalidConfigError: A setting does not fit.
    """
    values: dict[str, Any] = {}
    for name in FIRST_STEPS:
        values[name] = _step_form(name, recipe, start, modalities)
    others = [name for name, step in STEPS.items() if name not in FIRST_STEPS and step.Config.model_fields]
    is_on = [STEPS[name].title for name in others if STEPS[name].is_on(getattr(start, name))]
    with st.expander(f"More steps{': ' + ', '.join(is_on) + ' on' if is_on else ', all off'}", icon=":material/tune:"):
        for name in others:
            values[name] = _step_form(name, recipe, start, modalities)
    config = build(PrepareConfig, values)
    _recipe_file(recipe, config)
    return config


def _step_form(name: str, recipe: str, start: PrepareConfig, modalities: Sequence[str]) -> dict[str, Any]:
    step = STEPS[name]
    st.markdown(f"**{step.title}**", help=step.summary)
    return settings_form(
        step.Config,
        key=f"{recipe}-{name}",
        values=getattr(start, name).model_dump(),
        basic=FIRST_FIELDS.get(name),
        choices={"reference": ("", *modalities)},
    )


def _recipe_file(name: str, config: PrepareConfig) -> None:
    """Save these settings, or load others."""
    with st.popover("Save or load", icon=":material/description:", help="A recipe is a small JSON file to share"):
        st.download_button(
            "Save this recipe", recipe_to_text(name, config), f"recipe-{name}.json", "application/json",
            icon=":material/download:", help="Every setting as it stands now",
        )  # fmt: skip
        file = st.file_uploader("Load a recipe", type="json", key="recipe-file", help="A file that was saved here")
        if file is not None and st.button("Use it", help="Its settings become the starting point"):
            st.session_state[State.RECIPE] = recipe_from_text(file.getvalue().decode(errors="replace"))[1]
            st.rerun()


@dataclass(frozen=True, eq=False)
class Steps:
    """What a recipe does to one image: `key` says all that it depends on, `read` gives it."""

    key: tuple[str, ...]
    read: Callable[[], Sequence[View]]


@dataclass(frozen=True)
class Overview:
    """What is told of all steps together: the prepared image's shape, and histograms before and after."""

    is_left_out: bool
    shape: tuple[int, ...]
    unit: str
    before: Histogram
    after: Histogram


@dataclass(frozen=True)
class Drawn:
    """One pane."""

    title: str
    tip: str | None
    picture: bytes
    caption: str


@st.cache_resource(max_entries=4, ttl=600, show_spinner="Preparing one image")
def _views(_cohort: Cohort, case_id: str, modality: str, config: str, stamp: str) -> Sequence[View]:
    """All steps of one image."""
    return views_of(preview(_cohort, case_id, modality, PrepareConfig.model_validate_json(config)), modality)


@st.cache_data(max_entries=128, ttl=600, show_spinner=False)
def _overview(key: tuple[str, ...], _read: Callable[[], Sequence[View]]) -> Overview:
    views = _read()
    first, last = views[0].volume, views[-1]
    inside = last.volume.data[last.mask] if last.mask.any() else last.volume.data
    shape = last.volume.data.shape
    return Overview(is_left_out(views), shape, first.unit, histogram_of(first.data), histogram_of(inside))


@st.cache_data(max_entries=128, ttl=600, show_spinner=False)
def _drawn(
    key: tuple[str, ...], _read: Callable[[], Sequence[View]], plane: Plane, index: int, normalise: str
) -> list[Drawn]:
    """Every step at the same place in the patient."""
    views = _read()
    first, grid = views[0].volume, views[-1].volume
    centre = [(size - 1) / 2 for size in grid.data.shape]
    centre[slice_axis(plane)] = index
    point = grid.affine @ [*centre, 1.0]
    window, settings = default_window(first), NormaliseConfig.model_validate_json(normalise)
    prepared = PREPARED
    if first.unit == "HU" and settings.method_of(first) == "window":
        prepared = scaled(window, settings.ct_high - settings.ct_low, settings.ct_low)
    return [_pane(view, plane, point, prepared if view.step == "normalise" else window) for view in views]


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
    name = str(modality or images[0])
    found = _tried if is_slow(config) else _at_once
    steps = found(cohort, case_id, name, config)
    if steps is None:
        return
    told = _overview(steps.key, steps.read)
    if told.is_left_out:
        st.warning(LEFT_OUT, icon=":material/visibility_off:")
    _pictures(steps, told, plane or "axial", config)
    if not told.is_left_out:
        _histograms(name, told)


def _at_once(cohort: Cohort, case_id: str, modality: str, config: PrepareConfig) -> Steps:
    said = (case_id, modality, config.model_dump_json(), stamp_of(cohort, case_id))
    return Steps(said, lambda: _views(cohort, *said))


def _tried(cohort: Cohort, case_id: str, modality: str, config: PrepareConfig) -> Steps | None:
    """The last try of this very recipe on this image; else a button that starts one."""
    wanted = {"cohort": cohort.name, "case": case_id, "modality": modality, "recipe": config.model_dump(mode="json")}
    tries = [job for job in list_jobs(workspace()) if job.kind == "preview"]
    job = next((job for job in tries if job.params == wanted), None)
    if job is not None and job.state == "finished" and has_views(job.folder):
        return Steps((str(job.folder),), partial(load_views, job.folder))
    if job is not None and job.state not in ENDED:
        st.info("The recipe is being tried on this image. The pictures come here when that is done.")
        return None
    if job is not None and job.status.error:
        st.error(job.status.error)
    st.caption("Some steps of this recipe take seconds a case, so they are tried on demand.")
    tip = "Runs all steps on this case and shows this image after each"
    if st.button("Try on this image", icon=":material/science:", help=tip):
        _forget(tries)
        start_job("preview", dict(wanted))
        st.rerun()
    return None


def _forget(tries: Sequence[Job]) -> None:
    """Earlier tries take room and are of no more use."""
    for job in tries:
        if job.state in ENDED:
            job.delete()


def _pictures(steps: Steps, told: Overview, plane: Plane, config: PrepareConfig) -> None:
    n = told.shape[slice_axis(plane)]
    index = n // 2
    if n > 1:
        tip = "Which slice of the prepared image; the others show the same place."
        index = st.slider("Slice", 0, n - 1, n // 2, key=f"steps-slice-{plane}-{n}", help=tip)
    panes = _drawn(steps.key, steps.read, plane, index, config.normalise.model_dump_json())
    n_columns = PANES_A_ROW + (len(panes) % PANES_A_ROW == 1)
    for start in range(0, len(panes), n_columns):
        row = panes[start : start + n_columns]
        for cell, pane in zip(st.columns(n_columns, gap="small"), row, strict=False):
            with cell:
                st.markdown(f"**{pane.title}**", help=pane.tip)
                st.image(pane.picture, alt=f"{pane.title}, {plane} slice")
                st.caption(pane.caption)


def _pane(view: View, plane: Plane, point: NDArray[np.float64], window: Window) -> Drawn:
    """One image after one step, at the same place in the patient as the others."""
    volume, axis = view.volume, slice_axis(plane)
    voxel = np.rint(np.linalg.inv(volume.affine) @ point)[:3].astype(int)
    at = int(np.clip(voxel[axis], 0, volume.data.shape[axis] - 1))
    look = Look(plane, True, window, default_colours(volume.modality, volume.unit), PANE_HEIGHT_PX)
    step = STEPS.get(view.step)
    mask = view.mask if view.step == "mask" else None
    picture = webp(draw_outlined(volume.data, mask, volume.spacing_mm, at, look))
    took = f"  \n{view.seconds:.1f} s" if view.seconds >= 0.05 else ""
    caption = f"{size_words(volume.data.shape)}  \n{spacing_words(volume.spacing_mm)}{took}"
    return Drawn(step.title if step else "As imported", step.summary if step else None, picture, caption)


def _histograms(modality: str, told: Overview) -> None:
    left, right = st.columns(2)
    with left:
        st.markdown("**Before**", help="Intensities as imported, background left out")
        histogram_chart({modality: told.before}, told.unit, "histogram-before", 210)
    with right:
        st.markdown("**After**", help="Intensities inside the mask, on the common scale of the dataset")
        histogram_chart({modality: told.after}, "scaled, 0 to 1", "histogram-after", 210)
