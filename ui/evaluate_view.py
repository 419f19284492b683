"""The pieces of the Evaluate page: the table of entries, the cases, one run's subsets, its checks, the protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core.metrics import metric_of, place_of
from core.types import PLACE
from ui.heatmap import SubsetLook, clicked_pair, subset_chart
from ui.judged_table import Table
from ui.results import (
    Entry,
    Pair,
    best_baseline,
    pair_id,
    pair_words,
)
from ui.score_charts import CONFIG, Scale, gain, interval_words, strip_chart
from ui.state import State
from ui.style import ink, table_height

WHOLE = ("mae", "psnr", "ssim", "ms_ssim", "nmi", "gradient_correlation", "blur")  # what can be chosen, of the mask
FIRST = 3  # of them always stand in the table
READS = 1.1  # a model that reads its source gets at least this much worse with another case's
TALL_ROWS = 11
TALL_PX = 430  # of the table and the dots; longer ones scroll
CHART = "subset-chart"


def ranked(entries: Sequence[Entry], pair: Pair, metric: str) -> list[Entry]:
    """Those that make this pair, the best mean first."""
    means = {entry.name: entry.stat(pair, metric) for entry in entries}
    kept = [entry for entry in entries if means[entry.name] is not None]
    best_last = metric_of(metric).best == "high"
    return sorted(kept, key=lambda entry: means[entry.name].mean, reverse=best_last)  # type: ignore[union-attr]


def scores_of(table: Table, pair: Pair) -> dict[str, list[str]]:
    """Region or protocol -> the scores that its runs have there, the whole mask ("") first."""
    known = {name for entry in table.runs for row in entry.rows.get(pair, ())[:1] for name in row}
    known |= {name for item in table.items for name in item.about.get("places", {}).get(pair[1], ())}
    found = {"": [name for name in WHOLE if name in known]}
    for name in sorted(name for name in known if PLACE in name):
        found.setdefault(place_of(name), []).append(name)
    return {place: sorted(names, key=_order) for place, names in found.items()}


def _order(score: str) -> int:
    return WHOLE.index(score.partition(PLACE)[0])


def columns_beside(table: Table, pair: Pair, metric: str) -> list[str]:
    """The scores that stand in the table with this one: the usual ones of the same place."""
    names = scores_of(table, pair)[place_of(metric)]
    return names[:FIRST] if metric in names[:FIRST] else [*names[: FIRST - 1], metric]


def place_words(place: str) -> str:
    """As a choice reads."""
    from core.regions import region_words

    return region_words(place) if place else "Whole mask"


def where_words(score: str) -> str:
    """Of which voxels a score tells, within a sentence."""
    from core.regions import region_words
    from core.synthrad import LIMITS_HU, limits_words

    place = place_of(score)
    if not place:
        return "the mask"
    return f"the mask, by {limits_words(place)[:-1]}" if place in LIMITS_HU else region_words(place).lower()


def score_table(table: Table, pair: Pair, metric: str) -> None:
    """A line per run and baseline; accuracy, then what it costs."""
    scales = {name: Scale.of(name, pair[1], table.mae_units) for name in columns_beside(table, pair, metric)}
    lines = [_line(table, entry, pair, metric, scales) for entry in ranked(table.entries, pair, metric)]
    frame = pd.DataFrame(lines)
    optional = ("interval", "gain", "sd", "quarters")
    frame = frame.drop(columns=[name for name in optional if not any(line[name] for line in lines)])
    st.dataframe(
        frame,
        hide_index=True,
        column_config=_columns(scales, metric),
        height=table_height(len(lines), TALL_PX),
        placeholder="",
        alt=f"Scores of every run and baseline for {pair_words(pair)}",
    )
    _tell_limits(table, metric)


def _tell_limits(table: Table, metric: str) -> None:
    """Where a challenge's limits cut the images before they are compared."""
    from core.synthrad import LIMITS_HU, limits_words

    if place_of(metric) in LIMITS_HU:
        st.caption(limits_words(place_of(metric), table.protocol.get("normaliser")))


def _line(table: Table, entry: Entry, pair: Pair, metric: str, scales: Mapping[str, Scale]) -> dict[str, Any]:
    stats = {name: entry.stat(pair, name) for name in scales}
    main = stats[metric]
    rival = best_baseline(table.entries, pair, metric, metric_of(metric).best, but=entry.model)
    is_judged = not entry.is_baseline and rival is not None and main is not None
    memory, parameters = entry.cost("peak_memory_mb"), entry.cost("parameters")
    return {
        "name": entry.title,
        **{name: None if stat is None else stat.mean for name, stat in stats.items()},
        "interval": interval_words(main, scales[metric]) if main else "",
        "gain": _gain_words(gain(main.mean, rival.mean, metric), metric) if is_judged and main and rival else "",
        **_spread_words(entry, pair, metric, scales[metric]),
        "n": main.n if main else 0,
        "seconds": entry.cost("seconds_per_case"),
        "memory": None if memory is None else round(memory),
        "parameters": None if parameters is None else parameters / 1e6,
    }


def _spread_words(entry: Entry, pair: Pair, metric: str, scale: Scale) -> dict[str, str]:
    """As the SynthRAD challenges report: the deviation and the quarters over cases; empty elsewhere."""
    from core.statistics import spread
    from core.synthrad import LIMITS_HU

    values = list(entry.by_case(pair, metric).values())
    if place_of(metric) not in LIMITS_HU or not values:
        return {"sd": "", "quarters": ""}
    sd, quarters = spread(values)
    return {"sd": scale.words(sd), "quarters": " / ".join(scale.words(value) for value in quarters)}


def _gain_words(value: float, metric: str) -> str:
    if metric_of(metric).best == "low":
        return f"{value:+.0%}"
    return f"{value:+.1f} dB" if metric == "psnr" else f"{value:+.3f}"


def _columns(scales: Mapping[str, Scale], metric: str) -> dict[str, Any]:
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    scores = {
        name: number(
            scale.label,
            width=105 if scale.unit else 78,
            format=f"%{scale.format}",
            help=f"{metric_of(name).help} Mean over cases, in {where_words(name)}.",
        )
        for name, scale in scales.items()
    }
    return {
        "name": text(
            "Model",
            width=145,
            help="The run, or a baseline on the very same voxels. Without pairs: it never saw two modalities of one "
            "slice together.",
        ),
        **scores,
        "interval": text(
            "95 % interval", width=110, help=f"Of the mean {metric_of(metric).name}; BCa bootstrap over cases."
        ),
        "gain": text("vs baseline", width=85, help=f"{metric_of(metric).name} against the best baseline; + is better."),
        "sd": text("SD", width=60, help="Standard deviation over cases."),
        "quarters": text("25 / 50 / 75 %", width=130, help="Percentiles over cases."),
        "n": number("n", width=36, help="Held-out cases."),
        "seconds": number("s / case", width=62, format="%.2f", help="Time to synthesise one whole volume from files."),
        "memory": number("Peak MB", width=68, help="Most memory that the evaluating process held."),
        "parameters": number("Params", width=68, format="%.2fM", help="Numbers that were learnt, in millions."),
    }


def show_cases(table: Table, pair: Pair, metric: str) -> None:
    """The dots, and one sentence on how many there are."""
    entries = ranked(table.entries, pair, metric)
    scale = Scale.of(metric, pair[1], table.mae_units)
    figure = strip_chart(entries, pair, scale)
    with scrolled(figure, TALL_PX):
        st.plotly_chart(
            figure,
            key="strip-chart",
            config=CONFIG,
            alt=f"{metric_of(metric).name} of every case, by model, for {pair_words(pair)}",
        )
    stats = [entry.stat(pair, metric) for entry in entries]
    n = max((stat.n for stat in stats if stat), default=0)
    has_interval = any(stat and stat.low is not None for stat in stats)
    better = "Left" if metric_of(metric).best == "low" else "Right"
    said = "bar: mean, line: 95 % interval" if has_interval else f"n = {n}: single cases shown, no interval"
    st.caption(f"{better} is better. Dot: one held-out case, {said}.")


def scrolled(figure: go.Figure, at_most_px: int) -> DeltaGenerator:
    """A place for a figure, which scrolls where the figure is taller than this."""
    is_tall = (figure.layout.height or 0) > at_most_px
    return st.container(height=at_most_px if is_tall else "content", border=False)


def subset_map(table: Table, entry: Entry, pairs: Sequence[Pair], metric: str, chosen: Pair) -> None:
    """The heat map; a click chooses the pair for the whole page."""
    look = SubsetLook(metric, table.mae_units, chosen, ink())
    figure = subset_chart(entry, table.entries, pairs, look)
    with scrolled(figure, 470):
        st.plotly_chart(
            figure,
            key=CHART,
            on_select=_take_click,
            selection_mode="points",
            config=CONFIG,
            alt=f"{metric_of(metric).name} of {entry.name} for every subset of given modalities and every target",
        )


def _take_click() -> None:
    pair = clicked_pair(st.session_state.get(CHART, {}))
    if pair is not None:
        st.session_state[State.PAIR] = pair


def worst_cases(table: Table, entry: Entry, pair: Pair, metric: str) -> None:
    """The cases of one pair, worst first, and the way to Compare."""
    scale = Scale.of(metric, pair[1], table.mae_units)
    rows = [row for row in entry.rows.get(pair, ()) if row.get(metric) is not None]
    st.markdown(f"**{pair_words(pair)}**, worst case first")
    if not rows:
        st.caption("This run does not make this target from these. Click a cell that has a number.")
        return
    rows = sorted(rows, key=lambda row: row[metric], reverse=metric_of(metric).best == "low")
    frame = pd.DataFrame([{"case": row["case"], metric: row[metric]} for row in rows])
    event = st.dataframe(
        frame,
        hide_index=True,
        height="content" if len(rows) <= TALL_ROWS else 320,
        on_select="rerun",
        selection_mode="single-row",
        key=f"{State.CASES_PICKED}-{pair_id(pair)}",
        column_config={"case": "Case", metric: st.column_config.NumberColumn(scale.label, format=f"%{scale.format}")},
    )
    picked = event["selection"]["rows"]
    case = str(rows[picked[0] if picked and picked[0] < len(rows) else 0]["case"])
    tip = "Look at this synthesis beside the truth. Choose another case by its row."
    if st.button(f"Open {case} on Compare", icon=":material/compare:", help=tip, key="open-compare"):
        query = {State.RUN: entry.run_of[case], State.CASE: case}
        st.switch_page(
            "pages/compare.py", query_params={**query, State.GIVEN: ",".join(pair[0]), State.TARGET: pair[1]}
        )


def source_check(found: Sequence[Mapping[str, Any]], mae_units: Mapping[str, str]) -> None:
    """Does the error grow when the source is taken from another case?"""
    pairs: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for check in found:
        if check["given"] != [check["target"]]:
            pairs.setdefault((check["given"][0], check["target"]), []).append(check)
    lines = []
    for (given, target), checks in sorted(pairs.items()):
        own, swapped = (sum(check[name] for check in checks) / len(checks) for name in ("mae", "mae_swapped"))
        ratio = swapped / own if own else None
        unit = mae_units.get(target, "")
        line = {"pair": f"{given} → {target}", "own": own, "swapped": swapped, "unit": unit, "ratio": ratio}
        lines.append({**line, "n": len(checks), "verdict": _verdict(ratio)})
    st.caption(
        "A model that reads its source does worse when another case's source is put in its place. One that answers "
        "with an average head does not."
    )
    if not lines:
        st.caption("No single-source synthesis was judged for this run.")
        return
    number = st.column_config.NumberColumn
    config = {
        "pair": "Given → made",
        "own": number("MAE, own source", format="%.4g", help="Mean over cases."),
        "swapped": number("MAE, another's", format="%.4g", help="The same, from another case's source."),
        "unit": "Unit",
        "ratio": number("Ratio", format="%.2f", help="Another's over own. 1: the source plays no part."),
        "n": number("n", help="Held-out cases."),
        "verdict": st.column_config.TextColumn("Reads its source?", help=f"Yes from a ratio of {READS:g} on."),
    }
    st.dataframe(
        pd.DataFrame(lines), hide_index=True, column_config=config, height="content" if len(lines) <= TALL_ROWS else 380
    )


def _verdict(ratio: float | None) -> str:
    if ratio is None:
        return ""
    return "yes" if ratio >= READS else "hardly" if ratio > 1.02 else "no"
