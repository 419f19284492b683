"""Charts of scores: a line of cases per entry; every subset of given modalities against every target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from core.metrics import IN_UNIT, METRICS
from ui.results import Entry, Pair, Stat, best_baseline, pair_words
from ui.style import modality_colour

WORSE, NEUTRAL, BETTER = "rgba(213,94,0,0.75)", "rgba(128,128,128,0.10)", "rgba(0,114,178,0.75)"
QUIET = "rgba(128,128,128,0.75)"
ROW_PX, HEAD_PX = 25, 96
FULL_COLOUR = {"mae": 0.5, "mse": 0.5, "psnr": 6.0, "ssim": 0.3}  # a gain or loss beyond which no colour is stronger
CONFIG = {"displaylogo": False, "displayModeBar": False}


@dataclass(frozen=True)
class Scale:
    """A metric as it is shown for one target: its name, unit and digits."""

    metric: str
    unit: str

    @staticmethod
    def of(metric: str, target: str, mae_units: Mapping[str, str]) -> Scale:
        if metric in IN_UNIT:
            return Scale(metric, mae_units.get(target, ""))
        return Scale(metric, METRICS[metric].unit)

    @property
    def label(self) -> str:
        """Such as "MAE (HU)"."""
        name = METRICS[self.metric].name
        return f"{name} ({self.unit})" if self.unit else name

    @property
    def format(self) -> str:
        """d3 and Python alike; three digits that matter."""
        if self.metric == "psnr":
            return ".1f"
        return ".1f" if self.unit in ("HU", "SUV") else ".3f"

    def words(self, value: float | None) -> str:
        return "" if value is None else f"{value:{self.format}}"

    def said(self, value: float) -> str:
        """With its unit."""
        return f"{self.words(value)} {self.unit}".rstrip()


def interval_words(stat: Stat, scale: Scale) -> str:
    """Such as "0.061 to 0.072"."""
    if stat.low is None or stat.high is None:
        return ""
    return f"{scale.words(stat.low)} to {scale.words(stat.high)}"


def strip_chart(entries: Sequence[Entry], pair: Pair, scale: Scale) -> go.Figure:
    """A dot per case, the best entry on top; a bar marks the mean, a line its interval, grey lines the same case."""
    names = [entry.name for entry in entries]
    figure = go.Figure()
    for case, values in _by_case(entries, pair, scale.metric).items():
        places = [name for name in names if name in values]
        figure.add_scatter(
            x=[values[name] for name in places],
            y=places,
            mode="lines",
            line={"color": "rgba(128,128,128,0.22)", "width": 1},
            hoverinfo="skip",
            name=case,
        )
    for entry in entries:
        _add_entry(figure, entry, pair, scale)
    figure.update_layout(
        height=max(150, 56 + 30 * len(entries)),
        margin={"l": 4, "r": 12, "t": 6, "b": 8},
        showlegend=False,
        xaxis={"title": scale.label, "zeroline": False},
        yaxis={"categoryorder": "array", "categoryarray": names[::-1], "title": None},
    )
    return figure


def _by_case(entries: Sequence[Entry], pair: Pair, metric: str) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for entry in entries:
        for row in entry.rows.get(pair, ()):
            if row[metric] is not None:
                found.setdefault(row["case"], {})[entry.name] = row[metric]
    return found


def _add_entry(figure: go.Figure, entry: Entry, pair: Pair, scale: Scale) -> None:
    stat = entry.stat(pair, scale.metric)
    if stat is None:
        return
    colour = QUIET if entry.is_baseline else modality_colour(pair[1])
    rows = [row for row in entry.rows[pair] if row[scale.metric] is not None]
    figure.add_scatter(
        x=[row[scale.metric] for row in rows],
        y=[entry.name] * len(rows),
        text=[row["case"] for row in rows],
        mode="markers",
        marker={"color": colour, "size": 8, "opacity": 0.85},
        hovertemplate=f"%{{text}}<br>%{{x:{scale.format}}} {scale.unit}<extra>{entry.name}</extra>",
    )
    if stat.low is not None:
        figure.add_scatter(
            x=[stat.low, stat.high],
            y=[entry.name] * 2,
            mode="lines",
            line={"color": colour, "width": 2.5},
            hoverinfo="skip",
        )
    figure.add_scatter(
        x=[stat.mean],
        y=[entry.name],
        mode="markers",
        marker={"symbol": "line-ns", "size": 17, "line": {"width": 3, "color": colour}},
        hovertemplate=f"mean {scale.said(stat.mean)}, n = {stat.n}<extra>{entry.name}</extra>",
    )


def gain(value: float, reference: float, metric: str) -> float:
    """How far better than the reference, above 0 for better: a share for errors, a difference for PSNR and SSIM."""
    if METRICS[metric].best == "low":
        return (reference - value) / reference if reference else 0.0
    return value - reference


def subset_chart(
    entry: Entry, entries: Sequence[Entry], pairs: Sequence[Pair], metric: str, mae_units: Mapping[str, str], ink: str
) -> go.Figure:
    """Rows: what is given, as dots in the modalities' colours. Columns: targets. Colour: gain over the best baseline.

    Args:
        ink: colour of the numbers.
    """
    made = [pair for pair in pairs if pair in entry.rows]
    subsets = sorted({given for given, _ in made}, key=lambda given: (len(given), given))
    modalities = sorted({m for given, target in made for m in (*given, target)})
    targets = sorted({target for _, target in made})
    figure = go.Figure()
    _add_dots(figure, subsets, modalities)
    cells = [_cell(entry, entries, pair, metric, mae_units) for pair in made]
    _add_cells(figure, made, cells, (subsets, targets), metric, ink)
    n = len(subsets)
    figure.update_layout(
        height=HEAD_PX + ROW_PX * n,
        margin={"l": 8, "r": 8, "t": 52, "b": 8},
        showlegend=False,
        dragmode=False,
        clickmode="event+select",
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
        "showgrid": False,
        "zeroline": False,
        "fixedrange": True,
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


def _cell(entry: Entry, entries: Sequence[Entry], pair: Pair, metric: str, mae_units: Mapping[str, str]) -> Cell:
    scale, stat = Scale.of(metric, pair[1], mae_units), entry.stat(pair, metric)
    if stat is None:
        return Cell("", "", None)
    rival = best_baseline(entries, pair, metric, METRICS[metric].best, but=entry.model)
    span = interval_words(stat, scale)
    hover = [
        f"<b>{pair_words(pair)}</b>",
        f"{METRICS[metric].name} {scale.said(stat.mean)}, n = {stat.n}",
        f"95 % interval {span}" if span else "too few cases for an interval",
        f"best baseline {scale.said(rival.mean)}" if rival else "no baseline",
    ]
    return Cell(scale.words(stat.mean), "<br>".join(hover), gain(stat.mean, rival.mean, metric) if rival else None)


def _add_cells(
    figure: go.Figure,
    made: Sequence[Pair],
    cells: Sequence[Cell],
    axes: tuple[Sequence[tuple[str, ...]], Sequence[str]],
    metric: str,
    ink: str,
) -> None:
    subsets, targets = axes
    places = [(subsets.index(given), targets.index(target)) for given, target in made]
    z: list[list[float | None]] = [[None] * len(targets) for _ in subsets]
    text = [[""] * len(targets) for _ in subsets]
    for (row, column), cell in zip(places, cells, strict=True):
        z[row][column] = 0.0 if cell.gain is None else cell.gain
        text[row][column] = cell.words
    largest = max((abs(cell.gain) for cell in cells if cell.gain is not None), default=0.0)
    reach = min(largest, FULL_COLOUR[metric]) or FULL_COLOUR[metric]
    share = METRICS[metric].best == "low"
    figure.add_heatmap(
        z=z,
        text=text,
        texttemplate="%{text}",
        textfont={"color": ink, "size": 13},
        hoverinfo="skip",
        xaxis="x2",
        xgap=2,
        ygap=2,
        zmin=-reach,
        zmax=reach,
        colorscale=[[0, WORSE], [0.5, NEUTRAL], [1, BETTER]],
        colorbar={
            "title": {"text": "vs. best<br>baseline", "side": "top"},
            "lenmode": "pixels",
            "len": min(190, ROW_PX * len(subsets) + 40),
            "y": 1,
            "yanchor": "top",
            "tickformat": "+.0%" if share else "+.2g",
            "ticksuffix": "" if share else f" {METRICS[metric].unit}".rstrip(),
            "thickness": 12,
            "outlinewidth": 0,
        },
    )
    figure.add_scatter(  # a heat map cannot be clicked: unseen markers over its cells can
        x=[column for _, column in places],
        y=[row for row, _ in places],
        xaxis="x2",
        mode="markers",
        marker={"symbol": "square", "size": ROW_PX - 4, "opacity": 0},
        customdata=[[list(given), target] for given, target in made],
        text=[cell.hover for cell in cells],
        hovertemplate="%{text}<extra></extra>",
        selected={"marker": {"opacity": 0}},
        unselected={"marker": {"opacity": 0}},
    )


def clicked_pair(event: Mapping[str, Any]) -> Pair | None:
    """The cell that a selection event holds."""
    points = event["selection"]["points"] if "selection" in event else []
    for point in points:
        data = point.get("customdata")
        if data and len(data) == 2 and not isinstance(data[0], str):
            return tuple(str(m) for m in data[0]), str(data[1])
    return None
