"""Forms draw themselves from settings: what comes out is what the class accepts."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from core.config import TrainConfig, build
from core.models import MODELS

SCRIPT = """
import streamlit as st
from core.config import RunConfig, TrainConfig
from core.models import MODELS
from ui.settings_form import settings_form

kind = {kind}
st.session_state["answers"] = settings_form(kind, "form", {values}, {basic}, {choices})
"""


def drawn(kind: str, values: object = None, basic: object = None, choices: object = None) -> AppTest:
    return AppTest.from_string(
        SCRIPT.format(kind=kind, values=values, basic=basic, choices=choices), default_timeout=30
    ).run()


@pytest.mark.parametrize("name", sorted(MODELS))
def test_an_untouched_form_gives_the_models_defaults(name):
    page = drawn(f"MODELS[{name!r}].Config")
    assert not page.exception
    assert build(MODELS[name].Config, page.session_state["answers"]) == MODELS[name].Config()


def test_limits_and_help_reach_the_widgets():
    page = drawn("TrainConfig")
    epochs = next(widget for widget in page.number_input if widget.label == "Epochs")
    assert (epochs.min, epochs.max) == (1, 10_000)
    assert epochs.help.startswith(TrainConfig.model_fields["epochs"].description)


def test_changed_values_come_out_with_their_type():
    page = drawn("TrainConfig", values={"epochs": 5}, choices={"modalities": ["T1", "CT"]})
    page.multiselect[0].select("CT")
    next(widget for widget in page.number_input if widget.label == "Learning rate").set_value(0.02)
    page.run()
    config = build(TrainConfig, page.session_state["answers"])
    assert (config.epochs, config.lr, config.modalities) == (5, 0.02, ("CT",))


def test_what_is_not_basic_waits_behind_more_settings():
    page = drawn("TrainConfig", basic=("lr", "epochs"))
    assert page.expander[0].label == "More settings"
    outside = [widget.label for widget in page.columns[0].number_input]
    assert outside == ["Learning rate"]
    assert build(TrainConfig, page.session_state["answers"]) == TrainConfig()


def test_settings_of_a_training_stand_under_headings_and_none_is_under_two():
    page = drawn("TrainConfig", basic=("lr", "epochs", "batch_size", "max_minutes"))
    assert [line.value.strip("*") for line in page.expander[0].markdown] == list(TrainConfig.headings)
    named = [name for names in TrainConfig.headings.values() for name in names]
    assert sorted([*named, "lr", "epochs", "batch_size", "max_minutes"]) == sorted(TrainConfig.model_fields)


def test_an_empty_optional_number_is_none():
    page = drawn("RunConfig", values={"dataset": "a", "model": "b"})
    answers = page.session_state["answers"]
    assert answers["fold"] is None and answers["train"]["epochs"] == TrainConfig().epochs


def test_a_text_that_may_stay_empty_is_not_filled_in_by_the_form():
    page = drawn('MODELS["cyclegan"].Config', choices={"source": ["T1", "CT"], "target": ["T1", "CT"]})
    source = next(widget for widget in page.selectbox if widget.label == "Source")
    assert (source.value, source.options) == ("", ["Automatic", "T1", "CT"])
    source.set_value("CT").run()
    answers = build(MODELS["cyclegan"].Config, page.session_state["answers"])
    assert (answers.source, answers.target) == ("CT", "")
