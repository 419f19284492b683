"""What evaluations found, read from the runs' results and never computed anew: entries of one table, and their numbers.

An `Entry` is a line of the table: a run, a baseline, or the folds of one cross-validation taken together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from core.gist import Gist, Pair, Rows, Stat, read_gist
from core.remembered import remembered
from core.result_files import RESULTS, read_results
from core.runs import Run

Row = Mapping[str, Any]
PER_FOLD = ("cases", "split", "n_train", "fingerprint")  # parts of a protocol in which the folds of one study differ


@dataclass(frozen=True, eq=False)
class Judged:
    """One run with what its results come to."""

    run: Run
    gist: Gist

    @property
    def about(self) -> Mapping[str, Any]:
        """All of the results that is not told case by case."""
        return self.gist.about

    @property
    def protocol(self) -> Mapping[str, Any]:
        return dict(self.about["protocol"])

    @cached_property
    def fingerprint(self) -> str:
        """Found anew from the protocol: by today's rule also where an earlier version wrote it."""
        from core.protocol import fingerprint_of

        return fingerprint_of(self.protocol)


@dataclass(frozen=True, eq=False)
class Entry:
    """A line of the table.

    Attributes:
        rows: pair -> one row per case, each with its metrics.
        gist: what the evaluation summed up; None for folds taken together.
        costs: of every run in it.
        run_of: case -> id of the run that made its synthesis; empty for a baseline.
        is_paired: False for a run that never saw two modalities of one slice together.
    """

    name: str
    model: str
    is_baseline: bool
    rows: Mapping[Pair, Sequence[Row]]
    gist: Gist | None
    costs: Sequence[Row]
    run_of: Mapping[str, str]
    is_paired: bool = True

    @property
    def title(self) -> str:
        """The name, with what a reader must know of it."""
        if self.is_baseline:
            return f"{self.name} (baseline)"
        return self.name if self.is_paired else f"{self.name} (without pairs)"

    def stat(self, pair: Pair, metric: str) -> Stat | None:
        """The mean over cases; None where this entry does not make the target from these."""
        if self.gist is not None and (summed := self.gist.stat(self.model, pair, metric)):
            return summed
        values = [row[metric] for row in self.rows.get(pair, ()) if row.get(metric) is not None]
        if not values:
            return None
        from core.statistics import mean_interval

        return Stat(**vars(mean_interval(values)))

    def by_case(self, pair: Pair, metric: str) -> dict[str, float]:
        """Case -> number, of those that have one."""
        return {row["case"]: row[metric] for row in self.rows.get(pair, ()) if row.get(metric) is not None}

    def cost(self, name: str) -> float | None:
        """The largest over its runs."""
        values = [cost[name] for cost in self.costs if cost.get(name) is not None]
        return max(values, default=None)


def read_judged(runs: Iterable[Run]) -> list[Judged]:
    """The runs among these that have results."""
    judged = [Judged(run, _gist(run.folder / RESULTS, False)) for run in runs if run.has_result]
    return [item for item in judged if item.gist.models]


@remembered(at_most=256)
def _gist(path: Path, with_regions: bool) -> Gist:
    gist = read_gist(path.parent, with_regions)
    assert gist is not None  # there are results: they were asked for
    return gist


@remembered(at_most=4)
def _whole(path: Path) -> dict[str, Any]:
    return dict(read_results(path.parent, with_regions=False))


def part_of(judged: Iterable[Judged], entry: Entry, name: str) -> list[Row]:
    """One part of the results of an entry's runs, such as "checks" or "tasks"; each case from the run that held it
    out. Read whole: only for what is looked at."""
    runs = set(entry.run_of.values())
    paths = [item.run.folder / RESULTS for item in judged if item.run.id in runs]
    return [row for path in paths for row in _whole(path).get(name, ())]


def groups(judged: Sequence[Judged]) -> dict[str, list[Judged]]:
    """By protocol, the largest group first: only numbers of one protocol are compared."""
    found: dict[str, list[Judged]] = {}
    for item in judged:
        found.setdefault(item.fingerprint, []).append(item)
    return dict(sorted(found.items(), key=lambda group: -len(group[1])))


def studies(judged: Sequence[Judged]) -> dict[str, list[Judged]]:
    """Cross-validations: runs over folds of one division that agree in all but the fold. Keys begin with "folds-"."""
    found: dict[str, list[Judged]] = {}
    for item in judged:
        config = item.run.config
        if config.fold is None:
            continue
        shared = {name: value for name, value in item.protocol.items() if name not in PER_FOLD}
        digest = hashlib.sha256(repr(sorted(shared.items())).encode()).hexdigest()
        key = f"folds-{config.n_folds}-{config.seed}-{digest[:8]}"
        found.setdefault(key, []).append(item)
    return {key: items for key, items in found.items() if len({item.run.config.fold for item in items}) > 1}


def entries_of(group: Sequence[Judged], with_regions: bool = False) -> list[Entry]:
    """The runs of one protocol, then the baselines, each once.

    Args:
        with_regions: read scores of regions too, which takes as long again.
    """
    whole = [[item] for item in group]
    models = {item.run.config.model for item in group}
    return [*_runs(whole, with_regions), *_baselines(models, whole, with_regions)]


def pooled_entries(study: Sequence[Judged], with_regions: bool = False) -> tuple[list[Entry], list[str]]:
    """The folds of each model taken together, every case judged by the run that has not seen it.

    Args:
        with_regions: read scores of regions too.

    Returns:
        Entries, and the names of models that lack a fold and are left out.
    """
    by_model: dict[str, dict[int, Judged]] = {}
    for item in reversed(study):  # the newest run of a fold stays
        config = item.run.config
        settings = {**config.model_dump(exclude={"tasks"}), "fold": 0, "n_folds": 0}  # a task's scale is a fold's own
        by_model.setdefault(repr(sorted(settings.items())), {})[int(config.fold or 0)] = item
    wanted = {item.run.config.fold for item in study}
    whole = [list(folds.values()) for folds in by_model.values() if set(folds) == wanted]
    lacking = [next(iter(folds.values())).run.config.model for folds in by_model.values() if set(folds) != wanted]
    models = {items[0].run.config.model for items in whole}
    return [*_runs(whole, with_regions), *_baselines(models, whole, with_regions)], sorted(set(lacking))


def pairs_of(entries: Sequence[Entry], reconstruction: bool = False) -> list[Pair]:
    """What any run makes, single sources first; reconstruction (a modality from itself) is judged apart."""
    found = {pair for entry in entries if not entry.is_baseline for pair in entry.rows}
    kept = [pair for pair in found if (pair[0] == (pair[1],)) == reconstruction]
    return sorted(kept, key=lambda pair: (len(pair[0]), pair))


def pair_words(pair: Pair) -> str:
    """Such as "T1 + T2 → CT"."""
    return f"{' + '.join(pair[0])} → {pair[1]}"


def pair_id(pair: Pair) -> str:
    """As it stands in a link."""
    return f"{','.join(pair[0])}>{pair[1]}"


def best_baseline(entries: Sequence[Entry], pair: Pair, metric: str, best: str, but: str = "") -> Stat | None:
    """The baseline that does best at this, on the same voxels (`but`: never this model itself)."""
    stats = [entry.stat(pair, metric) for entry in entries if entry.is_baseline and entry.model != but]
    known = [stat for stat in stats if stat is not None]
    if not known:
        return None
    return (min if best == "low" else max)(known, key=lambda stat: stat.mean)


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Why two protocols are not one, in words."""
    from core.protocol import differences as told

    return told(one, other)


def all_rows(group: Sequence[Judged]) -> Iterator[dict[str, Any]]:
    """Every number of every case, for a CSV file."""
    for item in group:
        units = item.protocol["mae_units"]
        for row in item.run.result["rows"]:
            is_own = row["model"] == item.run.config.model
            about = {"run": item.run.id, "kind": "run" if is_own else "baseline", "fold": item.about["fold"]}
            yield {**about, **row, "mae_unit": units.get(row["target"], ""), "protocol": item.fingerprint}


def _runs(whole: Sequence[Sequence[Judged]], with_regions: bool) -> list[Entry]:
    """Named by their model, with the run's first digits where a model is there twice."""
    models = [items[0].run.config.model for items in whole]
    entries = []
    for model, items in zip(models, whole, strict=True):
        name = model if models.count(model) == 1 else f"{model} {items[0].run.id.removeprefix('run-')[:6]}"
        entries.append(_entry(name, model, items, with_regions))
    return entries


def _entry(name: str, model: str, items: Sequence[Judged], with_regions: bool) -> Entry:
    is_run = model == items[0].run.config.model
    gists = [_gist(item.run.folder / RESULTS, with_regions) for item in items]
    run_of = {case: item.run.id for item in items for case in item.gist.cases_of(model)} if is_run else {}
    costs = [item.about["cost"] for item in items] if is_run else []
    is_paired = not is_run or all(item.about.get("paired", True) for item in items)
    summed = gists[0] if len(gists) == 1 else None
    return Entry(name, model, not is_run, Rows(model, gists), summed, costs, run_of, is_paired)


def _baselines(taken: set[str], item_groups: Sequence[Sequence[Judged]], with_regions: bool) -> list[Entry]:
    """Each from the runs that let it make the most."""
    most: dict[str, Sequence[Judged]] = {}
    for items in item_groups:
        for model in items[0].gist.models:
            if model not in taken and _n_pairs(items, model) > _n_pairs(most.get(model, ()), model):
                most[model] = items
    return [_entry(model.replace("_", " "), model, items, with_regions) for model, items in most.items()]


def _n_pairs(items: Sequence[Judged], model: str) -> int:
    return len({pair for item in items for pair in item.gist.pairs_of(model)})
