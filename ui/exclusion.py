"""Leaving a case out of a dataset with a reason, and taking it back."""

from __future__ import annotations

import streamlit as st

from core.dataset import Dataset
from core.errors import UserError
from core.runs import list_runs
from ui.errors import guard, show_error
from ui.state import workspace
from ui.words import count_words


def runs_made_with(dataset: Dataset) -> int:
    """How many runs learnt from it."""
    return sum(run.config.dataset == dataset.name for run in list_runs(workspace()))


def exclusion(dataset: Dataset, case_id: str, n_runs: int) -> None:
    """The act that fits the case: leave it out with a reason, or take it back."""
    reason = dataset.excluded.get(case_id)
    if reason is None:
        _leave_out(dataset, case_id, n_runs)
        return
    st.badge("Left out", icon=":material/block:", color="gray", help="Runs from now on do not see this case")
    st.text(reason)
    if st.button(
        "Take back", key=f"include-{case_id}", icon=":material/undo:", help="The case joins the dataset again"
    ):
        with guard():
            dataset.include(case_id)
            st.rerun()


def _leave_out(dataset: Dataset, case_id: str, n_runs: int) -> None:
    tip = "A case that looks wrong can be left out; it is kept, and can be taken back"
    with st.popover("Leave out", icon=":material/block:", help=tip, key=f"leave-{case_id}"):
        if n_runs:
            st.caption(f"{count_words(n_runs, 'run')} made with this dataset will say that its data have changed.")
        key = f"reason-{case_id}"
        st.text_input("Reason", key=key, max_chars=200, help="Such as: motion, wrong contrast. No names, no dates.")
        if st.button(f"Leave {case_id} out", key=f"exclude-{case_id}", help="Runs from now on will not see it"):
            try:
                dataset.exclude(case_id, str(st.session_state[key]))
            except UserError as error:
                show_error(error)
            else:
                st.rerun()
