"""Evaluate: one run against every other entry of its table, case by case, and what may be claimed of that."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from core.metrics import metric_of
from ui.judged_table import Table
from ui.results import Entry, Pair, pair_words
from ui.score_charts import Scale


def rivals_view(table: Table, entry: Entry, pair: Pair, metric: str) -> None:
    """A line per rival: the paired difference with its interval, the corrected test, the claim in words."""
    from core.statistics import MIN_CASES, MIN_TEST_CASES, against_all

    scale = Scale.of(metric, pair[1], table.mae_units)
    rivals = {other.title: other.by_case(pair, metric) for other in table.entries if other is not entry}
    found = against_all(entry.by_case(pair, metric), rivals)
    if not found:
        st.caption("Nobody else was judged on this pair and these cases.")
        return
    lines = [_line(name, difference, scale) for name, difference in found.items()]
    frame = pd.DataFrame(sorted(lines, key=lambda line: str(line["rival"])))
    empty = [name for name in ("interval", "p") if not any(line[name] for line in lines)]
    st.dataframe(frame.drop(columns=empty), hide_index=True, column_config=_columns(entry, scale), placeholder="")
    st.caption(
        f"{metric_of(metric).name} of {entry.name} minus the rival's on the same case, {pair_words(pair)}. "
        f"An interval needs {MIN_CASES} cases, a test {MIN_TEST_CASES}. Tests are corrected for the number of rivals."
    )


def _line(name: str, difference: Any, scale: Scale) -> dict[str, Any]:
    from core.statistics import claim_words

    mean = difference.mean
    interval = "" if mean.low is None else f"{mean.low:+{scale.format}} to {mean.high:+{scale.format}}"
    p = "" if difference.p_holm is None else f"{difference.p_holm:.3f}" if difference.p_holm >= 0.001 else "< 0.001"
    claim = claim_words(difference, metric_of(scale.metric).best == "low")
    return {
        "rival": name,
        "claim": claim,
        "difference": f"{mean.mean:+{scale.format}}",
        "interval": interval,
        "effect": difference.effect,
        "p": p,
        "n": mean.n,
    }


def _columns(entry: Entry, scale: Scale) -> dict[str, Any]:
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    said = f"Difference, {scale.unit}" if scale.unit else "Difference"
    return {
        "rival": text("Against", help="Every other entry of the table above."),
        "claim": text(f"{entry.name} is", width=290, help="What these cases allow to say, at the 5 % level."),
        "difference": text(said, help=f"Mean over cases of {scale.label}: this run minus the rival."),
        "interval": text("95 % interval", help="Of the mean difference; BCa bootstrap over cases."),
        "effect": number(
            "Effect",
            format="%+.2f",
            help="Rank-biserial correlation, -1 to 1: 1 where this run's number is larger in "
            "every case, 0 where neither wins.",
        ),
        "p": text("p (Holm)", help="Paired Wilcoxon signed-rank test, corrected for the number of rivals."),
        "n": number("n", width=36, help="Cases that both were judged on."),
    }
