"""Sample reconstructions of a run, step by step: what was given, what was made, what is really there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from core.dataset import Dataset
from core.display import PREPARED, prepared_window
from core.errors import UserError
from core.render import Look, Spacing, Window, default_colours, draw_slice, webp
from core.runs import Run
from ui.state import workspace
from ui.style import modality_chip

HEIGHT_PX = 170
MAX_COLUMNS = 7
Pictures = dict[str, NDArray[np.float32]]


@st.cache_data(max_entries=16, show_spinner=False)
def _pictures(path: str, stamp: float) -> Pictures:
    """One preview file: a few small slices. `stamp` is the file's time."""
    del stamp
    with np.load(path, allow_pickle=False) as arrays:
        return {key: arrays[key].astype(np.float32) for key in arrays.files}


def run_pictures(run: Run) -> None:
    """One slider over all steps; the modality that is given; a row as made, a row as it really is."""
    previews = {int(path.stem): path for path in run.previews}
    if not previews:
        st.caption("The first pictures come after a while.")
        return
    pictures = _read(previews[_step(run.id, list(previews))])
    sources = [key.removeprefix("source__") for key in pictures if key.startswith("source__")]
    sources = [m for m in sources if any(key.startswith(f"{m}__") for key in pictures)]
    if not sources:
        st.caption("This model makes no modality from a single other one.")
        return
    given = st.segmented_control(
        "Given", sources, default=sources[0], key=f"preview-given-{run.id}-{len(sources)}", required=True,
        help="The one modality that the model is shown here",
    ) or sources[0]  # fmt: skip
    _rows(run, pictures, given)


def _step(run_id: str, steps: list[int]) -> int:
    """The slider; it follows the newest step until the person moves it."""
    if len(steps) == 1:
        st.caption(f"Step {steps[0]}")
        return steps[0]
    key, held = f"preview-step-{run_id}", f"preview-held-{run_id}"
    if not st.session_state.get(held) or st.session_state.get(key) not in steps:
        st.session_state[key] = steps[-1]

    def hold() -> None:
        st.session_state[held] = st.session_state[key] != steps[-1]

    tip = "Goes through the whole training. At the right end it follows what is newest."
    return int(st.select_slider("Step", steps, key=key, on_change=hold, help=tip))


def _read(path: Path) -> Pictures:
    return _pictures(str(path), path.stat().st_mtime)


def _rows(run: Run, pictures: Pictures, given: str) -> None:
    setting = _setting(run)
    targets = [key.removeprefix(f"{given}__") for key in pictures if key.startswith(f"{given}__")]
    shown = [given, *[target for target in targets if target != given], *[t for t in targets if t == given]]
    cells = st.columns(max(len(shown), 4), gap="small")
    for n, (cell, modality) in enumerate(zip(cells, shown, strict=False)):
        with cell:
            modality_chip(modality)
            if n == 0:
                _pane(pictures[f"source__{given}"], given, "Given", setting)
                continue
            is_same = modality == given
            made = "Made again from itself" if is_same else f"Made from {given}"
            _pane(pictures[f"{given}__{modality}"], modality, made, setting)
            _pane(pictures[f"target__{modality}"], modality, "As it is", setting)
    if setting.whose:
        st.caption(f"{setting.whose} Held-out cases are shown on Compare.")


@dataclass(frozen=True)
class Setting:
    """What the pictures' dataset says of them; square pixels and the whole scale where it is gone."""

    spacing_mm: Spacing = (1.0, 1.0, 1.0)
    units: Mapping[str, str] = field(default_factory=dict)
    windows: Mapping[str, Window] = field(default_factory=dict)
    whose: str = ""


def _setting(run: Run) -> Setting:
    config = run.config
    try:
        dataset = Dataset.open(workspace(), config.dataset)
        is_watched = bool(dataset.split_of(config).val)
    except UserError:
        return Setting()
    whose = "One slice of a case that is only watched." if is_watched else "One slice of a case that is learnt from."
    units = {m: dataset.unit(m) for m in dataset.modalities}
    return Setting(dataset.spacing_mm, units, {m: prepared_window(dataset, m) for m in units}, whose)


def _pane(picture: NDArray[np.float32], modality: str, words: str, setting: Setting) -> None:
    colours = default_colours(modality, setting.units.get(modality, ""))
    look = Look("axial", True, setting.windows.get(modality, PREPARED), colours, HEIGHT_PX)
    drawn = draw_slice(picture[:, :, None], setting.spacing_mm, 0, look)
    st.image(webp(drawn), alt=f"{modality}: {words}")
    st.caption(words)
