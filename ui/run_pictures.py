"""Sample reconstructions of a run, step by step: what was given, what was made, what is really there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from core.dataset import Dataset
from core.errors import UserError
from core.render import Look, Spacing, Window, default_colours, draw_slice, webp
from core.runs import Run
from ui.state import workspace
from ui.style import modality_chip

HEIGHT_PX = 200
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
        st.caption("This model makes no modality from a single other one; look at it on Compare.")
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
    spacing, units, whose = _context(run)
    targets = [key.removeprefix(f"{given}__") for key in pictures if key.startswith(f"{given}__")]
    shown = [given, *[target for target in targets if target != given], *[t for t in targets if t == given]]
    cells = st.columns(max(len(shown), 4), gap="small")
    for n, (cell, modality) in enumerate(zip(cells, shown, strict=False)):
        with cell:
            modality_chip(modality)
            if n == 0:
                _pane(pictures[f"source__{given}"], given, "Given", spacing, units)
                continue
            is_same = modality == given
            made = "Made again from itself" if is_same else f"Made from {given}"
            _pane(pictures[f"{given}__{modality}"], modality, made, spacing, units)
            _pane(pictures[f"target__{modality}"], modality, "As it is", spacing, units)
    if whose:
        st.caption(f"{whose} Held-out cases are shown on Compare.")


def _pane(picture: NDArray[np.float32], modality: str, words: str, spacing: Spacing, units: dict[str, str]) -> None:
    look = Look("axial", True, Window(0.0, 1.0), default_colours(modality, units.get(modality, "")), HEIGHT_PX)
    st.image(webp(draw_slice(picture[:, :, None], spacing, 0, look)), alt=f"{modality}: {words}")
    st.caption(words)


def _context(run: Run) -> tuple[Spacing, dict[str, str], str]:
    """Spacing, units, and whose slice it is; square pixels where the dataset is gone."""
    config = run.config
    try:
        dataset = Dataset.open(workspace(), config.dataset)
        is_watched = bool(dataset.split(config.seed, config.fold, config.n_folds).val)
    except UserError:
        return (1.0, 1.0, 1.0), {}, ""
    whose = "One slice of a case that is only watched." if is_watched else "One slice of a case that is learnt from."
    return dataset.spacing_mm, {m: dataset.unit(m) for m in dataset.modalities}, whose
