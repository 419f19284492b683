"""What a run's results come to, in a form that opens in a millisecond: pages that list many runs read only this.

gist.npz lies beside results.json and is made of it: anew where it is missing, damaged, of another version, or of other
results than lie there now. gist-regions.npz is the same with scores of regions.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.result_files import RESULTS, read_results
from core.workspace import atomic_write

FILES = {False: "gist.npz", True: "gist-regions.npz"}  # with scores of regions or without
VERSION = 1  # raised when the file's form changes
LONG = ("rows", "summary", "checks", "tasks", "task_summary")  # parts of results that are not told as they are
LABELS = ("model", "case", "given", "target")  # of a row; all else in it is a score
PARTS = ("mean", "low", "high", "n")  # of a mean over cases
UNREADABLE = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile)

Pair = tuple[tuple[str, ...], str]  # given -> target
Row = dict[str, Any]


@dataclass(frozen=True)
class Stat:
    """A mean over cases; `low` and `high` are None where cases are too few for an interval."""

    mean: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, eq=False)
class Gist:
    """Results in columns.

    Attributes:
        about: protocol, cost and the like, as the results have them, and `answers`, how many rows the tasks have.
        places: (n, 3) of each row: its model, pair and case, as numbers.
        scores: (n, metrics), NaN where there is none.
        means: (models, pairs, metrics, PARTS) as the evaluation summed up, NaN where there is none.
    """

    about: Mapping[str, Any]
    models: Sequence[str]
    pairs: Sequence[Pair]
    cases: Sequence[str]
    metrics: Sequence[str]
    places: NDArray[np.int32]
    scores: NDArray[np.float64]
    means: NDArray[np.float64]

    @cached_property
    def _found(self) -> dict[str, dict[Pair, NDArray[np.intp]]]:
        """Model -> pair -> numbers of its rows, in the order of the results."""
        keys = self.places[:, 0] * np.int64(len(self.pairs)) + self.places[:, 1]
        order = np.argsort(keys, kind="stable")
        known, starts = np.unique(keys[order], return_index=True)
        found: dict[str, dict[Pair, NDArray[np.intp]]] = {model: {} for model in self.models}
        for key, start, end in zip(known.tolist(), starts, [*starts[1:], len(order)], strict=False):
            found[self.models[key // len(self.pairs)]][self.pairs[key % len(self.pairs)]] = order[start:end]
        return found

    def pairs_of(self, model: str) -> list[Pair]:
        """What the model was judged on."""
        return list(self._found.get(model, ()))

    def cases_of(self, model: str) -> list[str]:
        """Whom it was judged on."""
        if model not in self.models:
            return []
        rows = self.places[:, 0] == self.models.index(model)
        return [self.cases[case] for case in np.unique(self.places[rows, 2])]

    def rows(self, model: str, pair: Pair) -> list[Row]:
        """A line per case, with the scores that it has."""
        return [self._row(row) for row in self._found.get(model, {}).get(pair, ())]

    def _row(self, number: int) -> Row:
        scores = zip(self.metrics, self.scores[number].tolist(), strict=True)
        return {"case": self.cases[self.places[number, 2]], **{name: v for name, v in scores if not math.isnan(v)}}

    def stat(self, model: str, pair: Pair, metric: str) -> Stat | None:
        """The evaluation's mean over cases; None where it has none."""
        if model not in self.models or pair not in self.pairs or metric not in self.metrics:
            return None
        place = self.models.index(model), self.pairs.index(pair), self.metrics.index(metric)
        mean, low, high, n = self.means[place].tolist()
        if math.isnan(mean):
            return None
        return Stat(mean, None if math.isnan(low) else low, None if math.isnan(high) else high, int(n))


def gist_of(result: Mapping[str, Any]) -> Gist:
    """Of results as `evaluate` gives them, with scores of regions where they have them."""
    rows, summary = result["rows"], result.get("summary", ())
    models = list(dict.fromkeys(row["model"] for row in rows))
    pairs = list(dict.fromkeys(_pair(row) for row in rows))
    cases = list(dict.fromkeys(row["case"] for row in rows))
    metrics = list(dict.fromkeys(name for row in rows for name in row if name not in LABELS))
    at = [{value: n for n, value in enumerate(values)} for values in (models, pairs, cases, metrics)]
    places = [(at[0][row["model"]], at[1][_pair(row)], at[2][row["case"]]) for row in rows]
    scores = [[_number(row.get(name)) for name in metrics] for row in rows]
    means = np.full((len(models), len(pairs), len(metrics), len(PARTS)), np.nan)
    for line in summary:
        place = at[0].get(line["model"]), at[1].get(_pair(line)), at[3].get(line["metric"])
        if None not in place:
            means[place] = [_number(line[name]) for name in PARTS]
    about = {name: value for name, value in result.items() if name not in LONG}
    about["answers"] = len(result.get("tasks", ()))
    shape = (len(rows), len(metrics))
    columns = np.array(places, np.int32).reshape(-1, 3), np.array(scores, float).reshape(shape), means
    return Gist(about, models, pairs, cases, metrics, *columns)


def _pair(row: Mapping[str, Any]) -> Pair:
    return tuple(row["given"]), str(row["target"])


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else np.nan


def read_gist(folder: Path, with_regions: bool = False) -> Gist | None:
    """Of the results in this folder; None where there are none. What had to be made anew is kept for the next time."""
    with suppress(FileNotFoundError):
        stamp = _stamp(folder)  # before the results are read: newer ones then do not pass for these
        return _kept(folder / FILES[with_regions], stamp) or _made(folder, stamp, with_regions)
    return None


def keep_gists(folder: Path) -> None:
    """Make them now, so that no page has to."""
    for with_regions in FILES:
        read_gist(folder, with_regions)


def _stamp(folder: Path) -> list[int]:
    """Tells these results from others, by the look of their file."""
    about = (folder / RESULTS).stat()
    return [VERSION, about.st_size, about.st_mtime_ns]


def _made(folder: Path, stamp: Sequence[int], with_regions: bool) -> Gist:
    gist = gist_of({"rows": (), **(read_results(folder, with_regions) or {})})
    names = {"models": gist.models, "pairs": gist.pairs, "cases": gist.cases, "metrics": gist.metrics}
    told = json.dumps({"stamp": stamp, "about": gist.about, **names}).encode()
    stream = io.BytesIO()
    arrays = {"places": gist.places, "scores": gist.scores, "means": gist.means}
    np.savez(stream, told=np.frombuffer(told, np.uint8), **arrays)  # type: ignore[arg-type]
    with suppress(OSError):  # a full disk, or one that may not be written to: it is made once more the next time
        atomic_write(folder / FILES[with_regions], stream.getvalue())
    return gist


def _kept(path: Path, stamp: Sequence[int]) -> Gist | None:
    """None where it does not belong to these results, or cannot be read."""
    with suppress(*UNREADABLE), np.load(path, allow_pickle=False) as file:
        told = json.loads(file["told"].tobytes())
        if told["stamp"] == list(stamp):
            pairs = [(tuple(given), target) for given, target in told["pairs"]]
            names = told["about"], told["models"], pairs, told["cases"], told["metrics"]
            return Gist(*names, file["places"], file["scores"], file["means"])
    return None


class Rows(Mapping[Pair, Sequence[Row]]):
    """Pair -> a line per case of one model, of several results together; made when they are asked for."""

    def __init__(self, model: str, gists: Sequence[Gist]) -> None:
        self._model, self._gists = model, gists
        self._pairs = dict.fromkeys(pair for gist in gists for pair in gist.pairs_of(model))

    def __getitem__(self, pair: Pair) -> list[Row]:
        if pair not in self._pairs:
            raise KeyError(pair)
        return [row for gist in self._gists for row in gist.rows(self._model, pair)]

    def __contains__(self, pair: object) -> bool:
        return pair in self._pairs

    def __iter__(self) -> Iterator[Pair]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)
