"""A search as pictures: every setting as a line over parallel axes, and two settings as a map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from core.metrics import METRICS
from core.search.grid import said
from ui.score_charts import ACCENT, QUIET
from ui.settings_form import spoken

BEST_FIRST = [[0, "#0072B2"], [0.5, "#8FB3C9"], [1, "#C9C9CC"]]
CELLS = [[0, "rgba(0,114,178,0.75)"], [1, "rgba(128,128,128,0.10)"]]
FORMATS = {name: ".2f" if metric.unit == "dB" else ".4f" for name, metric in METRICS.items()} | {"mse": ".5f"}
Row = Mapping[str, Any]


def words_of(key: str) -> str:
    """A setting's name as a person reads it."""
    return spoken(key.partition(".")[2])


def number_words(metric: str, value: float | None) -> str:
    return "" if value is None else f"{value:{FORMATS[metric]}}"


def varied(table: Mapping[str, Any]) -> list[str]:
    """Settings with more than one value."""
    return [key for key, values in table["grid"].items() if len(values) > 1]


def comparable(table: Mapping[str, Any]) -> list[Row]:
    """Points that were judged on as many folds as the best of them: others had other cases."""
    scored = [row for row in table["points"] if row["mean"] is not None and row["state"] in ("done", "waiting")]
    most = max((row["folds"] for row in scored), default=0)
    return [row for row in scored if row["folds"] == most]


def parallel_chart(table: Mapping[str, Any], ink: str) -> go.Figure:
    """One line per point; axes are the settings' values in order, the last one is the score, which also colours."""
    rows, metric = comparable(table), table["metric"]
    scores = [row["mean"] for row in rows]
    dimensions = [_axis(key, table["grid"][key], rows) for key in varied(table)]
    dimensions.append({"label": METRICS[metric].name, "values": scores, "tickformat": FORMATS[metric]})
    is_low = table["better"] == "low"
    line = {
        "color": scores,
        "colorscale": BEST_FIRST,
        "reversescale": not is_low,
        "showscale": True,
        "colorbar": {"title": METRICS[metric].name, "thickness": 12, "outlinewidth": 0},
    }
    figure = go.Figure(
        go.Parcoords(
            dimensions=dimensions,
            line=line,
            labelfont={"color": ink, "size": 13},
            tickfont={"color": ink, "size": 12, "shadow": "none"},
            rangefont={"color": "rgba(0,0,0,0)"},
        )
    )
    figure.update_layout(height=380, margin={"l": 56, "r": 24, "t": 56, "b": 24})
    return figure


def _axis(key: str, values: Sequence[Any], rows: Sequence[Row]) -> dict[str, Any]:
    n = len(values)
    return {
        "label": words_of(key),
        "values": [values.index(row["values"][key]) for row in rows],
        "range": [-0.15, n - 0.85],
        "tickvals": list(range(n)),
        "ticktext": [said(value) for value in values],
    }


def pair_chart(table: Mapping[str, Any], across: str, down: str, ink: str) -> go.Figure:
    """The best score at each pair of values, whatever the other settings are; the best cell has a frame."""
    metric, columns, lines = table["metric"], table["grid"][across], table["grid"][down]
    best = _best_cells(table, across, down)
    z = [[best.get((x, y)) for x in range(len(columns))] for y in range(len(lines))]
    figure = go.Figure(
        go.Heatmap(
            z=z,
            text=[[number_words(metric, value) for value in row] for row in z],
            texttemplate="%{text}",
            textfont={"color": ink, "size": 13},
            colorscale=CELLS,
            reversescale=table["better"] == "high",
            xgap=2,
            ygap=2,
            hoverongaps=False,
            hovertemplate=f"{words_of(across)} %{{x}}<br>{words_of(down)} %{{y}}<br>%{{text}}<extra></extra>",
            x=[said(value) for value in columns],
            y=[said(value) for value in lines],
            colorbar={"title": METRICS[metric].name, "thickness": 12, "outlinewidth": 0},
        )
    )
    if best:
        x, y = (min if table["better"] == "low" else max)(best, key=best.__getitem__)
        box = {"x0": x - 0.5, "x1": x + 0.5, "y0": y - 0.5, "y1": y + 0.5}
        figure.add_shape(type="rect", **box, line={"color": ink, "width": 3})
    figure.update_layout(
        height=90 + 64 * max(3, len(lines)),
        margin={"l": 8, "r": 8, "t": 16, "b": 8},
        xaxis={"title": words_of(across), "automargin": True, "type": "category", "showgrid": False},
        yaxis={"title": words_of(down), "automargin": True, "type": "category", "showgrid": False},
        plot_bgcolor="rgba(0,0,0,0)",
    )
    return figure


def _best_cells(table: Mapping[str, Any], across: str, down: str) -> dict[tuple[int, int], float]:
    columns, lines = table["grid"][across], table["grid"][down]
    pick = min if table["better"] == "low" else max
    found: dict[tuple[int, int], float] = {}
    for row in comparable(table):
        cell = (columns.index(row["values"][across]), lines.index(row["values"][down]))
        found[cell] = pick(found.get(cell, row["mean"]), row["mean"])
    return found


def interval_chart(table: Mapping[str, Any], names: Mapping[int, str]) -> go.Figure:
    """The best on top: a dot for the mean over cases, a line for its interval; what chance may explain in colour."""
    metric, rows = table["metric"], comparable(table)
    figure = go.Figure()
    for row in rows:
        name = names[row["point"]]
        is_level = row["point"] == table["best"] or row["is_told_apart"] is not True
        colour = ACCENT if is_level else QUIET
        if row["low"] is not None:
            figure.add_scatter(
                x=[row["low"], row["high"]], y=[name] * 2, mode="lines", line={"color": colour, "width": 2.5},
                hoverinfo="skip",
            )  # fmt: skip
        figure.add_scatter(
            x=[row["mean"]],
            y=[name],
            mode="markers",
            marker={"color": colour, "size": 10},
            hovertemplate=f"{name}<br>%{{x:{FORMATS[metric]}}}<extra></extra>",
        )
    figure.update_layout(
        height=80 + 28 * max(3, len(rows)),
        margin={"l": 8, "r": 12, "t": 8, "b": 8},
        showlegend=False,
        xaxis={"title": METRICS[metric].name, "zeroline": False, "automargin": True},
        yaxis={
            "categoryorder": "array",
            "categoryarray": [names[row["point"]] for row in rows][::-1],
            "automargin": True,
        },
    )
    return figure
