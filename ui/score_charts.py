"""How scores are written and drawn: units and digits, gains over a baseline, a line of dots per entry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from core.metrics import is_in_unit, metric_of
from ui.results import Entry, Pair, Stat

ACCENT = "#6E6BE0"  # of the theme, between its light and its dark form
QUIET = "rgba(128,128,128,0.75)"
CONFIG = {"displaylogo": False, "displayModeBar": False}


@dataclass(frozen=True)
class Scale:
    """A metric as it is shown for one target: its name, unit and digits."""

    metric: str
    unit: str

    @staticmethod
    def of(metric: str, target: str, mae_units: Mapping[str, str]) -> Scale:
        if is_in_unit(metric):
            return Scale(metric, mae_units.get(target, ""))
        return Scale(metric, metric_of(metric).unit)

    @property
    def label(self) -> str:
        """Such as "MAE (HU)"."""
        name = metric_of(self.metric).name
        return f"{name} ({self.unit})" if self.unit else name

    @property
    def format(self) -> str:
        """d3 and Python alike; three digits that matter."""
        if metric_of(self.metric).unit == "dB":
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
            if row.get(metric) is not None:
                found.setdefault(row["case"], {})[entry.name] = row[metric]
    return found


def _add_entry(figure: go.Figure, entry: Entry, pair: Pair, scale: Scale) -> None:
    stat = entry.stat(pair, scale.metric)
    if stat is None:
        return
    colour = QUIET if entry.is_baseline else ACCENT
    rows = [row for row in entry.rows[pair] if row.get(scale.metric) is not None]
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
    if metric_of(metric).best == "low":
        return (reference - value) / reference if reference else 0.0
    return value - reference
