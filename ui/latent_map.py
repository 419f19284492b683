"""The map of a latent space as a Plotly figure: points, pair lines, what is selected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.colors import qualitative

from ui.latent_points import Pairs, Points, drawn_rows
from ui.style import PALETTE, modality_colour

HEIGHT = 610
CONFIG = {"displaylogo": False, "scrollZoom": True, "modeBarButtonsToRemove": ["autoScale2d", "toImage"]}
SPLIT_COLOURS = {"training": "#999999", "watched in training": "#56B4E9", "held out": "#D55E00"}
SCALE = ["#355F8D", "#24868E", "#20A486", "#52C569", "#ADDC30"]  # viridis without its ends: seen on white and on black
FADED = 0.1
UNKNOWN = "rgba(128,128,128,0.4)"


@dataclass(frozen=True)
class MapLook:
    """How the map is drawn.

    Attributes:
        colour: one of `Points.colour_names`.
        selected: rows with a rim.
        focus: rows that stay bright while the others fade; empty: all.
        lines: which pairs get a line.
        ink: colour of rims.
    """

    colour: str
    selected: Sequence[int] = ()
    focus: Sequence[int] = ()
    lines: Sequence[int] = ()
    ink: str = "#1B1D26"


def map_figure(points: Points, xy: NDArray[np.float32], look: MapLook, pairs: Pairs | None = None) -> go.Figure:
    """A trace per colour (or one with a colour bar), under them the lines and a rim around what is selected."""
    figure = go.Figure()
    size = (11 if points.is_by_case else 5) - (2 if xy.shape[1] == 3 else 0)
    if pairs is not None and len(look.lines):
        _add_lines(figure, xy, pairs, look.lines)
    if len(look.selected):
        _add_halo(figure, xy[list(look.selected)], look.ink, size)
    values = points.colour_values(look.colour)
    is_scale = values.dtype.kind in "fiu"
    rows = _visible(points, xy.shape[1], look.focus)
    if is_scale:
        _add_points(figure, points, xy, rows[np.isfinite(values[rows])], look, _scale_marker(values, look.colour, size))
    else:
        for value, colour in set_colours(look.colour, sorted(set(values.tolist()))).items():
            marker = {"color": colour, "size": size, "name": value}
            _add_points(figure, points, xy, rows[values[rows] == value], look, marker)
    _lay_out(figure, xy.shape[1], legend=not is_scale and len(set(values.tolist())) <= 16)
    return figure


def _visible(points: Points, n_axes: int, focus: Sequence[int]) -> NDArray[np.int64]:
    """What is drawn; in 3-D a trace has one opacity, so what would fade is left out."""
    return np.array(sorted(focus), np.int64) if n_axes == 3 and len(focus) else drawn_rows(points.n)


def _scale_marker(values: NDArray[Any], name: str, size: int) -> dict[str, Any]:
    bar = {"title": {"text": name, "side": "right"}, "thickness": 12, "outlinewidth": 0}
    return {"color": values, "colorscale": SCALE, "size": size, "colorbar": bar, "name": name}


def set_colours(name: str, values: Sequence[str]) -> dict[str, str]:
    """A colour for each value; modalities and splits keep theirs everywhere."""
    if name == "Modality":
        return {value: modality_colour(value) for value in values}
    if name == "Split":
        return {value: SPLIT_COLOURS.get(value, UNKNOWN) for value in values}
    palette = PALETTE if len(values) <= len(PALETTE) else qualitative.Dark24
    colours = {value: palette[n % len(palette)] for n, value in enumerate(values)}
    return {value: UNKNOWN if value == "not known" else colour for value, colour in colours.items()}


def _axes(xy: NDArray[np.float32]) -> dict[str, Any]:
    return dict(zip("xyz", xy.T, strict=False))


def _trace(n_axes: int, **options: Any) -> go.Scattergl | go.Scatter3d:
    return go.Scatter3d(**options) if n_axes == 3 else go.Scattergl(**options)


def _add_points(
    figure: go.Figure,
    points: Points,
    xy: NDArray[np.float32],
    rows: NDArray[np.int64],
    look: MapLook,
    marker: dict[str, Any],
) -> None:
    if not len(rows):
        return
    place = "" if points.is_by_case else ", slice %{customdata[2]}"
    marker = {"line": {"width": 0}, "opacity": 0.85, **marker}
    if not isinstance(marker["color"], str):
        marker["color"] = marker["color"][rows]
    if len(look.focus) and xy.shape[1] == 2:
        marker["opacity"] = np.where(np.isin(rows, look.focus), 1.0, FADED)
    figure.add_trace(
        _trace(
            xy.shape[1],
            **_axes(xy[rows]),
            mode="markers",
            name=marker.pop("name"),
            marker=marker,
            customdata=points.codes.key_table[rows],  # an array: plotly walks lists item by item
            hovertemplate=f"%{{customdata[0]}} %{{customdata[1]}}{place}<extra></extra>",
        )
    )


def _add_lines(figure: go.Figure, xy: NDArray[np.float32], pairs: Pairs, lines: Sequence[int]) -> None:
    """All lines in one trace, with a gap after each."""
    ends = np.stack([xy[pairs.first[lines]], xy[pairs.second[lines]], np.full((len(lines), xy.shape[1]), np.nan)], 1)
    figure.add_trace(
        _trace(
            xy.shape[1],
            **_axes(ends.reshape(-1, xy.shape[1])),
            mode="lines",
            line={"color": "#777777" if xy.shape[1] == 3 else "rgba(128,128,128,0.45)", "width": 1},
            hoverinfo="skip",
            name="one case",
            showlegend=False,
        )
    )


def _add_halo(figure: go.Figure, xy: NDArray[np.float32], ink: str, size: int) -> None:
    figure.add_trace(
        _trace(
            xy.shape[1],
            **_axes(xy),
            mode="markers",
            marker={"size": size + 4, "color": ink, "line": {"width": 0}},
            hoverinfo="skip",
            name="selected",
            showlegend=False,
        )
    )


def _lay_out(figure: go.Figure, n_axes: int, legend: bool) -> None:
    bare = {"showticklabels": False, "title": None, "zeroline": False, "showgrid": True}
    figure.update_layout(
        height=HEIGHT,
        margin={"l": 0, "r": 0, "t": 34 if legend else 6, "b": 0},
        uirevision="map",  # zoom and turn stay while colours change
        dragmode="orbit" if n_axes == 3 else "lasso",
        showlegend=legend,
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "itemsizing": "constant"},
        xaxis=bare,
        yaxis={**bare, "scaleanchor": "x"},
    )
    if n_axes == 3:
        side = {
            **bare,
            "title": {"text": ""},
            "showbackground": False,
            "gridcolor": "rgba(128,128,128,0.3)",
            "showspikes": False,
        }
        figure.update_layout(scene={"xaxis": side, "yaxis": side, "zaxis": side, "aspectmode": "data"})
