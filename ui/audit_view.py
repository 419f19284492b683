"""Evaluate, Further checks: usefulness, misalignment, copies, realism of one run; found by a job, read from files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from core.findings import finding
from core.runs import ENDED, Run, list_jobs
from ui.errors import guard
from ui.jobs_banner import start_job
from ui.outcome import failure_notice
from ui.results import Entry, pair_words
from ui.score_charts import CONFIG
from ui.state import State, workspace
from ui.style import modality_colour
from ui.switch import switch
from ui.unseen import looked_at
from ui.words import count_words

Row = Mapping[str, Any]
CHECKS = {
    "usefulness": "Of use?",
    "misalignment": "Misaligned?",
    "memorisation": "Copies?",
    "realism": "Real as a whole?",
}
ASKS = {
    "usefulness": "A segmenter that learnt from real training images alone is run on real and on synthesised held-out "
    "images. What of its accuracy is kept on the syntheses?",
    "misalignment": "Each real target is moved by some voxels or degrees and compared with itself. Could the error be "
    "nothing but images that do not lie on each other?",
    "memorisation": "For each synthesis the nearest training image is looked for. Does it lie nearer than real people "
    "lie to each other, as a copy would?",
    "realism": "Syntheses and real images of other people are compared as a whole, in the code of one encoder that "
    "learnt from real training images and is the same for every run.",
}
NAMED = 3  # pairs in a sentence
TALL_ROWS, TALL_PX = 10, 380


def audit_view(entry: Entry) -> None:
    """The chosen check: what it asks, what was found, or the button that starts it."""
    runs = sorted(set(entry.run_of.values()))
    if len(runs) != 1:
        st.caption("These are several folds taken together. Choose one fold under “Judged on” to check its run.")
        return
    run = Run.open(workspace(), runs[0])
    failure_notice("audit", "The check")
    name = switch("Check", CHECKS, State.AUDIT, is_label_shown=False)
    record = finding(run, name)
    looked_at("audit", [run.id])
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(ASKS[name], width="stretch")
        _offer(run, name, bool(record))
    if record.get("error"):
        st.info(str(record["error"]), icon=":material/info:")
    elif record:
        VIEWS[name](record["result"])


def _offer(run: Run, name: str, is_done: bool) -> None:
    """Start the check; what is there already is found anew only where weights or data are others."""
    at_work = {n for job in _jobs() if job.params["run"] == run.id for n in job.params["names"]}
    if name in at_work:
        st.caption(":material/hourglass: At work. The result appears here.", width="content")
        return
    tip = "Some minutes, in the background. What was found is kept with the run."
    words, icon = ("Check again", ":material/refresh:") if is_done else ("Check", ":material/play_arrow:")
    if st.button(words, icon=icon, type="tertiary" if is_done else "primary", help=tip, key=f"audit-{name}"):
        with guard():
            start_job("audit", {"run": run.id, "names": [name], "device": "auto"})
            st.rerun()


def _jobs() -> list[Any]:
    return [job for job in list_jobs(workspace()) if job.kind == "audit" and job.state not in ENDED]


def _usefulness(found: Row) -> None:
    lines = [
        {
            "pair": _pair(row),
            "what": f"{row['class'][:1].upper()}{row['class'][1:]}",
            "kept": row["mean"],
            "interval": _span(row, ".0f", " %"),
            "real": row["dice_real"],
            "made": row["dice_made"],
            "n": row["n"],
        }
        for row in found["summary"]
    ]
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    _table(
        sorted(lines, key=lambda line: (line["pair"], line["what"])),
        {
            "pair": text("Given → made"),
            "what": text("Segmented", help="Class of the label map."),
            "kept": number(
                "Dice kept", format="%.0f %%", help="Dice on the synthesis in per cent of Dice on the real image."
            ),
            "interval": text("95 % interval", help="Of the mean over cases."),
            "real": number("Dice, real", format="%.2f", help="Of the segmenter on the real image."),
            "made": number("Dice, made", format="%.2f", help="Of the same segmenter on the synthesis."),
            "n": number("n", width=36, help="Held-out cases whose real image could be segmented."),
        },
    )
    st.caption(
        f"100 %: as good as the real image. Cases whose real image the segmenter cannot read (Dice under "
        f"{found['least_dice']:g}) do not count."
    )


def _misalignment(found: Row) -> None:
    warned = [row for row in found["pairs"] if row["warns"]]
    askew = [row for row in found["pairs"] if row["is_askew"]]
    if askew:
        said = _pairs_words(askew, found["pairs"])
        st.warning(
            f"{said}: the synthesis fits better where the real image is moved one way. Check the alignment on Prepare."
        )
    if warned:
        said = _pairs_words(warned, found["pairs"])
        st.info(
            f"{said}: images that lie 1 to 3 voxels apart would make an error of this size by themselves. A better "
            "score than this may mean a better alignment, not a better model.",
            icon=":material/straighten:",
        )
    left, right = st.columns([3, 2], gap="medium")
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    lines = [
        {"pair": _pair(row), "mae": row["mae"], "shift": _move(row["as_shift"]), "turn": _move(row["as_turn"], "°")}
        for row in found["pairs"]
    ]
    with left:
        _table(
            lines,
            {
                "pair": text("Given → made"),
                "mae": number("MAE", format="%.3g", help="Of the synthesis, mean over these cases."),
                "shift": text("As a shift of", help="Voxels by which a perfect image has to be moved to cost as much."),
                "turn": text("As a turn of", help="Degrees by which a perfect image has to be turned to cost as much."),
            },
        )
    with right:
        figure = _curves(found["curves"])
        st.plotly_chart(figure, key="misalignment-chart", config=CONFIG, alt="Error of a perfect image when moved")
    st.caption(f"Means over {count_words(len(found['cases']), 'held-out case')} and all directions.")


def _pairs_words(some: Sequence[Row], every: Sequence[Row]) -> str:
    if len(some) == len(every) > 1:
        return f"All {len(every)} pairs"
    named = ", ".join(_pair(row) for row in some[:NAMED])
    return named if len(some) <= NAMED else f"{len(some)} of {len(every)} pairs, such as {named}"


def _move(value: float | None, unit: str = " voxels") -> str:
    return "more than tried" if value is None else f"{value:.1f}{unit}"


def _curves(rows: Sequence[Row]) -> go.Figure:
    """Error of each target's own image under shifts, on a scale of its largest."""
    figure = go.Figure()
    for target in sorted({row["target"] for row in rows}):
        points = [(row["size"], row["ssim"]) for row in rows if (row["target"], row["kind"]) == (target, "shift")]
        figure.add_scatter(
            x=[size for size, _ in points], y=[value for _, value in points], name=target, mode="lines+markers",
            line={"color": modality_colour(target)}, hovertemplate="%{x:g} voxels: SSIM %{y:.2f}",
        )  # fmt: skip
    figure.update_layout(
        height=250, margin={"l": 4, "r": 8, "t": 8, "b": 8}, legend={"orientation": "h", "y": 1.15},
        xaxis={"title": "Shift of a perfect image, voxels"}, yaxis={"title": "SSIM", "rangemode": "tozero"},
    )  # fmt: skip
    return figure


def _memorisation(found: Row) -> None:
    rows = found["rows"]
    n = found["n_suspect"]
    if n:
        st.warning(
            f"{n} of {len(rows)} syntheses lie far nearer to one training image than any real case does to another. "
            "They may be copies: look at them beside that case, and do not hand them on."
        )
    else:
        st.success(
            f"None of {len(rows)} syntheses is far nearer to a training image than real cases are to each other."
        )
    lines = [
        {
            "pair": _pair(row),
            "case": row["case"],
            "nearest": row["nearest_image"],
            "image": row["ratio_image"],
            "usual": found["limits"][row["target"]]["ratio_image"],
            "code": row["ratio_code"],
            "usual_code": found["limits"][row["target"]]["ratio_code"],
            "suspect": "yes" if row["suspect"] else "",
        }
        for row in sorted(rows, key=lambda row: (not row["suspect"], row["ratio_image"]))
    ]
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    tip = "Distance to the nearest training case over that to the second nearest. 1: one of many; near 0: a copy."
    _table(
        lines,
        {
            "pair": text("Given → made"),
            "case": "Case",
            "nearest": text("Nearest training case"),
            "image": number("Ratio, images", format="%.2f", help=f"{tip} By block means of slices."),
            "usual": number("Least of real", format="%.2f", help="The smallest such ratio between real cases."),
            "code": number("Ratio, codes", format="%.2f", help=f"{tip} In the code of the frozen encoder."),
            "usual_code": number("Least of real, codes", format="%.2f", help="The same between real cases."),
            "suspect": text("Copy?"),
        },
    )


def _realism(found: Row) -> None:
    lines = [
        {
            "pair": _pair(row),
            "mmd": _rounded(row["mean"]),
            "interval": _span(row, ".3f"),
            "chance": _rounded(found["reference"].get(row["target"])),
            "n": row["n"],
        }
        for row in sorted(found["rows"], key=lambda row: (row["target"], row["mean"]))
    ]
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    _table(
        lines,
        {
            "pair": text("Given → made"),
            "mmd": number("MMD²", format="%.3f", help="0: cannot be told from real images of others. Low is good."),
            "interval": text("95 % interval", help="Over cases."),
            "chance": number(
                "By chance", format="%.3f", help="The same number between real training and real held-out images."
            ),
            "n": number("n", width=36, help="Held-out cases."),
        },
    )


def _rounded(value: float | None) -> float | None:
    """To three digits, without a minus before a zero."""
    return None if value is None else round(value, 3) + 0.0


def _pair(row: Row) -> str:
    return pair_words((tuple(row["given"]), row["target"]))


def _span(row: Row, form: str, unit: str = "") -> str:
    return "" if row["low"] is None else f"{row['low']:{form}} to {row['high']:{form}}{unit}"


def _table(lines: Sequence[Row], columns: Mapping[str, Any]) -> None:
    frame = pd.DataFrame(lines, columns=list(columns))
    empty = [name for name in ("interval", "chance", "suspect") if name in frame and not any(frame[name])]
    height: Any = "content" if len(lines) <= TALL_ROWS else TALL_PX
    st.dataframe(frame.drop(columns=empty), hide_index=True, column_config=columns, height=height, placeholder="")


VIEWS: Mapping[str, Callable[[Row], None]] = {
    "usefulness": _usefulness,
    "misalignment": _misalignment,
    "memorisation": _memorisation,
    "realism": _realism,
}
