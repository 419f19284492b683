"""Histograms of intensities: counted with numpy, drawn as lines in the modality's colour."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
import streamlit as st
from numpy.typing import NDArray

from ui.style import modality_colour

BINS = 128
MAX_VALUES = 400_000  # a sample of this size draws the same curve
MAX_STEPS, MAX_STEPS_LOOKED_AT = 2048, 100_000
BACKGROUND_SHARE = 0.1
Histogram = tuple[NDArray[np.float64], NDArray[np.float64]]


def histogram_of(data: NDArray[np.float32], low: float | None = None, high: float | None = None) -> Histogram:
    """(centres, share of voxels per bin) without the background: the lowest value, where it is frequent.

    The outermost 0.1 % on each side are left out unless limits are given.
    """
    values = np.asarray(data).ravel()
    values = values[:: max(1, values.size // MAX_VALUES)]
    least = values.min()
    if np.mean(values == least) > BACKGROUND_SHARE and (values > least).any():
        values = values[values > least]
    limits = np.percentile(values, [0.1, 99.9]) if low is None or high is None else np.array([low, high])
    if limits[1] <= limits[0]:
        limits = limits + np.array([-0.5, 0.5])
    edges = _edges(values[(values >= limits[0]) & (values <= limits[1])], float(limits[0]), float(limits[1]))
    counts, edges = np.histogram(values, edges)
    return (edges[:-1] + edges[1:]) / 2, counts / max(1, values.size)


def _edges(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.float64]:
    """Even bins; where values come in steps (whole numbers), an equal number of steps in each bin: no comb."""
    steps = np.unique(values[:MAX_STEPS_LOOKED_AT]).astype(np.float64)
    if not 2 <= steps.size <= MAX_STEPS:
        return np.linspace(low, high, BINS + 1)
    width = np.median(np.diff(steps)) * np.ceil(steps.size / BINS)
    n = max(1, int(np.ceil((steps[-1] - steps[0]) / width + 1e-6)))
    return steps[0] - np.median(np.diff(steps)) / 2 + width * np.arange(n + 1)


def histogram_chart(series: Mapping[str, Histogram], unit: str, key: str, height: int = 240) -> None:
    """One line per modality."""
    figure = _figure(dict(series), unit, height)
    st.plotly_chart(figure, key=key, config={"displaylogo": False}, alt=f"Histogram of {', '.join(series)}")


@st.cache_resource(max_entries=64, ttl=600, show_spinner=False)
def _figure(series: dict[str, Histogram], unit: str, height: int) -> go.Figure:
    figure = go.Figure()
    for name, (centres, shares) in series.items():
        line = {"color": modality_colour(name), "width": 2}
        hover = f"{name}: %{{x:.4g}}, %{{y:.2%}}<extra></extra>"
        figure.add_scatter(x=centres, y=shares, name=name, mode="lines", line=line, hovertemplate=hover)
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        xaxis_title=f"Intensity ({'arbitrary units' if unit == 'a.u.' else unit})",
        yaxis={"title": "Share of voxels", "tickformat": ".1%", "rangemode": "tozero"},
        showlegend=len(series) > 1,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
    )
    return figure
