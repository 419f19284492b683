"""A report's part about further checks (`core.audit`): a table of each that was done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from core.findings import finding
from core.runs import Run

Row = Mapping[str, Any]
Table = tuple[str, str, tuple[str, ...], list[list[str]]]  # title, note, head, lines


def check_tables(run: Run) -> Iterator[Table]:
    """Of every check that was done."""
    for name, told in TELLERS.items():
        record = finding(run, name)
        if "result" in record:
            yield told(record["result"])


def _usefulness(found: Row) -> Table:
    lines = [
        [*_pair(row), row["class"], _kept(row), f"{row['dice_real']:.2f}", f"{row['dice_made']:.2f}", str(row["n"])]
        for row in found["summary"]
    ]
    note = "A segmenter that learnt from real training images alone, run on real and on synthesised held-out images."
    return "Usefulness", note, ("Given", "Made", "Class", "Dice kept", "Dice, real", "Dice, made", "n"), lines


def _kept(row: Row) -> str:
    if row["mean"] is None:
        return ""
    span = "" if row["low"] is None else f" ({row['low']:.0f} to {row['high']:.0f})"
    return f"{row['mean']:.0f} %{span}"


def _misalignment(found: Row) -> Table:
    lines = [
        [
            *_pair(row),
            f"{row['mae']:.4g}",
            _move(row["as_shift"], "voxels"),
            _move(row["as_turn"], "degrees"),
            _said(row),
        ]
        for row in found["pairs"]
    ]
    note = "How far a perfect image would have to be moved, or turned, to cost as much as the synthesis does."
    return "Misalignment", note, ("Given", "Made", "MAE", "As a shift of", "As a turn of", ""), lines


def _move(value: float | None, unit: str) -> str:
    return "more than tried" if value is None else f"{value:.1f} {unit}"


def _said(row: Row) -> str:
    words = ["1 to 3 voxels would explain the error"] if row["warns"] else []
    return "; ".join([*words, *(["fits a moved image better"] if row["is_askew"] else [])])


def _memorisation(found: Row) -> Table:
    rows: Sequence[Row] = found["rows"]
    lines = [
        [row["case"], *_pair(row), row["nearest_image"], f"{row['ratio_image']:.2f}", f"{row['ratio_code']:.2f}"]
        for row in rows
        if row["suspect"]
    ]
    note = f"{found['n_suspect']} of {len(rows)} syntheses lie far nearer to a training image than real cases do."
    return "Copies of training images", note, ("Case", "Given", "Made", "Nearest", "Ratio", "Ratio, codes"), lines


def _realism(found: Row) -> Table:
    lines = []
    for row in found["rows"]:
        span = "" if row["low"] is None else f" ({row['low']:.3f} to {row['high']:.3f})"
        chance = found["reference"].get(row["target"])
        lines.append(
            [*_pair(row), f"{row['mean']:.3f}{span}", "" if chance is None else f"{chance:.3f}", str(row["n"])]
        )
    note = "MMD² in one frozen encoder that learnt from real training images: 0 where nobody could tell them apart."
    return "Real as a whole", note, ("Given", "Made", "MMD²", "Between real cases", "n"), lines


def _pair(row: Row) -> list[str]:
    return [" + ".join(row["given"]), str(row["target"])]


TELLERS: Mapping[str, Callable[[Row], Table]] = {
    "usefulness": _usefulness,
    "misalignment": _misalignment,
    "memorisation": _memorisation,
    "realism": _realism,
}
