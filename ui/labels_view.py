"""Giving labels such as site or diagnosis to the cases of a cohort: by choosing, or with a table."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from core.cohort import Cohort
from core.labels import LABELS, Given, give_labels, labels_from_csv, labels_of, labels_to_csv
from ui.errors import guard
from ui.state import State, workspace
from ui.style import table_height
from ui.words import count_words

NONE = "(take away)"


def labels_button(cohort: Cohort, key: str) -> None:
    """Opens the dialog."""
    tip = "Give cases a site, a diagnosis or another label: to see drift, and to learn from"
    if st.button("Labels", icon=":material/label:", key=key, help=tip):
        st.session_state[State.ASKED] = key
    if st.session_state.get(State.ASKED) == key:
        st.dialog(f"Labels of cohort {cohort.name}", width="large", on_dismiss=_forget)(_dialog)(cohort)


def _forget() -> None:
    st.session_state.pop(State.ASKED, None)


def _dialog(cohort: Cohort) -> None:
    st.caption("Labels come from small vocabularies, so that no name, date or number of a patient can get in.")
    with guard():
        _give(cohort)
    with guard():
        _table(cohort)
    given = labels_of(cohort)
    used = [name for name in LABELS if any(name in labels for labels in given.values())]
    rows = [{"Case": case, **{LABELS[n].title: _said(labels.get(n)) for n in used}} for case, labels in given.items()]
    st.dataframe(
        pd.DataFrame(rows), hide_index=True, width="stretch", height=table_height(len(rows), 260),
        alt="The labels of each case",
    )  # fmt: skip


def _said(value: object) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _give(cohort: Cohort) -> None:
    """One label, one value, any number of cases."""
    name_cell, value_cell = st.columns(2)
    with name_cell:
        name = st.selectbox(
            "Label", list(LABELS), format_func=lambda n: LABELS[n].title, key="label-name", help="What is to be told"
        )
    kind = LABELS[name]
    with value_cell:
        if kind.values:
            value = st.selectbox("Value", [*kind.values, NONE], key=f"label-value-{name}", help=kind.help)
        else:
            value = st.text_input(
                "Value", key=f"label-value-{name}", max_chars=40, help=f"{kind.help}: {kind.allowed}. Empty takes away."
            )
    cases = st.multiselect(
        "Cases", cohort.case_ids, key="label-cases", help="Who gets it. Leave empty for all.", placeholder="All cases"
    )
    text = "" if value == NONE else str(value or "")
    has_it = any(name in labels for labels in labels_of(cohort).values())
    said = "Give" if text or not has_it else "Take away"
    tip = "Also in the datasets made from this cohort" if text or has_it else "Write a value first"
    if st.button(f"{said} label", type="primary", key="label-give", help=tip, disabled=not (text or has_it)):
        _apply(cohort, {case: {name: text} for case in cases or cohort.case_ids})


def _table(cohort: Cohort) -> None:
    """The same for many labels at once, with a spreadsheet."""
    with st.expander("With a table", icon=":material/table:"):
        st.download_button(
            "Save the table", labels_to_csv(cohort), f"labels-{cohort.name}.csv", "text/csv",
            icon=":material/download:", help="A row a case, a column a label, to fill in with a spreadsheet",
        )  # fmt: skip
        file = st.file_uploader("Filled-in table", type="csv", key="label-file", help="An empty cell takes away")
        if file is not None and st.button("Give these labels", key="label-file-give", help="What the table says"):
            _apply(cohort, labels_from_csv(cohort, file.getvalue()))


def _apply(cohort: Cohort, given: Given) -> None:
    n = give_labels(workspace(), cohort, given)
    st.success(f"{count_words(n, 'case')} changed.", icon=":material/check:")
