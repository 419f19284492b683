"""Compare: error bars of a synthesis, as colours laid over it and beside the value under the cursor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from core.measured_doubt import pair_in, read_doubt
from core.render import Window
from core.runs import ENDED, Run, list_jobs
from core.types import Array
from ui.jobs_banner import start_job
from ui.slice_view import Pane
from ui.state import State, workspace
from ui.switch import switch

if TYPE_CHECKING:
    from core.compare import CompareResult

OFF = "off"
RULES = {OFF: "Off", "voxel": "Voxels", "case": "Cases"}
TIP = (
    "90 % error bars, drawn over the synthesis in colours and told behind its value. Voxels: of the voxels of new "
    "patients, 90 % lie inside their bar. Cases: in 90 % of new patients, at least 90 % of the voxels do; these bars "
    "are wider."
)
BRIGHT = 99  # percentile of the bars at which the colours end


def choose_bars(run: Run, given: Sequence[str], target: str, is_held_out: bool) -> tuple[str, dict[str, Any] | None]:
    """Which rule's bars are shown ("off" for none), and what was measured of this pair; or the way to measure it."""
    pair = pair_in(read_doubt(run), given, target)
    if pair is None:
        if target not in given:
            offer_measurement(run, [(tuple(given), target)], "compare-bars")
        return OFF, None
    known = RULES if pair["bounds"]["case"] is not None else {k: v for k, v in RULES.items() if k != "case"}
    rule = switch("Error bars", known, State.BARS, TIP)
    if note := _note(pair, rule, is_held_out):
        st.caption(note)
    return rule, pair


def offer_measurement(run: Run, pairs: Sequence[tuple[tuple[str, ...], str]], key: str) -> None:
    """A button that starts the job; none while one works on this run."""
    jobs = (job for job in list_jobs(workspace()) if job.kind == "uncertainty" and job.params["run"] == run.id)
    if any(job.state not in ENDED for job in jobs):
        st.caption("Error bars are being calibrated. They appear here when that is done.")
        return
    tip = "Learn and calibrate 90 % error bars for this pair, and test them on other held-out cases. Takes minutes."
    if st.button("Calibrate error bars", icon=":material/straighten:", help=tip, key=key):
        start_job("uncertainty", {"run": run.id, "device": "auto", "pairs": [[list(g), t] for g, t in pairs]})
        st.rerun()


def with_bars(panes: Sequence[Pane], half_width: Array | None, result: CompareResult) -> list[Pane]:
    """The panes, with one of the bars behind the synthesis, whose value then tells its bar."""
    if half_width is None:
        return list(panes)
    made = next(pane for pane in panes if pane.key == "synthesis")
    data = half_width * np.float32(result.scale)
    inside = data[result.mask]
    window = Window(0.0, float(np.percentile(inside, BRIGHT)) or 1.0 if inside.size else 1.0)
    bar = replace(
        made, key="bar", title="90 % error bar, \u00b1", data=data, window=window, colours="doubt", over="synthesis"
    )
    shown: list[Pane] = []
    for pane in panes:
        shown += [replace(pane, bar="bar"), bar] if pane.key == "synthesis" else [pane]
    return shown


def _note(pair: dict[str, Any], rule: str, is_held_out: bool) -> str:
    """What must be known of the bars that are shown; empty where there is nothing to say."""
    if rule == OFF:
        return ""
    if not is_held_out:
        return "Bars hold for new patients. On this case, which the model knows, they mean little."
    return f"Calibrated on {pair['n_calibration']} cases only: rough." if pair["bounds"]["case"] is None else ""
