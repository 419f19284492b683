"""Latent: how far the code is shared between modalities, measured on held-out slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd
import streamlit as st

from ui.latent_points import Points


def space_view(points: Points) -> None:
    """Two tables: pairs of modalities, and labels that go from one modality to another."""
    if points.split is None or points.dataset is None:
        st.caption("The dataset of this run is gone, so it is not known which cases were held out.")
        return
    if points.is_by_case:
        st.caption("Choose Slices above: slices are what is looked for in the other modality.")
        return
    pairs = _measured(points.codes.z.tobytes(), points.split.test, points)
    if not pairs:
        st.caption("No held-out slice has codes in two modalities.")
        return
    st.dataframe(
        pd.DataFrame([_line(pair) for pair in pairs]), hide_index=True, column_config=_columns(), placeholder=""
    )
    st.caption(_words(pairs))
    _transfers(points)


@st.cache_data(max_entries=4, show_spinner="Measuring")
def _measured(codes: bytes, held_out: tuple[str, ...], _points: Points) -> list[dict[str, Any]]:
    """Of these very codes; lines of plain numbers."""
    from core.shared_space import measure_space

    lines = []
    for pair in measure_space(_points.codes, held_out):
        retrieval = pair.retrieval
        chance = {} if retrieval is None else {"chance": retrieval.chance, "chance_rank": retrieval.chance_rank}
        lines.append({**asdict(pair), **chance})
    return lines


def _line(pair: dict[str, Any]) -> dict[str, Any]:
    found = pair["retrieval"] or {"recall": {}, "median_rank": None}
    shares = {f"r{k}": found["recall"].get(k) for k in (1, 5, 10)}
    measures = {name: pair[name] for name in ("cka", "gap", "alignment", "uniformity", "n")}
    return {"pair": f"{pair['first']} \u2194 {pair['second']}", **shares, "rank": found["median_rank"], **measures}


def _columns() -> dict[str, Any]:
    number = st.column_config.NumberColumn
    tip = "Share of held-out slices whose own partner is among the {} nearest codes of the other modality."
    return {
        "pair": st.column_config.TextColumn("Modalities", help="Both ways, held-out slices that have both."),
        **{f"r{k}": number(f"R@{k}", format="percent", help=tip.format(k)) for k in (1, 5, 10)},
        "rank": number("Rank", format="%.0f", help="Median place of the own partner; 1 is the nearest."),
        "cka": number("CKA", format="%.2f", help="Unbiased linear CKA: 1 where both codes tell the same, 0 nothing."),
        "gap": number("Gap", format="%.2f", help="Distance of the modalities' mean directions, 0 to 2; low is shared."),
        "alignment": number("Align", format="%.2f", help="Mean squared distance of partners, 0 to 4; low is good."),
        "uniformity": number("Uniform", format="%.2f", help="Log potential of all pairs; lower is more even."),
        "n": number("n", help="Held-out slices."),
    }


def _words(pairs: Sequence[dict[str, Any]]) -> str:
    from core.shared_space import LEAST_ITEMS

    told = [pair for pair in pairs if pair["retrieval"]]
    if not told:
        return f"Retrieval needs {LEAST_ITEMS} held-out slices; there are fewer."
    n = min(pair["n"] for pair in told)
    chance = ", ".join(f"R@{k} {k / n:.1%}" for k in (1, 5, 10))
    return (
        f"Chance among {n} slices: {chance}, rank {(n + 1) / 2:.0f}. Neighbouring slices of one person are nearly "
        "alike, so R@1 is a hard task."
    )


def _transfers(points: Points) -> None:
    from core.shared_space import N_VOTERS, transfer_labels

    if points.dataset is None or points.split is None:
        return
    cases = (*points.split.train, *points.split.test)
    labels = {case: points.dataset.record(case)["labels"] for case in cases if case in points.dataset.case_ids}
    found = transfer_labels(points.codes, labels, points.split.train, points.split.test)
    if not found:
        return
    lines = [
        {**asdict(one), "label": f"{one.label.replace('_', ' ')}: {one.known} \u2192 {one.asked}"} for one in found
    ]
    frame = pd.DataFrame(lines)[["label", "accuracy", "chance", "n"]]
    number = st.column_config.NumberColumn
    st.dataframe(
        frame,
        hide_index=True,
        height=240 if len(frame) > 6 else "content",
        column_config={
            "label": st.column_config.TextColumn("Label, known \u2192 asked", help="Of training, of held-out cases."),
            "accuracy": number("Right", format="percent", help=f"Vote of the {N_VOTERS} nearest training cases."),
            "chance": number("Usual answer", format="percent", help="Of always saying the most frequent label."),
            "n": number("n", help="Held-out cases."),
        },
    )
