"""What a search found, in sentences: which setting is best, whether that is more than chance, what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.metrics import METRICS
from core.search.grid import said
from ui.jobs_banner import duration_words
from ui.search_charts import number_words, words_of
from ui.words import count_words

Table = Mapping[str, Any]


def sentences(table: Table) -> list[str]:
    """Which is best, whether that is more than chance, what was left out, what it cost, how much it flatters."""
    return [*_best_words(table), *_left_out_words(table), _cost_words(table), *_nested_words(table)]


def _best_words(table: Table) -> list[str]:
    metric = table["metric"]
    name = METRICS[metric].name
    if table["best"] is None:
        return [f"No setting has been judged on all folds yet. {name} so far:"]
    done = [row for row in table["points"] if row["state"] == "done"]
    best = done[0]
    cases = count_words(best["n"], "case")
    found = [f"**Best: {point_words(best)}.** {name} {_interval_words(metric, best)} over {cases}."]
    rivals = done[1:]
    verdicts = [row["is_told_apart"] for row in rivals]
    level = len(rivals) - verdicts.count(True)
    if not rivals:
        return found
    if verdicts.count(None):
        found.append(f"Whether that is more than chance cannot be said: {cases} are too few.")
    elif level == 0:
        found.append("It is better than each of the others by more than chance explains.")
    elif level == len(rivals):
        found.append("No other setting can be told apart from it: the differences are within what chance explains.")
    else:
        found.append(f"{level} of the other {len(rivals)} cannot be told apart from it; the rest are worse.")
    return found


def _left_out_words(table: Table) -> list[str]:
    found = []
    stopped = [row for row in table["points"] if row["state"] == "stopped"]
    failed = [row for row in table["points"] if row["state"] == "failed"]
    if stopped:
        when = " or ".join(str(n) for n in sorted({row["folds"] for row in stopped}))
        found.append(
            f"{count_words(len(stopped), 'setting')} stopped early, after {when} of {len(table['folds'])} folds."
        )
    if failed:
        found.append(f"{count_words(len(failed), 'setting')} could not be trained. The first one: {failed[0]['error']}")
    return found


def _cost_words(table: Table) -> str:
    words = f"Cost: {count_words(table['trainings'], 'training')}, {duration_words(table['seconds'])} of work in all."
    cut = sum(row["cut"] for row in table["points"])
    if cut:
        words += f" The time limit ended {count_words(cut, 'training')} early, which puts slow settings at a loss."
    return words


def _nested_words(table: Table) -> list[str]:
    nested, metric = table["nested"], table["metric"]
    if nested is None:
        return []
    if nested["folds"] < nested["of"] or nested["optimism"] is None:
        return [f"Nested estimate: {nested['folds']} of {nested['of']} folds done."]
    sign = 1 if table["better"] == "low" else -1
    flatters = sign * nested["optimism"]["mean"]
    span = span_words(metric, nested["optimism"])
    n_kinds = len(set(nested["chosen"]))
    chosen = "the same setting each time" if n_kinds == 1 else f"{n_kinds} different settings"
    verdict = f"the best score above flatters by {number_words(metric, flatters)}" if flatters > 0 else (
        "the best score above does not flatter"
    )  # fmt: skip
    return [
        f"Where choosing is judged too (nested): {_interval_words(metric, nested)}; {verdict}"
        + (f" (95 % interval of the difference {span})" if span and flatters else "")
        + f". {nested['of']} choices took {chosen}."
    ]


def _interval_words(metric: str, row: Mapping[str, Any]) -> str:
    span = span_words(metric, row)
    return f"{_with_unit(metric, row['mean'])}" + (f" (95 % interval {span})" if span else "")


def span_words(metric: str, row: Mapping[str, Any]) -> str:
    """Such as "0.0610 to 0.0720"; "" where there is no interval."""
    if row["low"] is None:
        return ""
    return f"{number_words(metric, row['low'])} to {number_words(metric, row['high'])}"


def _with_unit(metric: str, value: float) -> str:
    unit = METRICS[metric].unit if metric == "psnr" else ""
    return f"{number_words(metric, value)} {unit}".rstrip()


def behind_words(metric: str, row: Mapping[str, Any]) -> str:
    """Case by case, such as "0.0012 (0.0004 to 0.0021)"; "" for the best itself and what was not compared."""
    difference = row["behind"]
    if difference is None:
        return ""
    sign = 1 if METRICS[metric].best == "low" else -1
    ends = [sign * difference[end] for end in ("low", "high") if difference[end] is not None]
    span = " to ".join(number_words(metric, end) for end in sorted(ends))
    return number_words(metric, sign * difference["mean"]) + (f" ({span})" if span else "")


def point_words(row: Mapping[str, Any]) -> str:
    """Such as "latent size 16, learning rate 0.001"."""
    return ", ".join(f"{words_of(key).lower()} {said(value)}" for key, value in row["values"].items())


def verdict_words(table: Table, row: Mapping[str, Any]) -> str:
    """What a reader may conclude of one setting."""
    if row["state"] == "stopped":
        return "stopped early"
    if row["state"] == "failed":
        return "could not be trained"
    if row["state"] == "waiting":
        return "not done yet"
    if row["point"] == table["best"]:
        return "best"
    return {True: "worse", False: "no clear difference", None: "too few cases to say"}[row["is_told_apart"]]
