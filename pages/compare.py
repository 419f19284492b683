"""Compare: a case, what is given, what is made of it; source, truth, synthesis and difference side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from core.remembered import file_stamp
from core.runs import list_runs
from ui.bars_view import OFF, choose_bars, with_doubt
from ui.comparison import caveat, metric_row, panes_of, scale_note
from ui.empty import empty_state
from ui.errors import guard
from ui.explain_view import explain_view
from ui.frame import page_header
from ui.loaded_run import comparison, doubt_of, doubt_stamp, loaded_run
from ui.pickers import case_picker, choose, modality_boxes, run_picker
from ui.run_form import makes_images
from ui.slice_view import Pane, pack, slice_view
from ui.state import State, workspace
from ui.style import simulated_badge

if TYPE_CHECKING:
    from core.compare import CompareResult
    from core.dataset import Dataset
    from core.synthesis import LoadedRun
    from core.types import Array

PARTS = {"test": "held out", "val": "watched in training", "train": "training"}


def choose_case(loaded: LoadedRun) -> str | None:
    """Held-out cases first; each with the part that it played in the training."""
    split = loaded.split
    parts = {case_id: part for part in PARTS for case_id in getattr(split, part)}
    return case_picker([*split.test, *split.val, *split.train], marks={c: PARTS[p] for c, p in parts.items()})


def choose_pair(loaded: LoadedRun, case_id: str) -> tuple[tuple[str, ...], str | None]:
    """What is given, and the target."""
    from core.synthesis import supported_targets

    has = loaded.dataset.record(case_id)["modalities"]
    given = modality_boxes("Given", [m for m in loaded.learnt if m in has], State.GIVEN)
    if not given:
        st.info("Tick at least one given modality.", icon=":material/check_box:")
        return given, None
    makes = supported_targets(loaded, given)
    targets = sorted(makes, key=lambda m: m in given)  # what is given comes last
    if not targets:
        st.info("This model makes nothing from that combination. Give one modality alone.", icon=":material/block:")
        return given, None
    words = {m: f"{m} (reconstruction)" if m in given else m if m in has else f"{m} (not acquired)" for m in targets}
    return given, choose("Target", targets, State.TARGET, words.__getitem__)


def remarks(loaded: LoadedRun, case_id: str, given: tuple[str, ...], target: str, result: CompareResult) -> None:
    """What a person must know to read the picture rightly."""
    notes = []
    if case_id in loaded.split.train:
        notes.append("The model was trained on this case: it looks better here than on a new patient.")
    if not loaded.model.paired:
        notes.append("Learnt without pairs: the model never saw two modalities of one slice together.")
    if result.target is None:
        notes.append(f"{target} was not acquired for this case, so there is no truth to compare with.")
    if warning := caveat(given, target):
        notes.append(warning)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if loaded.dataset.is_simulated:
            simulated_badge()
        for note in notes:
            st.markdown(f":orange[:material/warning:] :small[{note}]", width="content")


def download(loaded: LoadedRun, case_id: str, given: tuple[str, ...], target: str, result: CompareResult) -> None:
    """The synthesis as NIfTI, made when it is asked for."""

    def nifti() -> bytes:
        from core.export import synthesis_bytes
        from core.synthesis import to_unit

        return synthesis_bytes(to_unit(loaded.dataset, case_id, target, result.synthesis))

    name = f"{case_id}_{target}_from_{'-'.join(given)}.nii.gz"
    st.download_button(
        "Save synthesis as NIfTI", nifti, name, "application/gzip", icon=":material/download:", width="stretch"
    )


@st.cache_resource(max_entries=16, show_spinner=False)
def drawn(
    key: tuple[str, ...], _result: CompareResult, _dataset: Dataset, case_id: str, target: str, _doubt: Array | None
) -> tuple[list[Pane], bytes]:
    """The panes, and as the browser gets them; `key` says all that they depend on."""
    panes = with_doubt(panes_of(_result, _dataset, case_id, target), _doubt, key[0], _result)
    note = scale_note(_result.unit)
    return panes, pack(panes, _dataset.affine(case_id), ("target", "synthesis"), note, _result.mask)


def page() -> None:
    place = workspace()
    choices, picture = st.columns([1, 4], gap="medium")
    with choices:
        run = run_picker(suits=lambda run: run.has_weights and makes_images(run))
        if run is None:
            st.info("The trained runs here make no images. Their codes are on Latent.")
            return
        loaded = loaded_run(place, run)
        case_id = choose_case(loaded)
        given, target = choose_pair(loaded, case_id) if case_id else ((), None)
    if not case_id or not target:
        return
    result = comparison(place, run, case_id, given, target)
    with choices:
        if result.metrics:
            metric_row(result)
        rule, pair = choose_bars(run, given, target, case_id in loaded.split.test)
        download(loaded, case_id, given, target, result)
    with picture:
        remarks(loaded, case_id, given, target, result)
        bars = "" if rule == OFF else doubt_stamp(run)
        weights = file_stamp(run.weights_path)
        key = (rule, bars, str(loaded.dataset.folder), run.id, weights, loaded.dataset.fingerprint, *given)
        doubt = doubt_of(place, run, case_id, pair, rule) if pair and rule != OFF else None
        panes, payload = drawn(key, result, loaded.dataset, case_id, target, doubt)
        slice_view(panes, loaded.dataset.affine(case_id), payload, result.mask)
        explain_view(loaded, case_id, given, target)


page_header("Compare", "Look at what a model made, beside what was really there.")
with guard():
    if any(run.has_weights for run in list_runs(workspace())):
        page()
    else:
        empty_state(
            "No trained run yet",
            "Train a model on the Train page, or open the demo on Home: it brings a trained run.",
            ":material/model_training:",
        )
