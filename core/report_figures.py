"""Figures of a report, drawn as SVG: they need no script and no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

WIDTH, LINE_PX, LEFT_PX, RIGHT_PX, FOOT_PX = 340, 24, 110, 16, 40
ACCENT, QUIET = "#6E6BE0", "#888888"


def strip(
    values: Mapping[str, Sequence[float]], label: str, spans: Mapping[str, tuple[float, float]] | None = None
) -> str:
    """A line a model, a dot a case, a bar at the mean; the first model is the one that counts.

    Args:
        spans: model -> interval of its mean, drawn as a line.
    """
    every = np.concatenate([np.asarray(found, float) for found in values.values()])
    low, high = float(every.min()), float(every.max())
    room = 0.05 * (high - low) or abs(high) or 1.0
    low, high = low - room, high + room

    def place(value: float) -> float:
        return LEFT_PX + (value - low) / (high - low) * (WIDTH - LEFT_PX - RIGHT_PX)

    height = LINE_PX * len(values) + FOOT_PX
    parts = [f'<text x="{WIDTH / 2}" y="{height - 4}" text-anchor="middle" fill="{QUIET}">{escape(label)}</text>']
    for value in np.linspace(low + room, high - room, 3):
        parts.append(
            f'<text x="{place(value):.1f}" y="{height - 21}" text-anchor="middle" fill="{QUIET}">{value:.3g}</text>'
        )
    for n, (name, found) in enumerate(values.items()):
        y, colour = LINE_PX * (n + 0.5), QUIET if n else ACCENT
        parts.append(f'<text x="{LEFT_PX - 8}" y="{y + 4}" text-anchor="end" fill="currentColor">{escape(name)}</text>')
        parts += [f'<circle cx="{place(v):.1f}" cy="{y}" r="3.5" fill="{colour}" opacity="0.8"/>' for v in found]
        if spans and name in spans:
            first, last = (place(value) for value in spans[name])
            parts.append(f'<path d="M{first:.1f} {y}H{last:.1f}" stroke="{colour}" stroke-width="2"/>')
        middle = place(float(np.mean(found)))
        parts.append(f'<path d="M{middle:.1f} {y - 8}v16" stroke="{colour}" stroke-width="3"/>')
    said = escape(f"{label} of every case, by model")
    return (
        f'<svg role="img" aria-label="{said}" width="{WIDTH}" height="{height}" font-size="12" '
        f'font-family="system-ui,sans-serif">{"".join(parts)}</svg>'
    )


def side_by_side(figures: Sequence[str], columns: int = 2) -> str:
    """Figures of this module as one SVG file, on white."""
    heights = [int(figure.partition('height="')[2].partition('"')[0]) for figure in figures]
    row_px = max(heights) + LINE_PX
    n_rows = -(-len(figures) // columns)
    width, height = columns * (WIDTH + LINE_PX), n_rows * row_px
    parts = []
    for n, figure in enumerate(figures):
        x, y = n % columns * (WIDTH + LINE_PX), n // columns * row_px + LINE_PX // 2
        parts.append(figure.replace("<svg ", f'<svg x="{x}" y="{y}" ', 1))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" color="#1b1d26">'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'
    )
