"""Compare: what is doubted of a synthesis, as colours laid over it; error bars also beside the value."""

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
from ui.words import count_words

if TYPE_CHECKING:
    from core.compare import CompareResult

OFF, FLAGS = "off", "flags"
RULES = {OFF: "Off", "voxel": "Voxels", "case": "Cases", FLAGS: "Structures"}
TIP = (
    "Drawn over the synthesis in colours. Voxels and Cases are 90 % error bars, told behind the value too. Voxels: of "
    "the voxels of new patients, 90 % lie inside their bar. Cases: in 90 % of new patients, at least 90 % of the "
    "voxels do; these bars are wider. Structures: what the model may have invented."
)
BRIGHT = 99  # percentile of the bars at which the colours end


def choose_bars(run: Run, given: Sequence[str], target: str, is_held_out: bool) -> tuple[str, dict[str, Any] | None]:
    """Which rule's bars are shown ("off" for none), and what was measured of this pair; or the way to measure it."""
    pair = pair_in(read_doubt(run), given, target)
    if pair is None:
        if target not in given:
            offer_measurement(run, [(tuple(given), target)], "compare-bars")
        return OFF, None
    lacking = {"case"} if pair["bounds"]["case"] is None else set()
    lacking |= set() if _has_flags(pair) else {FLAGS}
    known = {rule: words for rule, words in RULES.items() if rule not in lacking}
    rule = switch("How sure is it?", known, State.BARS, TIP)
    if note := _note(pair, rule, is_held_out):
        st.caption(note)
    return rule, pair


def _has_flags(pair: dict[str, Any]) -> bool:
    found = pair.get("invented")
    return bool(found) and found["threshold"] is not None


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


def with_doubt(panes: Sequence[Pane], doubt: Array | None, rule: str, result: CompareResult) -> list[Pane]:
    """The panes, with one of what is doubted behind the synthesis; its value then tells its error bar."""
    if doubt is None:
        return list(panes)
    made = next(pane for pane in panes if pane.key == "synthesis")
    over = replace(_flag_pane(made, doubt) if rule == FLAGS else _bar_pane(made, doubt, result), over="synthesis")
    told = made if rule == FLAGS else replace(made, bar=over.key)
    return [one for pane in panes for one in ((told, over) if pane is made else (pane,))]


def _bar_pane(made: Pane, half_width: Array, result: CompareResult) -> Pane:
    data = half_width * np.float32(result.scale)
    inside = data[result.mask]
    window = Window(0.0, float(np.percentile(inside, BRIGHT)) or 1.0 if inside.size else 1.0)
    return replace(made, key="bar", title="90 % error bar, \u00b1", data=data, window=window, colours="doubt")


def _flag_pane(made: Pane, probability: Array) -> Pane:
    n = np.unique(probability[probability > 0]).size
    title = f"May be invented: {count_words(n, 'spot')}" if n else "Nothing flagged"
    return replace(made, key="flags", title=title, data=probability, window=Window(0, 1), unit="", colours="doubt")


def _note(pair: dict[str, Any], rule: str, is_held_out: bool) -> str:
    """What must be known of what is shown; empty where there is nothing to say."""
    if rule == OFF:
        return ""
    if not is_held_out:
        return "This holds for new patients. On this case, which the model knows, it means little."
    if rule == FLAGS:
        found = pair["invented"]
        return (
            f"Colour: how likely a spot is not in the real {pair['target']}. On held-out cases such flags caught "
            f"{100 * found['sensitivity']:.0f} % of what was invented, with {found['false_alarms']:.1f} false alarms a "
            "case. A real lesion that the synthesis lacks is never flagged."
        )
    return f"Calibrated on {pair['n_calibration']} cases only: rough." if pair["bounds"]["case"] is None else ""
