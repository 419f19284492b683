"""Evaluate: what a run's heads answer from every subset of modalities, beside the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from ui.results import Entry, Judged, Row
from ui.words import count_words

METRIC_HELP = {
    "Dice": "Overlap of what was found with the truth, 0 to 1, in the mask; of cases where either has any.",
    "AUROC": "Chance that a voxel of the class was given more than another, in the mask: 0.5 is guessing, 1 perfect.",
    "accuracy": "Share of cases whose most probable class is the true one.",
    "probability": "What the true class was given, 0 to 1; guessing gives one over the number of classes.",
    "absolute error": "Between what was said and the label, in the label's own unit. Lower is better.",
}


def has_answers(items: Sequence[Judged], entry: Entry) -> bool:
    """Whether an entry's runs tell more than images."""
    runs = set(entry.run_of.values())
    return any(item.about["answers"] for item in items if item.run.id in runs)


def task_view(rows: Sequence[Row]) -> None:
    """A table per task: a line a subset, the best first; a column a class or a metric, mean over cases."""
    names = list(dict.fromkeys(row["task"] for row in rows))
    name = names[0]
    if len(names) > 1:
        name = st.selectbox("Task", names, key="head", help="What the model tells beside the images.", width=280)
    lines, columns, n = task_table([row for row in rows if row["task"] == name])
    metric = next(row["metric"] for row in rows if row["task"] == name)
    st.dataframe(
        pd.DataFrame(lines),
        hide_index=True,
        column_config={
            "given": st.column_config.TextColumn("Given", width=230, help="The answer was told from these alone."),
            **{column: st.column_config.NumberColumn(column, format="%.3f", help=said) for column, said in columns},
            "n": st.column_config.NumberColumn("n", width=36, help="Held-out cases that have these and an answer."),
            "interval": st.column_config.TextColumn(
                "95 % interval", help=f"Of the first column's mean {metric}; BCa bootstrap over cases, from 6 cases on."
            ),
        },
        placeholder="too few cases",
        alt=f"{name} from every subset of modalities",
    )
    st.caption(f"{metric.capitalize()}: means over up to {count_words(n, 'held-out case')}, told from the shared code.")


def task_table(rows: Sequence[Row]) -> tuple[list[dict[str, Any]], list[tuple[str, str]], int]:
    """Lines, columns with their help, and the largest number of cases in a mean."""
    from core.task_scores import summarise_answers

    rows = sorted(rows, key=lambda row: row["metric"] == "AUROC")
    columns = {_column(row): METRIC_HELP[row["metric"]] for row in rows}
    first = next(iter(columns))
    groups: dict[str, dict[str, dict[str, Any]]] = {}
    for stat in summarise_answers(rows):
        groups.setdefault(" + ".join(stat["given"]), {})[_column(stat)] = stat
    lines = []
    for given, stats in groups.items():
        head = stats.get(first, {"n": 0, "low": None})
        interval = None if head["low"] is None else f"{head['low']:.3f} to {head['high']:.3f}"
        means = {column: stat["mean"] for column, stat in stats.items()}
        lines.append({"given": given, **means, "n": head["n"], "interval": interval})
    is_error = rows[0]["metric"] == "absolute error"
    lines.sort(key=lambda line: line.get(first, 0.0) * (1 if is_error else -1))
    n = max(stat["n"] for stats in groups.values() for stat in stats.values())
    return lines, list(columns.items()), n


def _column(row: Mapping[str, Any]) -> str:
    """A class stands for its Dice; anything else tells its measure."""
    if row["metric"] == "Dice":
        return str(row["class"])
    return f"{row['class']} {row['metric']}".strip()
