"""Charts of a dataset's quality: who has what, and a strip of dots for each number of the cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from core.dataset import Dataset
from ui.style import PALETTE, modality_colour

ROW_PX = 26
STRIPS_PX = 230
QUIET = "rgba(128,128,128,0.35)"
CLEAR = "rgba(0,0,0,0)"
MAX_NAMED = 40  # cases under whose columns there is room for names
JITTER = 0.18


def matrix_chart(dataset: Dataset, noted: set[tuple[str, str]], ink: str) -> go.Figure:
    """A square for each image that there is, with a ring where it has a flag; a small dot where there is none."""
    cases, modalities = dataset.case_ids, dataset.modalities
    figure = go.Figure()
    for row, modality in enumerate(modalities):
        there = [modality in dataset.record(case)["modalities"] for case in cases]
        flagged = [(case, modality) in noted for case in cases]
        states = [
            "there, with a flag" if f else "there" if t else "not acquired" for t, f in zip(there, flagged, strict=True)
        ]
        figure.add_scatter(
            x=list(range(len(cases))),
            y=[row] * len(cases),
            mode="markers",
            marker={
                "symbol": ["square" if t else "circle" for t in there],
                "color": [modality_colour(modality) if t else QUIET for t in there],
                "size": [15 if t else 5 for t in there],
                "line": {"color": ink, "width": [2.5 if f and t else 0 for t, f in zip(there, flagged, strict=True)]},
            },
            text=[f"{case}: {modality} {state}" for case, state in zip(cases, states, strict=True)],
            hovertemplate="%{text}<extra></extra>",
        )
    named = len(cases) <= MAX_NAMED
    figure.update_layout(
        height=ROW_PX * len(modalities) + (90 if named else 40),
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        showlegend=False,
        plot_bgcolor=CLEAR,
        xaxis={
            "tickvals": list(range(len(cases))) if named else [],
            "ticktext": list(cases) if named else [],
            "tickangle": -60,
            "range": [-0.7, len(cases) - 0.3],
            "showgrid": False,
            "zeroline": False,
            "fixedrange": True,
        },
        yaxis={
            "tickvals": list(range(len(modalities))),
            "ticktext": list(modalities),
            "range": [len(modalities) - 0.4, -0.6],
            "showgrid": False,
            "zeroline": False,
            "fixedrange": True,
        },
    )
    return figure


def _state(there: bool, flagged: bool) -> str:
    if not there:
        return "not acquired"
    return "there, with a flag" if flagged else "there"


@dataclass(frozen=True)
class Strips:
    """Numbers of cases, side by side.

    Attributes:
        columns: title -> case -> number.
        groups: case -> its group; empty for no division.
        odd: (title, case) of those that are flagged; they have a ring.
    """

    columns: Mapping[str, Mapping[str, float]]
    groups: Mapping[str, str] = field(default_factory=dict)
    odd: frozenset[tuple[str, str]] = frozenset()


def strips_chart(strips: Strips) -> go.Figure:
    """A small chart a column with its own axis: a dot a case, beside each other by group."""
    titles = list(strips.columns)
    figure = make_subplots(rows=1, cols=len(titles), subplot_titles=titles, horizontal_spacing=0.045)
    names = sorted({strips.groups.get(case, "?") for values in strips.columns.values() for case in values})
    for column, title in enumerate(titles, 1):
        odd = [(title, case) in strips.odd for case in strips.columns[title]]
        place = [names.index(strips.groups.get(case, "?")) for case in strips.columns[title]]
        figure.add_trace(_strip(strips.columns[title], place, odd), row=1, col=column)
    figure.update_xaxes(
        tickvals=list(range(len(names))) if strips.groups else [],
        ticktext=names if strips.groups else [],
        range=[-0.6, len(names) - 0.4],
        showgrid=False,
        zeroline=False,
        fixedrange=True,
    )
    figure.update_yaxes(fixedrange=True, zeroline=False, gridcolor="rgba(128,128,128,0.18)", nticks=5)
    figure.update_layout(
        height=STRIPS_PX, margin={"l": 8, "r": 8, "t": 34, "b": 8}, showlegend=False, plot_bgcolor=CLEAR
    )
    figure.update_annotations(font_size=13)
    return figure


def _strip(values: Mapping[str, float], place: list[int], odd: list[bool]) -> go.Scatter:
    rng = np.random.default_rng(0)  # the same place for a case each time
    return go.Scatter(
        x=[p + float(rng.uniform(-JITTER, JITTER)) for p in place],
        y=list(values.values()),
        mode="markers",
        marker={
            "color": [PALETTE[p % len(PALETTE)] for p in place],
            "size": [11 if is_odd else 8 for is_odd in odd],
            "opacity": 0.85,
            "symbol": ["circle-open" if is_odd else "circle" for is_odd in odd],
            "line": {"width": [3 if is_odd else 0 for is_odd in odd]},
        },
        text=[f"{case}: {value:.4g}" for case, value in values.items()],
        hovertemplate="%{text}<extra></extra>",
    )
