"""Compare: what the synthesis is based on, as colours over the given images; asked by a button, found once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from core.display import draw_heat, prepared_window
from core.regions import LESION
from core.render import Look, webp
from ui.errors import guard
from ui.loaded_run import INFERENCE
from ui.slice_view import looked_at
from ui.state import State
from ui.style import modality_chip

if TYPE_CHECKING:
    from core.explain import Explanation, Question
    from core.synthesis import LoadedRun

SQUARE, LESION_HERE, CODE, SHARES = "square", LESION, "code", "shares"
WORDS = {
    SQUARE: "Where the crosshair is",
    LESION_HERE: "The lesion in this slice",
    CODE: "A number of the code",
    SHARES: "Who shaped the code",
}
METHODS = {"gradients": "Slopes", "occlusion": "Covering"}
METHOD_TIP = (
    "Slopes: integrated gradients, fine and quick. Covering: one 12 mm block after the other is covered, coarse and "
    "slower, and true of any model."
)
PICTURE_PX = 300
STRONGEST = 99.5  # percentile of what is drawn in full colour
MISSING = 0.1  # of the change; from there on slopes are not to be trusted
KEPT = 8  # answers of a session


@st.fragment
def explain_view(loaded: LoadedRun, case_id: str, given: tuple[str, ...], target: str) -> None:
    """One row of controls; below them the answer, where these very modalities were asked about."""
    from core.explain import Question

    with st.container(border=True, key="cs-explain"):
        with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
            tip = "What is traced back to the given images, in the axial slice through the crosshair."
            kinds = _kinds(loaded, case_id, given)
            kind = st.selectbox(
                "Explain", kinds, format_func=WORDS.__getitem__, key="explain-kind", help=tip, width=240
            )
            asked = Question(case_id, given, target, looked_at(loaded.dataset.shape))
            asked = _narrowed(asked, kind)
            pressed = st.button("Explain", icon=":material/travel_explore:", key="explain", help="Takes some seconds")
        with guard():
            if pressed:
                _ask(loaded, asked, kind)
            _show(loaded, (loaded.run.id, case_id, given, target), kind)


def _kinds(loaded: LoadedRun, case_id: str, given: tuple[str, ...]) -> list[str]:
    """What can be asked of this model and case."""
    kinds = [SQUARE]
    if LESION in loaded.dataset.record(case_id)["label_maps"]:
        kinds.append(LESION_HERE)
    if loaded.model.can_embed:
        kinds.append(CODE)
    if len(given) > 1 and loaded.model.multiplies_experts:
        kinds.append(SHARES)
    return kinds


def _narrowed(asked: Question, kind: str) -> Question:
    """The further controls that this kind of question has."""
    if kind == SQUARE:
        tip = "Side of the square around the crosshair whose mean is explained; 1 mm is a single voxel."
        asked = replace(asked, side_mm=st.number_input("Side, mm", 1, 80, 10, key="explain-side", help=tip, width=110))
    elif kind == LESION_HERE:
        asked = replace(asked, region=LESION)
    elif kind == CODE:
        tip = "Counted from 1, as on Latent; the mean over the slice."
        number = st.number_input("Number", 1, 1024, 1, key="explain-number", help=tip, width=110)
        asked = replace(asked, dimension=number - 1)
    if kind == SHARES:
        return asked
    method: Any = st.segmented_control(
        "How", METHODS, default="gradients", format_func=METHODS.__getitem__, required=True, help=METHOD_TIP,
        key="explain-method",
    )  # fmt: skip
    return replace(asked, method=method or "gradients")


def _answers() -> dict[tuple[Any, ...], Any]:
    found: dict[tuple[Any, ...], Any] = st.session_state.setdefault(State.EXPLAINED, {})
    return found


def _ask(loaded: LoadedRun, asked: Question, kind: str) -> None:
    """Find the answer, unless this session has it already; it becomes the last one."""
    from core.explain import explain, precision_maps

    answers = _answers()
    key = ((loaded.run.id, asked.case_id, asked.given, asked.target), kind, asked, loaded.dataset.fingerprint)
    found = answers.pop(key, None)
    if found is None:
        bar = st.progress(0.0, text="Explaining")
        with INFERENCE:
            found = precision_maps(loaded, asked) if kind == SHARES else explain(loaded, asked, _told(bar))
        bar.empty()
    answers[key] = found
    for old in list(answers)[:-KEPT]:
        del answers[old]


def _told(bar: Any) -> Callable[..., None]:
    def progress(done: float, total: float, message: str = "") -> None:
        bar.progress(min(1.0, done / max(total, 1)), text=message or "Explaining")

    return progress


def _show(loaded: LoadedRun, about: tuple[Any, ...], kind: str) -> None:
    """The newest answer of this kind about this case, these modalities and this target."""
    keys = [key for key in _answers() if key[0] == about and key[1] == kind]
    if not keys:
        st.caption("Shows which places of the given images the answer comes from. Point somewhere, then press Explain.")
        return
    asked, found = keys[-1][2], _answers()[keys[-1]]
    if kind == SHARES:
        _show_shares(loaded, asked, found)
    else:
        _show_influence(loaded, asked, found)


def _show_influence(loaded: LoadedRun, asked: Question, found: Explanation) -> None:
    thing = f"number {asked.dimension + 1} of the code"
    if found.region is not None:
        thing = f"the synthesised {asked.target} inside the yellow line"
    said = f"**Orange** raises {thing}, **blue** lowers it, compared with evenly grey images."
    st.markdown(f"{said} Places without colour do not matter.")
    reach = max(float(np.percentile(np.abs(image), STRONGEST)) for image in found.maps.values()) or 1.0
    heats = {m: image / reach for m, image in found.maps.items()}
    words = {m: f"{share:.0%} of all influence" for m, share in found.shares.items()}
    _pictures(loaded, asked, heats, words, found.region)
    value, blank = (_said(loaded, asked, number) for number in (found.value, found.blank))
    st.caption(f"Axial slice {found.slice + 1}. Value {value}; {blank} from evenly grey images.")
    if abs(found.gap) > MISSING:
        st.caption(
            f":orange[:material/warning:] The colours leave {abs(found.gap):.0%} of the difference unexplained. "
            "Try Covering."
        )


def _said(loaded: LoadedRun, asked: Question, value: float) -> str:
    """In the target's unit where it has one."""
    from core.synthesis import physical_scale

    known = physical_scale(loaded.dataset, asked.case_id, asked.target) if asked.dimension < 0 else None
    if known is None:
        return f"{value:.3f}"
    return f"{value * known[0] + known[1]:.3g} {loaded.dataset.unit(asked.target)}"


def _show_shares(loaded: LoadedRun, asked: Question, found: Mapping[str, Any]) -> None:
    from core.models.base import PRIOR

    if not found:
        st.caption("For these modalities together the model has one encoder of its own: there are no single shares.")
        return
    inside = np.asarray(loaded.dataset.mask(asked.case_id)[:, :, asked.position[2]])
    means = {m: float(image[inside].mean() if inside.any() else image.mean()) for m, image in found.items()}
    prior = f" What no image tells: {means[PRIOR]:.0%}." if PRIOR in means else ""
    st.markdown(f"The **stronger the orange**, the more this modality decides of the shared code there.{prior}")
    heats = {m: np.where(inside, image, 0) for m, image in found.items() if m != PRIOR}
    _pictures(loaded, asked, heats, {m: f"decides {means[m]:.0%} on average" for m in heats}, None)
    st.caption(
        f"Axial slice {asked.position[2] + 1}. Share of the precision of the fused posterior, mean over its numbers."
    )


def _pictures(
    loaded: LoadedRun, asked: Question, heats: Mapping[str, Any], words: Mapping[str, str], region: Any
) -> None:
    """Every given image with its colours."""
    dataset, k = loaded.dataset, asked.position[2]
    with st.container(horizontal=True, gap="small"):
        for m, heat in heats.items():
            with st.container(width="content", gap="xxsmall"):
                modality_chip(m)
                look = Look(window=prepared_window(dataset, m), height_px=PICTURE_PX)
                image = np.array(dataset.volume(asked.case_id, m)[:, :, k : k + 1])
                outline = None if region is None else region[:, :, None]
                picture = draw_heat(image, heat[:, :, None], outline, dataset.spacing_mm, look)
                st.image(webp(picture), caption=words[m], alt=f"{m}, slice {k}, with the places that count")
