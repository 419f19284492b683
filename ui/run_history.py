"""A run's history: read as it grows, drawn as curves, told as speed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from os import SEEK_END
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from core.runs import Job
from ui.state import State

MAX_POINTS = 1_000
NOT_CURVES = ("step", "epoch", "split", "seconds", "lr")
SPLITS = {"train": ("Training cases", "#5451C9"), "val": ("Watched cases", "#E69F00")}
RECENT = 10  # lines that the speed is taken from


@dataclass
class Tail:
    """What has been read of one history.jsonl, so that each look reads only what is new."""

    run_id: str
    offset: int = 0
    lines: list[dict[str, Any]] = field(default_factory=list)

    def follow(self, job: Job) -> None:
        """Read on; a line that is half written waits for the next look."""
        path = job.folder / "history.jsonl"
        if not path.exists():
            return
        with path.open("rb") as stream:
            if stream.seek(0, SEEK_END) < self.offset:  # it went back to a checkpoint: lines were taken back
                self.offset, self.lines = 0, []
            stream.seek(self.offset)
            fresh = stream.read()
        whole = fresh[: fresh.rfind(b"\n") + 1]
        self.offset += len(whole)
        self.lines += [json.loads(line) for line in whole.splitlines()]


def history_of(run: Job) -> list[dict[str, Any]]:
    """All logged lines of the run that is looked at; kept in the session."""
    tail = st.session_state.get(State.HISTORY)
    if not isinstance(tail, Tail) or tail.run_id != run.id:
        tail = st.session_state[State.HISTORY] = Tail(run.id)
    tail.follow(run)
    return tail.lines


def steps_per_second(lines: list[dict[str, Any]]) -> float | None:
    """Over the last few lines; None before there are two."""
    recent = [line for line in lines if line["split"] == "train"][-RECENT:]
    if len(recent) < 2 or recent[-1]["seconds"] <= recent[0]["seconds"]:
        return None
    return float((recent[-1]["step"] - recent[0]["step"]) / (recent[-1]["seconds"] - recent[0]["seconds"]))


def thinned(lines: list[dict[str, Any]], most: int = MAX_POINTS) -> list[dict[str, Any]]:
    """Evenly fewer lines, the last one kept."""
    stride = -(-len(lines) // most)
    return lines if stride <= 1 else lines[(len(lines) - 1) % stride :: stride]


def curve_names(lines: list[dict[str, Any]]) -> list[str]:
    """What can be drawn, the total first."""
    names = {name: None for line in lines for name in line if name not in NOT_CURVES}
    return sorted(names, key=lambda name: name != "total")


def curves(run_id: str, lines: list[dict[str, Any]], height: int = 380) -> None:
    """The chosen quantity over the steps."""
    if not lines:
        st.caption("The first numbers come after a few steps.")
        return
    names = curve_names(lines)
    with st.container(horizontal=True, vertical_alignment="center"):
        name = names[0]
        if len(names) > 1:
            name = st.segmented_control(
                "Quantity", names, default=names[0], format_func=_said, key=f"curve-{run_id}", required=True,
                label_visibility="collapsed",
            ) or names[0]  # fmt: skip
        is_log = st.toggle("Logarithmic", key="curve-log", help="A logarithmic axis, where all values are positive")
    figure = go.Figure()
    for split, (words, colour) in SPLITS.items():
        part = thinned(
            [line for line in lines if line["split"] == split and line.get(name) is not None], MAX_POINTS // 2
        )
        if part:
            mode = "lines" if len(part) > 1 else "markers"
            hover = f"{words}, step %{{x}}: %{{y:.4g}}<extra></extra>"
            steps, values = [line["step"] for line in part], [line[name] for line in part]
            line = {"color": colour, "width": 2}
            figure.add_scatter(x=steps, y=values, name=words, mode=mode, line=line, hovertemplate=hover)
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        xaxis_title="Step",
        yaxis={"title": _said(name), "type": "log" if is_log else "linear", "tickformat": ",~g"},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        uirevision=f"{run_id}-{name}-{is_log}",
    )
    st.plotly_chart(figure, key=f"curves-{run_id}", config={"displaylogo": False}, alt=f"{_said(name)} over the steps")


def _said(name: str) -> str:
    words = name.replace("_", " ")
    return words.replace("kl", "KL") if words.startswith("kl") else words.capitalize()
