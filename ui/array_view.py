"""How arrays and films are to be read: where the axes run to, how far apart voxels are, drawn as it is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import streamlit as st

from core.errors import UserError
from core.ingest import Proposal
from core.readers.choice import Choice
from core.survey import as_chosen
from ui.errors import show_error
from ui.glimpse_view import glimpse_of, planes
from ui.import_table import Sheet, named_modality
from ui.state import State
from ui.words import count_words, size_words

ENDS = {"R": "Right", "L": "Left", "A": "Front", "P": "Back", "S": "Head", "I": "Feet"}
AXES = ("First axis", "Second axis", "Third axis")
USUAL = "RAS"
RIGHT_TIP = (
    "Tick it when front, back, head and feet stand where the letters say. Left and right look alike: ask whoever "
    "made the array. Unticked, the doubt stays with the image."
)
AXIS_TIP = "Where the array's axis runs to in the patient. Two axes cannot run along the same direction."
HEIGHT_PX = 300


@dataclass
class Readings:
    """What was said of each array or film of one look at files; widgets forget when another file is shown."""

    folder: str
    choices: dict[str, Choice] = field(default_factory=dict)


def asked_of(proposals: Sequence[Proposal], layout: str) -> list[Proposal]:
    """Those whose files do not say how they are to be read; in stacks of pictures nothing is left to say."""
    return [p for p in proposals if p.frames > 1 or (p.reader == "array" and len(p.shape) == 3 and layout == "auto")]


def readings_of(folder: str) -> Readings:
    """What was said so far."""
    readings = st.session_state.get(State.READINGS)
    if not isinstance(readings, Readings) or readings.folder != folder:
        readings = st.session_state[State.READINGS] = Readings(folder)
    return readings


def array_view(asked: Sequence[Proposal], folder: Path, sheet: Sheet) -> None:
    """A form on the left; on the right the image as the form has it, at once."""
    readings = readings_of(folder.name)
    by_key = {proposal.key: proposal for proposal in asked}
    left, right = st.columns([2, 3], gap="medium")
    with left:
        key = st.selectbox(
            "File", list(by_key), format_func=lambda name: by_key[name].label, key="reading",
            help="These files do not say all that is needed to read them",
        )  # fmt: skip
        proposal = by_key[key]
        said = readings.choices.get(key, _usual(proposal))
        choice = _form(proposal, said, sheet)
        readings.choices[key] = choice if _is_sure(proposal, choice, said) else replace(choice, axes="")
        _for_all(proposal, readings.choices[key], asked, readings)
    with right:
        _picture(proposal, choice, folder)


def _usual(proposal: Proposal) -> Choice:
    spacing = (*proposal.spacing_mm, 1.0, 1.0, 1.0)[:3]
    return Choice(proposal.case, proposal.modality, spacing_mm=spacing if proposal.reader == "array" else ())


def _is_sure(proposal: Proposal, choice: Choice, said: Choice) -> bool:
    """Whether a person stands by the axes: they were changed, or found right."""
    if proposal.reader != "array" or choice.axes != USUAL:
        return True
    return st.checkbox("The picture lies right", said.axes == USUAL, key=f"right-{proposal.key}", help=RIGHT_TIP)


def _form(proposal: Proposal, choice: Choice, sheet: Sheet) -> Choice:
    if proposal.reader != "array":
        return _film_form(proposal, choice)
    st.caption(f"{size_words(proposal.shape)} voxels. Correct what the picture shows wrongly.")
    modality = _modality(proposal.key, sheet)
    axes = [_axis(cell, n, proposal.key, choice) for n, cell in enumerate(st.columns(3))]
    i, j, k = [_spacing(cell, n, proposal.key, choice) for n, cell in enumerate(st.columns(3))]
    factor, offset = st.columns(2)
    tip = "Value = stored number x factor + offset"
    slope = factor.number_input("Factor", value=choice.slope, key=f"slope-{proposal.key}", help=tip)
    tip = "Such as -1024 to turn stored numbers into HU"
    intercept = offset.number_input("Offset", value=choice.intercept, key=f"offset-{proposal.key}", help=tip)
    scaled = replace(choice, modality=modality, slope=slope, intercept=intercept)
    return replace(scaled, axes="".join(axes), spacing_mm=(i, j, k))


def _modality(key: str, sheet: Sheet) -> str:
    """The table's modality, which can be written here too."""
    widget = f"reading-modality-{key}"
    st.session_state[widget] = str(sheet.edited.at[key, "modality"])
    text = st.text_input(
        "Modality", key=widget, max_chars=64, help="Such as T1, CT, PET; values of CT must be Hounsfield units",
        on_change=lambda: sheet.change(key, "modality", st.session_state[widget]),
    )  # fmt: skip
    return named_modality(text)


def _axis(cell: Any, n: int, key: str, choice: Choice) -> str:
    letter: str = cell.selectbox(
        f"{AXES[n]} to",
        list(ENDS),
        list(ENDS).index((choice.axes or USUAL)[n]),
        ENDS.__getitem__,
        f"axis-{n}-{key}",
        AXIS_TIP,
    )
    return letter


def _spacing(cell: Any, n: int, key: str, choice: Choice) -> float:
    size: float = cell.number_input(
        "Spacing (mm)" if n == 0 else "mm", 0.001, 100.0, choice.spacing_mm[n], 0.1, "%.3g", f"mm-{n}-{key}",
        "From one voxel's middle to the next",
    )  # fmt: skip
    return size


def _film_form(proposal: Proposal, choice: Choice) -> Choice:
    if "TIME-POINTS" in proposal.codes:
        st.caption(f"The series holds {count_words(proposal.frames, 'volume')} of the same place, in this order.")
    else:
        st.caption(f"The file holds {count_words(proposal.frames, 'frame')}, which it does not place in the patient.")
    tip = "Off: one frame is imported"
    if st.toggle("Each frame a case", choice.each_frame, key=f"each-{proposal.key}", help=tip):
        return replace(choice, each_frame=True, frame=-1)
    frame = st.number_input(
        "Frame", 1, proposal.frames, choice.frame + 1 or None, key=f"frame-{proposal.key}",
        placeholder="Chosen for you", help="Which frame is imported",
    )  # fmt: skip
    return replace(choice, each_frame=False, frame=int(frame) - 1 if frame else -1)


def _for_all(proposal: Proposal, choice: Choice, asked: Sequence[Proposal], readings: Readings) -> None:
    """The same axes, spacing and scaling for every array of the upload."""
    others = [p for p in asked if p.reader == proposal.reader == "array" and p.key != proposal.key]
    tip = "Axes, spacing and scaling; each keeps its own modality"
    if others and st.button(f"Use for all {len(others) + 1} arrays", icon=":material/done_all:", help=tip):
        for other in others:
            readings.choices[other.key] = replace(choice, case=other.case, modality=other.modality)
        st.toast("Used for all arrays.")
        st.rerun()


def _picture(proposal: Proposal, choice: Choice, folder: Path) -> None:
    glimpse = glimpse_of(str(folder), proposal)
    if glimpse is None:
        st.caption("This image was not drawn: the upload holds very many.")
        return
    try:
        planes(as_chosen(glimpse, choice) if proposal.reader == "array" else glimpse.volume, HEIGHT_PX)
    except UserError as error:
        show_error(error)
    if proposal.reader != "array":
        st.caption("The picture shows the frame that is taken unless you choose another.")


def readings_for(proposals: Sequence[Proposal], folder: str) -> Mapping[str, Choice]:
    """Key -> what was said, for those of which something was."""
    said = readings_of(folder).choices
    return {proposal.key: said[proposal.key] for proposal in proposals if proposal.key in said}
