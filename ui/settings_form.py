"""Draws any settings class as a form section: one widget per field, with its limits, default and help text.

`values = settings_form(MODELS[name].Config, key=name)`, then `build(Config, values)`. Works in `st.form` and outside.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

import streamlit as st
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from core.config import Settings

SPOKEN = {  # where the name is no word
    "lr": "Learning rate",
    "n_folds": "Number of folds",
    "minutes": "Minutes a training",
    "n_subsets": "Random subsets",
    "latent_dim": "Latent size",
    "warmup_steps": "Warm-up steps",
    "n_layers": "Layers",
    "n_shared": "Shared layers",
    "n_scales": "Judged sizes",
    "l1_weight": "L1 weight",
    "discriminator_width": "Judge's width",
    "discriminator_halvings": "Judge's halvings",
    "pool": "Pool of images",
    "spacing_mm": "Voxel size (mm)",
    "mr": "MR and others",
    "ct": "CT",
    "pet": "PET",
    "us": "Ultrasound",
    "z_reach": "z-score: reach",
    "range_db": "Dynamic range (dB)",
    "to_db": "To decibels",
    "white_percentile": "White at percentile",
    "low": "Low percentile",
    "high": "High percentile",
    "ct_low": "CT: 0 at (HU)",
    "ct_high": "CT: 1 at (HU)",
    "suv_high": "PET: 1 at (SUV)",
    "max_minutes": "Time limit (minutes)",
    "init_from": "Start from",
    "freeze": "Keep fixed",
    "infonce_weight": "InfoNCE weight",
    "preview_every": "Steps between previews",
    "judged": "Judge by",
    "stratify": "Spread evenly",
    "halving": "Stop the worse half early",
    "nested": "Nested estimate",
    "inner_folds": "Inner folds",
}

EMPTY_WORDS = {  # where an empty answer means this
    "freeze": "Nothing",
    "tasks": "None",
    "init_from": "Fresh weights",
    "judged": "All modalities",
    "stratify": "Modalities only",
}


@dataclass(frozen=True)
class Question:
    """One setting as a widget asks for it."""

    name: str
    kind: Any
    value: Any
    low: float | None
    high: float | None
    help: str
    key: str
    choices: Sequence[str]

    @property
    def label(self) -> str:
        return spoken(self.name)


def spoken(name: str) -> str:
    """A setting's name as a person reads it."""
    words = name.removesuffix("_mm").replace("_", " ").capitalize()
    return SPOKEN.get(name, f"{words} (mm)" if name.endswith("_mm") else words)


def settings_form(
    kind: type[Settings],
    key: str,
    values: Mapping[str, Any] | None = None,
    basic: Sequence[str] | None = None,
    choices: Mapping[str, Sequence[str]] | None = None,
    columns: int = 2,
) -> dict[str, Any]:
    """Draw the fields and return what is chosen, by name; nested settings as a nested dict.

    Args:
        values: starting values that differ from the class's own defaults.
        basic: fields shown at once, in this order; the others go under "More settings". None: all at once,
            except those whose field says `json_schema_extra={"advanced": True}`.
        choices: what a text (or a tuple of texts) may be, such as the modalities of a dataset.
    """
    start, offered = values or {}, choices or {}
    questions = [_question(n, f, start, offered.get(n, ()), key) for n, f in kind.model_fields.items() if _drawable(f)]
    if basic is None:
        first = [q for q in questions if not _is_advanced(kind.model_fields[q.name])]
    else:
        first = sorted((q for q in questions if q.name in basic), key=lambda q: list(basic).index(q.name))
    rest = [q for q in questions if q not in first]
    answers = _grid(first, columns)
    if rest:
        with st.expander("More settings", icon=":material/tune:"):
            for heading, together in _under_headings(kind, rest).items():
                if heading:
                    st.markdown(f"**{heading}**")
                answers |= _grid(together, columns)
    return answers


def _under_headings(kind: type[Settings], questions: Sequence[Question]) -> dict[str, list[Question]]:
    """Heading -> its questions; what stands under none comes last, under ""."""
    asked = {q.name: q for q in questions}
    named = {heading: [asked[n] for n in names if n in asked] for heading, names in kind.headings.items()}
    known = {name for names in kind.headings.values() for name in names}
    named[""] = [q for q in questions if q.name not in known]
    return {heading: together for heading, together in named.items() if together}


def _grid(questions: Sequence[Question], columns: int) -> dict[str, Any]:
    """Row by row, so that the tab key goes from left to right."""
    answers: dict[str, Any] = {}
    for start in range(0, len(questions), columns):
        cells = st.columns(columns, vertical_alignment="bottom")
        for cell, question in zip(cells, questions[start : start + columns], strict=False):
            with cell:
                answers[question.name] = _ask(question)
    return answers


def _question(name: str, field: FieldInfo, start: Mapping[str, Any], choices: Sequence[str], key: str) -> Question:
    default = field.get_default(call_default_factory=True)
    value = start.get(name, None if default is PydanticUndefined else default)
    low, high = _limits(field)
    return Question(name, field.annotation, value, low, high, _help(field, low, high), f"{key}-{name}", choices)


def _limits(field: FieldInfo) -> tuple[float | None, float | None]:
    low: float | None = None
    high: float | None = None
    for rule in field.metadata:
        low = getattr(rule, "ge", None) if hasattr(rule, "ge") else low
        high = getattr(rule, "le", None) if hasattr(rule, "le") else high
        if hasattr(rule, "gt"):  # number_input's limits are inclusive
            low = _just_beside(field, rule.gt, 1)
        if hasattr(rule, "lt"):
            high = _just_beside(field, rule.lt, -1)
    return low, high


def _just_beside(field: FieldInfo, limit: float, side: int) -> float:
    return limit + side if field.annotation is int else limit + side * 1e-9


def _help(field: FieldInfo, low: float | None, high: float | None) -> str:
    above = next((rule.gt for rule in field.metadata if hasattr(rule, "gt")), None)
    least = f"above {above:g}" if above is not None else f"from {low:g}" if low is not None else ""
    limits = [least, f"up to {high:g}" if high is not None else ""]
    said = " ".join(part for part in limits if part)
    return f"{field.description or ''}" + (f" ({said})" if said else "")


def _is_advanced(field: FieldInfo) -> bool:
    extra = field.json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("advanced"))


def _drawable(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is not dict and field.annotation is not dict


def _ask(q: Question) -> Any:
    """The widget for the question's type."""
    kind = q.kind
    if get_origin(kind) in (Union, types.UnionType):
        return _ask_optional(q)
    if get_origin(kind) is Literal:
        return _ask_one_of(q, get_args(kind))
    if get_origin(kind) is tuple:
        return _ask_tuple(q, get_args(kind))
    if isinstance(kind, type) and issubclass(kind, Settings):
        with st.container(border=True):
            st.markdown(f"**{q.label}**", help=q.help)
            return settings_form(kind, q.key, q.value.model_dump() if isinstance(q.value, Settings) else q.value)
    if kind is bool:
        return st.toggle(q.label, value=bool(q.value), help=q.help, key=q.key)
    if kind is int:
        return _ask_int(q)
    if kind is float:
        return _ask_float(q)
    return _ask_text(q)


def _ask_text(q: Question) -> str:
    """One of the choices, where there are any; nothing too, where that is how it starts."""
    if q.choices:
        return str(_ask_one_of(q, q.choices if q.value in q.choices else ("", *q.choices)))
    return st.text_input(q.label, str(q.value or ""), help=q.help, key=q.key)


def _ask_one_of(q: Question, options: Sequence[Any]) -> Any:
    index = list(options).index(q.value) if q.value in options else 0
    if len(options) <= 3 and all(options) and sum(len(str(option)) for option in options) < 24:
        chosen = st.segmented_control(q.label, options, default=options[index], help=q.help, key=q.key, required=True)
        return options[index] if chosen is None else chosen
    return st.selectbox(
        q.label,
        options,
        index=index,
        format_func=lambda o: str(o) or EMPTY_WORDS.get(q.name, "Automatic"),
        help=q.help,
        key=q.key,
    )


def _ask_int(q: Question) -> int:
    low, high = _whole(q.low, -(2**53) + 1), _whole(q.high, 2**53 - 1)
    return int(st.number_input(q.label, low, high, int(q.value or 0), step=1, help=q.help, key=q.key))


def _ask_float(q: Question) -> float:
    value = float(q.value or 0.0)
    step = 10.0 ** math.floor(math.log10(abs(value)) - 1) if value else 0.1
    limits = {
        "min_value": q.low if q.low is None else float(q.low),
        "max_value": q.high if q.high is None else float(q.high),
    }
    return float(st.number_input(q.label, value=value, step=step, format="%g", help=q.help, key=q.key, **limits))


def _ask_tuple(q: Question, parts: tuple[Any, ...]) -> tuple[Any, ...]:
    value = tuple(q.value or ())
    if q.choices:
        return tuple(
            st.multiselect(
                q.label,
                q.choices,
                [v for v in value if v in q.choices],
                help=q.help,
                key=q.key,
                placeholder=EMPTY_WORDS.get(q.name, "All"),
            )
        )
    text = st.text_input(
        q.label,
        ", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in value),
        help=f"{q.help} Separated by commas.",
        key=q.key,
    )
    return tuple(_converted(part.strip(), parts[0]) for part in text.split(",") if part.strip())


def _converted(text: str, kind: Any) -> Any:
    """The number it says; else the text itself, which `build` then refuses with a sentence."""
    try:
        return kind(text) if kind in (int, float) else text
    except ValueError:
        return text


def _ask_optional(q: Question) -> Any:
    """A number or nothing: an empty field is None."""
    inner = next(arm for arm in get_args(q.kind) if arm is not type(None))
    if inner not in (int, float):
        text = st.text_input(q.label, q.value or "", help=q.help, key=q.key)
        return text or None
    low, high = (None if limit is None else inner(limit) for limit in (q.low, q.high))
    step = 1 if inner is int else None
    return st.number_input(q.label, low, high, q.value, step=step, help=q.help, key=q.key, placeholder="none")


def _whole(limit: float | None, otherwise: int) -> int:
    return otherwise if limit is None else int(limit)
