"""Evaluate: do the error bars of a run hold? Coverage with its interval, width, and whether doubt points at errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from core.measured_doubt import pair_in, read_doubt
from core.runs import Run
from core.types import PHYSICAL_UNITS
from ui.bars_view import offer_measurement
from ui.comparison import caveat
from ui.judged_table import Table
from ui.outcome import failure_notice
from ui.results import Entry, Pair, pair_id, pair_words
from ui.score_charts import ACCENT, CONFIG, QUIET
from ui.style import ink
from ui.unseen import looked_at
from ui.words import count_words

SPREADS = {
    "expected error": "the error bars",
    "sampling": "draws from the posterior alone",
    "subsets": "disagreement of the given modalities alone",
}


def uncertainty_view(table: Table, entry: Entry, pair: Pair) -> None:
    """One run and pair; where nothing was measured yet, the way to it."""
    runs = {run.id: run for run in (item.run for item in table.items) if run.id in set(entry.run_of.values())}
    if pair[0] == (pair[1],):
        st.caption("Error bars are for syntheses: choose one under “Task”.")
        return
    run = _one(runs)
    failure_notice("uncertainty", "Calibrating error bars")
    looked_at("uncertainty", [run.id])
    record = read_doubt(run)
    pair = _known_pair(record, pair)
    found = pair_in(record, *pair)
    if found is None:
        st.markdown(f"**No error bars for {pair_words(pair)} yet.** {ABOUT}")
        offer_measurement(run, [pair], "evaluate-bars")
        return
    if not found["n_test"]:
        st.caption("No test case shows anything inside the mask, so there is nothing to tell.")
        return
    found = {**found, "unit": found["unit"] if found["unit"] in PHYSICAL_UNITS else ""}
    left, right = st.columns([63, 37], gap="medium")
    with left:
        _headline(found)
        _where_table(found)
        _guarantees(found)
    with right:
        _sparsification(found)
        _inventions(found)
        if warning := caveat(*pair):
            st.markdown(f":orange[:material/warning:] :small[{warning} No error bar knows of that.]")


ABOUT = (
    "Some held-out cases calibrate how wide a bar must be to hold 90 % of the time; the others test whether it does. "
    "Compare then shows a bar for every voxel."
)


def _one(runs: Mapping[str, Run]) -> Run:
    """The run; of folds taken together, the one that is chosen."""
    names = list(runs)
    if len(names) == 1:
        return runs[names[0]]
    tip = "Each fold is a run of its own, with error bars of its own."
    return runs[st.selectbox("Fold", names, format_func=lambda n: runs[n].title, key="bars-fold", width=320, help=tip)]


def _known_pair(record: Mapping[str, Any] | None, pair: Pair) -> Pair:
    """The page's pair; where only others have error bars, those are offered, and the first of them is shown."""
    known = [(tuple(one["given"]), str(one["target"])) for one in (record or {}).get("pairs", ())]
    if not known or pair_in(dict(record or {}), *pair) is not None:
        return pair
    words = {pair_id(one): pair_words(one) for one in known}
    words[pair_id(pair)] = f"{pair_words(pair)} (no error bars yet)"
    tip = "The pair chosen above has no error bars yet; these have."
    by_id = {pair_id(one): one for one in (*known, pair)}
    chosen = st.selectbox(
        "Error bars of", list(by_id), format_func=words.__getitem__, key=f"bars-of-{pair_id(pair)}", width=320, help=tip
    )
    return by_id[chosen]


def _headline(found: Mapping[str, Any]) -> None:
    unit = found["unit"]
    case = found["case"]
    cells = st.columns(4)
    cells[0].metric(
        "Voxels inside",
        _percent(found["voxel"]["mean"]),
        help="Of the voxels of a test case, mean over cases. Aim: 90 %.",
    )
    cells[1].metric(
        "Cases that hold",
        f"{case['held']} of {case['n']}" if case else "too few",
        help="Test cases with at least 90 % of their voxels inside the wider bars. Aim: 90 % of cases.",
    )
    cells[2].metric("Half width" + (f", {unit}" if unit else ""), _number(found["width"]["mean"], unit), help=WIDTH_TIP)
    ause = found["sparsification"]["ause"]["expected error"]["mean"]
    cells[3].metric("AUSE", f"{ause:.3f}", help="0: doubt ranks voxels just as their errors do. Lower is better.")


WIDTH_TIP = "Of the voxel bars, mean over voxels and test cases: the synthesis plus or minus this."


def _where_table(found: Mapping[str, Any]) -> None:
    """Coverage overall, per predicted tissue, and in regions that only the truth knows."""
    from core.regions import region_words

    lines = [_line("All voxels", "", found["voxel"])]
    bounds = found["bounds"]["tissues"]
    for name, interval in found["tissues"].items():
        if interval:
            told = "predicted, calibrated" if name in bounds else "predicted, too rare to calibrate"
            lines.append(_line(region_words(name), told, interval))
    lines += [_line(region_words(name), "true", interval) for name, interval in found["regions"].items() if interval]
    lesions = lesion_rows(found["rows"])
    if lesions:
        n = len(lesions)
        lines.append(
            _line("Lesions alone", "true", {"mean": sum(one["covered"] for one in lesions) / n, "low": None, "n": n})
        )
    st.dataframe(
        pd.DataFrame(lines),
        hide_index=True,
        height="content",
        column_config=COLUMNS,
        placeholder="",
        alt="Share of voxels inside their error bar, by tissue",
    )
    if lesions:
        with st.popover(f"{count_words(len(lesions), 'lesion')} one by one", icon=":material/search:"):
            st.dataframe(pd.DataFrame(lesions), hide_index=True, column_config=LESION_COLUMNS)


def _line(name: str, told: str, interval: Mapping[str, Any]) -> dict[str, Any]:
    low, high = interval["low"], interval.get("high")
    said = "" if low is None or high is None else f"{_percent(low)} to {_percent(high)}"
    return {"where": name, "told": told, "inside": 100 * interval["mean"], "interval": said, "n": interval["n"]}


COLUMNS = {
    "where": st.column_config.TextColumn("Where", width=150),
    "told": st.column_config.TextColumn(
        "Told by",
        width=190,
        help="Predicted: from the images that are given and made. True: from the label maps, to judge only.",
    ),
    "inside": st.column_config.NumberColumn("Inside the bar, %", format="%.1f", help="Mean over test cases. Aim: 90."),
    "interval": st.column_config.TextColumn("95 % interval", width=130, help="BCa bootstrap over cases, from 6 on."),
    "n": st.column_config.NumberColumn("n", width=40, help="Test cases with enough such voxels; lesions for lesions."),
}
LESION_COLUMNS = {
    "case": "Case",
    "voxels": st.column_config.NumberColumn("Voxels"),
    "covered": st.column_config.NumberColumn("Inside the bar", format="percent"),
}


def _guarantees(found: Mapping[str, Any]) -> None:
    """What each promise means, and whether it was kept."""
    from core.conformal import few_words

    n, tested = found["n_calibration"], found["n_test"]
    st.markdown(
        f":small[**Voxels**: of the voxels of new patients, 90 % lie inside their bar, each patient weighing the same. "
        f"Measured: {_percent(found['voxel']['mean'])} on {count_words(tested, 'test case')}.]"
    )
    case = found["case"]
    if case is None:
        st.markdown(f":small[**Cases**: {few_words(n)}]")
    else:
        st.markdown(
            f":small[**Cases**: in 90 % of new patients at least 90 % of the voxels lie inside bars of mean half width "
            f"{_number(found['case_width']['mean'], found['unit'])} {found['unit']}. Measured: {case['held']} of "
            f"{case['n']} cases, {_percent(case['share'])} (exact 95 % interval {_percent(case['low'])} to "
            f"{_percent(case['high'])}).]"
        )
    st.caption(
        f"Calibrated on {count_words(n, 'held-out case')}, tested on {tested} others; neither were learnt from. Both "
        "promises are averages: they say nothing of one given voxel, nor of patients unlike these."
    )


def _sparsification(found: Mapping[str, Any]) -> None:
    curves = found["sparsification"]
    figure = go.Figure()
    x = [100 * share for share in curves["left_out"]]
    figure.add_scatter(
        x=[0, 95], y=[1, 1], mode="lines", name="at random", line={"color": QUIET, "dash": "dot", "width": 1.5}
    )
    figure.add_scatter(x=x, y=curves["doubt"], name="most doubted first", line={"color": ACCENT, "width": 2.5})
    figure.add_scatter(x=x, y=curves["oracle"], name="worst first", line={"color": ink(), "width": 1.5})
    figure.update_layout(
        height=300,
        margin={"l": 4, "r": 12, "t": 6, "b": 8},
        xaxis={"title": "voxels left out, %", "zeroline": False},
        yaxis={"title": "error of the rest, of all", "rangemode": "tozero"},
        legend={"x": 0.02, "y": 0.03, "yanchor": "bottom", "bgcolor": "rgba(0,0,0,0)"},
    )
    st.markdown("**Does doubt point at errors?**")
    st.plotly_chart(figure, key="sparsification", config=CONFIG, alt="Error of what remains as voxels are left out")
    told = ", ".join(f"{SPREADS[kind]} {value['mean']:.3f}" for kind, value in curves["ause"].items() if value)
    st.caption(f"The nearer to the lower line, the better. Area between them (AUSE): {told}.")


def _inventions(found: Mapping[str, Any]) -> None:
    """How well flags tell invented structures from real ones; misses are told beside, for no flag can show them."""
    told = found.get("invented")
    st.markdown("**Does it invent structures?**", help=INVENTED_TIP)
    if not told or told["auroc"]["value"] is None:
        st.caption("Too few structures to tell.")
        return
    auroc = told["auroc"]
    interval = "" if auroc["low"] is None else f", 95 % interval {auroc['low']:.2f} to {auroc['high']:.2f}"
    alone = ", ".join(f"{EVIDENCE[name]} {v:.2f}" for name, v in told["auroc_alone"].items() if v is not None)
    cases = count_words(told["n_cases"], "held-out case")
    st.caption(
        f"Of {told['structures']} spots and patches in the syntheses of {cases}, {told['invented']} are not in the "
        f"real image. Flags tell them from real ones with an area under the curve of **{auroc['value']:.2f}**{interval}"
        f" (0.5: chance). To catch {100 * told['sensitivity']:.0f} % of them costs {told['false_alarms']:.1f} false "
        f"alarms a case. One sign alone: {alone}."
    )
    st.caption(
        f"Missed: {told['missed']} of {count_words(told['lesions'], 'real lesion')} left no trace in the synthesis. No "
        "flag can show those."
    )


INVENTED_TIP = (
    "A spot that stands out of the synthesis, but has less than half of that contrast in the real image, is invented."
)
EVIDENCE = {
    "expected error": "expected error",
    "sampling": "draws differ",
    "subsets": "given modalities disagree",
    "cycle": "the way back fails",
    "code": "unusual code",
}


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _number(value: float, unit: str) -> str:
    return f"{value:.1f}" if unit else f"{value:.3f}"


def lesion_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every lesion of the test cases, the least covered first."""
    found = [{"case": row["case"], **lesion} for row in rows for lesion in row["lesions"]]
    return sorted(found, key=lambda lesion: lesion["covered"])
