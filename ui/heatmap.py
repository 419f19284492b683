"""Every subset of given modalities against every target, as a heat map whose cells can be clicked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from core.metrics import metric_of
from core.types import PLACE
from ui.results import Entry, Pair, best_baseline, pair_id, pair_words
from ui.score_charts import Scale, gain, interval_words
from ui.style import modality_colour

WORSE, NEUTRAL, BETTER = "rgba(213,94,0,0.75)", "rgba(128,128,128,0.10)", "rgba(0,114,178,0.75)"
ROW_PX, HEAD_PX = 25, 96
FULL_COLOUR = {"psnr": 6.0, "ssim": 0.3, "ms_ssim": 0.3, "nmi": 0.2}  # a gain beyond which no colour is stronger
USUAL_FULL = 0.5


@dataclass(frozen=True)
class SubsetLook:
    """What the cells show.

    Attributes:
        chosen: the pair whose cell has a frame.
        ink: colour of numbers and frame.
    """

    metric: str
    mae_units: Mapping[str, str]
    chosen: Pair | None = None
    ink: str = "#1B1D26"


def subset_chart(entry: Entry, entries: Sequence[Entry], pairs: Sequence[Pair], look: SubsetLook) -> go.Figure:
    """Rows: what is given, as dots in the modalities' colours. Columns: targets. Colour: gain over baselines."""
    made = [pair for pair in pairs if pair in entry.rows]
    subsets = sorted({given for given, _ in made}, key=lambda given: (len(given), given))
    modalities = sorted({m for given, target in made for m in (*given, target)})
    targets = sorted({target for _, target in made})
    places = {(given, target): (subsets.index(given), targets.index(target)) for given, target in made}
    figure = go.Figure()
    _add_dots(figure, subsets, modalities)
    cells = {pair: _cell(entry, entries, pair, look) for pair in made}
    _add_cells(figure, cells, places, (len(subsets), len(targets)), look)
    _add_click_targets(figure, cells, places)
    if look.chosen in places:
        row, column = places[look.chosen]
        edges = {"x0": column - 0.5, "x1": column + 0.5, "y0": row - 0.5, "y1": row + 0.5}
        figure.add_shape(type="rect", xref="x2", yref="y", **edges, line={"color": look.ink, "width": 2})
    n = len(subsets)
    figure.update_layout(
        height=HEAD_PX + ROW_PX * n,
        margin={"l": 8, "r": 8, "t": 52, "b": 8},
        showlegend=False,
        dragmode=False,
        clickmode="event+select",
        hoverdistance=60,  # a cell is wider than its marker
        plot_bgcolor="rgba(0,0,0,0)",
        yaxis={"visible": False, "range": [n - 0.4, -0.6], "fixedrange": True},
        xaxis=_head(modalities, (0.0, 0.3), "Given"),
        xaxis2=_head(targets, (0.34, 1.0), "Made"),
    )
    return figure


def _head(names: Sequence[str], domain: tuple[float, float], title: str) -> dict[str, Any]:
    return {
        "domain": domain,
        "side": "top",
        "tickmode": "array",
        "tickvals": list(range(len(names))),
        "ticktext": list(names),
        "range": [-0.6, len(names) - 0.4],
        "minallowed": -0.6,  # rather than fixedrange: where all axes are fixed, a click selects nothing
        "maxallowed": len(names) - 0.4,
        "showgrid": False,
        "zeroline": False,
        "title": {"text": title, "standoff": 4},
        "tickangle": 0 if len(names) * max(map(len, names), default=1) < 26 else -45,
    }


def _add_dots(figure: go.Figure, subsets: Sequence[tuple[str, ...]], modalities: Sequence[str]) -> None:
    for column, modality in enumerate(modalities):
        is_given = [modality in given for given in subsets]
        colours = [modality_colour(modality) if given else "rgba(128,128,128,0.16)" for given in is_given]
        figure.add_scatter(
            x=[column] * len(subsets),
            y=list(range(len(subsets))),
            mode="markers",
            marker={"color": colours, "size": [12 if given else 7 for given in is_given], "opacity": 1},
            text=[f"{modality} is {'given' if given else 'not given'}" for given in is_given],
            hovertemplate="%{text}<extra></extra>",
            unselected={"marker": {"opacity": 1}},
        )


@dataclass(frozen=True)
class Cell:
    """One pair in the chart."""

    words: str
    hover: str
    gain: float | None


def _cell(entry: Entry, entries: Sequence[Entry], pair: Pair, look: SubsetLook) -> Cell:
    metric = look.metric
    scale, stat = Scale.of(metric, pair[1], look.mae_units), entry.stat(pair, metric)
    if stat is None:
        return Cell("", "", None)
    rival = best_baseline(entries, pair, metric, metric_of(metric).best, but=entry.model)
    span = interval_words(stat, scale)
    hover = [
        f"<b>{pair_words(pair)}</b>",
        f"{metric_of(metric).name} {scale.said(stat.mean)}, n = {stat.n}",
        f"95 % interval {span}" if span else "too few cases for an interval",
        f"best baseline {scale.said(rival.mean)}" if rival else "no baseline",
    ]
    return Cell(scale.words(stat.mean), "<br>".join(hover), gain(stat.mean, rival.mean, metric) if rival else None)


Places = Mapping[Pair, tuple[int, int]]  # pair -> row, column


def _add_cells(
    figure: go.Figure, cells: Mapping[Pair, Cell], places: Places, shape: tuple[int, int], look: SubsetLook
) -> None:
    n_rows, n_columns = shape
    z: list[list[float | None]] = [[None] * n_columns for _ in range(n_rows)]
    text = [[""] * n_columns for _ in range(n_rows)]
    for pair, (row, column) in places.items():
        z[row][column] = (cells[pair].gain or 0.0) if cells[pair].words else None
        text[row][column] = cells[pair].words
    full = FULL_COLOUR.get(look.metric.partition(PLACE)[0], USUAL_FULL)
    reach = min(max((abs(cell.gain) for cell in cells.values() if cell.gain), default=full), full)
    is_share = metric_of(look.metric).best == "low"
    figure.add_heatmap(
        z=z,
        text=text,
        texttemplate="%{text}",
        textfont={"color": look.ink, "size": 13},
        hoverinfo="skip",
        xaxis="x2",
        xgap=2,
        ygap=2,
        zmin=-reach,
        zmax=reach,
        showscale=any(cell.gain is not None for cell in cells.values()),
        colorscale=[[0, WORSE], [0.5, NEUTRAL], [1, BETTER]],
        colorbar={
            "title": {"text": "vs. best<br>baseline", "side": "top"},
            "lenmode": "pixels",
            "len": min(190, ROW_PX * n_rows + 40),
            "y": 1,
            "yanchor": "top",
            "tickformat": "+.0%" if is_share else "+.2g",
            "ticksuffix": "" if is_share else f" {metric_of(look.metric).unit}".rstrip(),
            "thickness": 12,
            "outlinewidth": 0,
        },
    )


def _add_click_targets(figure: go.Figure, cells: Mapping[Pair, Cell], places: Places) -> None:
    """A heat map cannot be clicked: unseen markers over its cells can."""
    figure.add_scatter(
        x=[column for _, column in places.values()],
        y=[row for row, _ in places.values()],
        xaxis="x2",
        mode="markers",
        marker={"symbol": "square", "size": ROW_PX - 4, "opacity": 0},
        customdata=[[pair_id(pair)] for pair in places],  # flat text: nested lists do not come back
        text=[cells[pair].hover for pair in places],
        hovertemplate="%{text}<extra></extra>",
        selected={"marker": {"opacity": 0}},
        unselected={"marker": {"opacity": 0}},
    )


def clicked_pair(event: Mapping[str, Any]) -> str | None:
    """The id of the pair whose cell a selection event holds."""
    points = event["selection"]["points"] if "selection" in event else []
    return next((str(point["customdata"][0]) for point in points if point.get("customdata")), None)
