"""Pairs of cases that look alike: one below the other, with the number, and the act for each."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from core.dataset import Dataset
from core.quality.flags import pairs_of
from core.quality.report import Report
from core.quality.thumbnails import strip_path
from core.quality.twins import Twin
from ui.exclusion import exclusion, runs_made_with
from ui.words import count_words

MAX_PAIRS = 20
TIP = (
    "Correlation of the fine patterns at the best place, 1 for the same image. Usual is the median over all pairs of "
    "this dataset; from the limit on a pair is named."
)


def twins_view(dataset: Dataset, report: Report) -> None:
    """Every pair, most alike first; one that is settled, since one of the two is out, is said to be so."""
    pairs = pairs_of(report.twins)
    if not pairs:
        st.caption(":material/check: No two cases are too alike.")
        return
    n_runs = runs_made_with(dataset)
    shown: set[str] = set()
    for (first, second), twins in list(pairs.items())[:MAX_PAIRS]:
        with st.container(border=True):
            _said(dataset, twins)
            for case_id in (first, second):
                _one(dataset, case_id, n_runs if case_id not in shown else None)
                shown.add(case_id)
    if len(pairs) > MAX_PAIRS:
        st.caption(f"and {count_words(len(pairs) - MAX_PAIRS, 'pair')} more")


def _said(dataset: Dataset, twins: Sequence[Twin]) -> None:
    best = twins[0]
    how = ", one of them mirrored" if best.is_mirrored else ""
    st.markdown(f"**{best.first}** and **{best.second}**{how}")
    numbers = [f"{t.modality} {t.likeness:.2f} (usual {t.usual:.2f}, limit {t.limit:.2f})" for t in twins]
    settled = " · settled: one of them is left out" if {best.first, best.second} & set(dataset.excluded) else ""
    st.caption(f"Likeness: {', '.join(numbers)}{settled}", help=TIP)


def _one(dataset: Dataset, case_id: str, n_runs: int | None) -> None:
    """A case's pictures; the act too, where no pair above has it."""
    pictures, act = st.columns([740, 600], vertical_alignment="center")
    with pictures:
        path = strip_path(dataset, case_id, "axial")
        if path.exists():
            st.image(path.read_bytes(), alt=f"{case_id}, axial")
    with act:
        st.caption(case_id)
        if n_runs is not None:
            exclusion(dataset, case_id, n_runs)
