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
    """A dot per case, the best entry on top; a bar marks the mean, a line its interval, grey lines the same case.

    Few traces, however many entries: each costs milliseconds.
    """
    names = [entry.name for entry in entries]
    stats = {entry.name: entry.stat(pair, scale.metric) for entry in entries}
    shown = [entry for entry in entries if stats[entry.name] is not None]
    values = {entry.name: entry.by_case(pair, scale.metric) for entry in shown}
    figure = go.Figure()
    _add_cases(figure, values)
    _add_dots(figure, shown, values, scale)
    for is_baseline in (False, True):
        _add_intervals(figure, {e.name: stats[e.name] for e in shown if e.is_baseline == is_baseline}, is_baseline)
    _add_means(figure, shown, stats, scale)
    figure.update_layout(
        height=max(150, 56 + 30 * len(entries)),
        margin={"l": 4, "r": 12, "t": 6, "b": 8},
        showlegend=False,
        xaxis={"title": scale.label, "zeroline": False},
        yaxis={"categoryorder": "array", "categoryarray": names[::-1], "title": None},
    )
    return figure


def _add_cases(figure: go.Figure, values: Mapping[str, Mapping[str, float]]) -> None:
    """A line for each case through its dots."""
    cases = dict.fromkeys(case for found in values.values() for case in found)
    dots = [[(found[case], name) for name, found in values.items() if case in found] for case in cases]
    x, y = _apart(dots)
    figure.add_scatter(
        x=x, y=y, mode="lines", line={"color": "rgba(128,128,128,0.22)", "width": 1}, hoverinfo="skip", name="cases"
    )


def _apart(lines: Sequence[Sequence[tuple[float, str]]]) -> tuple[list[float | None], list[str | None]]:
    """Several lines as one trace: a gap after each."""
    points = [point for line in lines for point in (*line, (None, None))]
    return [x for x, _ in points], [y for _, y in points]


def _add_dots(
    figure: go.Figure, shown: Sequence[Entry], values: Mapping[str, Mapping[str, float]], scale: Scale
) -> None:
    dots = [(value, entry, case) for entry in shown for case, value in values[entry.name].items()]
    figure.add_scatter(
        x=[value for value, _, _ in dots],
        y=[entry.name for _, entry, _ in dots],
        text=[case for _, _, case in dots],
        mode="markers",
        marker={"color": [_colour(entry.is_baseline) for _, entry, _ in dots], "size": 8, "opacity": 0.85},
        hovertemplate=f"%{{text}}<br>%{{x:{scale.format}}} {scale.unit}<extra>%{{y}}</extra>",
        name="dots",
    )


def _add_intervals(figure: go.Figure, stats: Mapping[str, Stat | None], is_baseline: bool) -> None:
    ends = [
        [(stat.low, name), (stat.high, name)]
        for name, stat in stats.items()
        if stat is not None and stat.low is not None and stat.high is not None
    ]
    if ends:
        x, y = _apart(ends)
        line = {"color": _colour(is_baseline), "width": 2.5}
        figure.add_scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip", name="intervals")


def _add_means(figure: go.Figure, shown: Sequence[Entry], stats: Mapping[str, Stat | None], scale: Scale) -> None:
    known = [(entry, stat) for entry in shown if (stat := stats[entry.name]) is not None]
    colours = [_colour(entry.is_baseline) for entry, _ in known]
    figure.add_scatter(
        x=[stat.mean for _, stat in known],
        y=[entry.name for entry, _ in known],
        text=[f"mean {scale.said(stat.mean)}, n = {stat.n}" for _, stat in known],
        mode="markers",
        marker={"symbol": "line-ns", "size": 17, "line": {"width": 3, "color": colours}},
        hovertemplate="%{text}<extra>%{y}</extra>",
        name="means",
    )


def _colour(is_baseline: bool) -> str:
    return QUIET if is_baseline else ACCENT


def gain(value: float, reference: float, metric: str) -> float:
    """How far better than the reference, above 0 for better: a share for errors, a difference for PSNR and SSIM."""
    if metric_of(metric).best == "low":
        return (reference - value) / reference if reference else 0.0
    return value - reference
