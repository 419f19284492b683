"""Judge a run on cases it has not seen: every subset of modalities -> every target, beside the baselines.

Cross-modal synthesis and same-modality reconstruction (given == [target]) are judged apart. Predictions are never
altered by the truth: nothing is zeroed, rescaled or matched before it is measured.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import combinations
from typing import Any, Literal

import numpy as np

from core.batches import informative_rows, make_batch, shapes_of
from core.cost import cost_of, measure
from core.errors import InvalidConfigError
from core.judging import CaseJudge, judged_mask
from core.leaks import find_leaks, refuse_leaks
from core.metrics import METRICS
from core.models import MODELS
from core.models.base import Batch, Shapes
from core.progress import Progress, silent
from core.protocol import protocol_of
from core.statistics import mean_interval
from core.synthesis import (
    BATCH_SIZE,
    LoadedRun,
    supported_targets,
    synthesise_batches,
    synthesise_case,
    to_device,
)
from core.task_scores import score_tasks
from core.types import Array
from core.workspace import plain

Subsets = Literal["all", "small"]
Row = dict[str, Any]
BASELINES = {"constant": False, "mean_image": False, "linear": True}  # name -> does its answer depend on what is given


@dataclass(frozen=True)
class Task:
    """What is given, and all that is made from it in one forward pass."""

    given: tuple[str, ...]
    targets: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Contender:
    """A model that is judged: the run's own, or a baseline fitted on the very same cases and modalities."""

    name: str
    loaded: LoadedRun
    reads_given: bool = True


@dataclass(frozen=True, eq=False)
class CaseView:
    """One case as it is judged: the slices that its mask reaches in memory, one judge per target.

    Attributes:
        known: (contender, target) -> the row of a contender whose answer does not depend on what is given.
    """

    id: str
    positions: range
    batches: list[Batch]
    judges: dict[str, CaseJudge]
    known: dict[tuple[str, str], Row] = field(default_factory=dict)


def evaluate(
    loaded: LoadedRun,
    case_ids: Sequence[str] | None = None,
    with_baselines: bool = True,
    progress: Progress = silent,
    subsets: Subsets = "all",
) -> dict[str, Any]:
    """Rows per case, their summary over cases, checks that the source is read, the tasks, protocol and cost.

    All of it is strict JSON.

    Args:
        case_ids: the run's held-out test cases by default.
        subsets: "all", or "small": single modalities and all others together.

    Raises:
        InvalidConfigError: The model makes no images (NO-IMAGES), or something of the held-out cases was seen before
            (LEAK).
    """
    if not loaded.model.makes_images:
        raise InvalidConfigError(
            "This model makes no images, so there is nothing to judge. Look at its codes on Latent.", "NO-IMAGES"
        )
    cases = tuple(loaded.split.test if case_ids is None else case_ids)
    plans = {case_id: tasks_of(loaded, case_id, subsets) for case_id in cases}
    total = sum(len(tasks) for tasks in plans.values())
    found_leaks = find_leaks(
        loaded.dataset,
        loaded.split,
        cases,
        loaded.run.config.tasks,
        lambda *_: progress(0, total, "Looking for leaks"),
    )
    refuse_leaks(found_leaks)
    progress(0, total, "Fitting the baselines")
    rivals = fit_baselines(loaded) if with_baselines and total else []
    rows, checks = _judge_all(loaded, rivals, plans, progress)
    answers = score_tasks(loaded, cases, lambda done, n, said="": progress(total, total, said), subsets == "small")
    progress(total, total, "Summing up")
    result = {
        "run": loaded.run.id,
        "fold": loaded.run.config.fold,
        "paired": loaded.model.paired,
        "protocol": protocol_of(loaded.dataset, loaded.split, cases),
        "rows": rows,
        "summary": summarise(rows),
        "checks": checks,
        "leaks": found_leaks.to_json(),
        **answers,
        "cost": cost_of(loaded, costs_of(loaded, plans)),
    }
    return dict(plain(result))


def _judge_all(
    loaded: LoadedRun, rivals: Sequence[Contender], plans: Mapping[str, Sequence[Task]], progress: Progress
) -> tuple[list[Row], list[Row]]:
    """Rows of the run and its rivals, and checks that the source is read; plans: case -> what is made of it."""
    contenders = [Contender(loaded.run.config.model, loaded), *rivals]
    rows: list[Row] = []
    checks: list[Row] = []
    done, total = 0, sum(len(tasks) for tasks in plans.values())
    for case_id, tasks in plans.items():
        view = _view(loaded, case_id, {target for task in tasks for target in task.targets})
        for task in tasks:
            progress(done, total, f"{case_id} from {' + '.join(task.given)}")
            found = [row for contender in contenders for row in _judge(contender, view, task)]
            checks += _check_source(loaded, view, found, _stranger(loaded, tuple(plans), case_id, task))
            rows += found
            done += 1
    return rows, checks


def judge_case(loaded: LoadedRun, case_id: str, tasks: Sequence[Task]) -> list[Row]:
    """The run's own rows for one case, as `evaluate` has them, without baselines and checks."""
    view = _view(loaded, case_id, {target for task in tasks for target in task.targets})
    contender = Contender(loaded.run.config.model, loaded)
    return [row for task in tasks for row in _judge(contender, view, task)]


def tasks_of(loaded: LoadedRun, case_id: str, subsets: Subsets = "all") -> list[Task]:
    """Every subset of what the case has and the run has learnt -> the others; for one alone, also itself."""
    has = loaded.dataset.record(case_id)["modalities"]
    known = [m for m in loaded.learnt if m in has]
    tasks = []
    for n in range(1, len(known) + 1):
        if subsets == "small" and n not in (1, len(known) - 1):
            continue
        for given in combinations(known, n):
            wanted = set(known) if n == 1 else set(known) - set(given)
            targets = tuple(t for t in supported_targets(loaded, given) if t in wanted)
            if targets:
                tasks.append(Task(given, targets))
    return tasks


def summarise(rows: Sequence[Row]) -> list[Row]:
    """Mean over cases of every metric, with its interval where there are cases enough."""
    groups: dict[tuple[str, tuple[str, ...], str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["model"], tuple(row["given"]), row["target"]), []).append(row)
    summary = []
    for (model, given, target), members in groups.items():
        for metric in METRICS:
            interval = mean_interval([row[metric] for row in members if metric in row])
            label = {"model": model, "given": list(given), "target": target, "metric": metric}
            summary.append({**label, **vars(interval)})
    return summary


def _view(loaded: LoadedRun, case_id: str, targets: set[str]) -> CaseView:
    dataset = loaded.dataset
    has = dataset.record(case_id)["modalities"]
    used = np.flatnonzero(dataset.mask(case_id).any(axis=(0, 1)))
    positions = range(int(used[0]), int(used[-1]) + 1) if len(used) else range(0)
    slab = slice(positions.start, positions.stop)
    judges = {}
    for target in sorted(targets):
        mask = judged_mask(dataset, case_id, target)
        if mask.any():  # outside a field of view there is nothing to judge
            judges[target] = CaseJudge(dataset, case_id, target, mask, slab)
    known = [m for m in loaded.modalities if m in has]
    batches = _batches(loaded, case_id, positions, shapes_of(dataset, known))
    return CaseView(case_id, positions, batches, judges)


def _batches(loaded: LoadedRun, case_id: str, positions: range, shapes: Shapes) -> list[Batch]:
    rows = [(case_id, k) for k in positions]
    chunks = (rows[start : start + BATCH_SIZE] for start in range(0, len(rows), BATCH_SIZE))
    return [to_device(loaded, make_batch(loaded.dataset, chunk, shapes)) for chunk in chunks]


def _images(loaded: LoadedRun, view: CaseView, source: str, task: Task) -> dict[str, Array]:
    """(I, J, K') of each target in the judged slices, the given images taken from the case `source`."""
    shapes = loaded.model.shapes.only(task.given)
    if shapes.spatial_dims == 3:
        whole = synthesise_case(loaded, view.id, task.given, task.targets, source)
        return {m: image[..., view.positions.start : view.positions.stop] for m, image in whole.items()}
    is_read = source == view.id and shapes.channels == 1
    batches = view.batches if is_read else _batches(loaded, source, view.positions, shapes)
    return synthesise_batches(loaded, batches, task.given, task.targets)


def _judge(contender: Contender, view: CaseView, task: Task) -> Iterator[Row]:
    """One row per target; seconds are those of the forward pass over the judged slices, shared by its targets."""
    label = {"model": contender.name, "case": view.id}
    targets = [t for t in _makeable(contender, task) if t in view.judges]
    known = {t: view.known[contender.name, t] for t in targets if (contender.name, t) in view.known}
    fresh = [t for t in targets if t not in known]
    start = time.perf_counter()
    images = _images(contender.loaded, view, view.id, Task(task.given, tuple(fresh))) if fresh else {}
    seconds = (time.perf_counter() - start) / max(1, len(fresh))
    for target in targets:
        row = known.get(target) or {**_scores(view, images[target], target), "seconds": seconds}
        if not contender.reads_given:
            view.known[contender.name, target] = row
        yield {**label, "given": list(task.given), "target": target, **row}


def _makeable(contender: Contender, task: Task) -> list[str]:
    return [t for t in task.targets if contender.loaded.model.supports(task.given, t)]


def _scores(view: CaseView, image: Array, target: str) -> dict[str, float]:
    """Seven digits: more would only fill files."""
    return {name: float(f"{value:.7g}") for name, value in view.judges[target].scores(image).items()}


def _check_source(loaded: LoadedRun, view: CaseView, rows: Sequence[Row], stranger: str | None) -> Iterator[Row]:
    """A model that reads its source gets worse when another case's image is put in its place."""
    own = [row for row in rows if row["model"] == loaded.run.config.model]
    if stranger is None or not own:
        return
    task = Task(tuple(own[0]["given"]), tuple(row["target"] for row in own))
    images = _images(loaded, view, stranger, task)
    for row in own:
        swapped = _scores(view, images[row["target"]], row["target"])["mae"]
        ratio = swapped / row["mae"] if row["mae"] else None
        label = {name: row[name] for name in ("model", "case", "given", "target", "mae")}
        yield {**label, "mae_swapped": swapped, "ratio": ratio, "source_case": stranger}


def _stranger(loaded: LoadedRun, cases: Sequence[str], case_id: str, task: Task) -> str | None:
    """For one given modality, the next judged case that has it, round and round; else a training case."""
    if len(task.given) > 1:
        return None
    place = cases.index(case_id)
    order = (*cases[place + 1 :], *cases[:place], *(c for c in loaded.split.train if c != case_id))
    return next((c for c in order if task.given[0] in loaded.dataset.record(c)["modalities"]), None)


def fit_baselines(loaded: LoadedRun) -> list[Contender]:
    """The baselines, fitted on the run's training cases; none twice where the run is a baseline itself."""
    rows = informative_rows(loaded.dataset, loaded.split.train, min_fraction=0.0)
    shapes = shapes_of(loaded.dataset, loaded.modalities)
    contenders = []
    for name, reads_given in BASELINES.items():
        if name == loaded.run.config.model or name not in MODELS:
            continue
        model = MODELS[name](MODELS[name].Config(), shapes)
        starts = range(0, len(rows), BATCH_SIZE)
        model.fit(make_batch(loaded.dataset, rows[n : n + BATCH_SIZE], shapes, True) for n in starts)
        contenders.append(Contender(name, replace(loaded, model=model.to(loaded.device).eval()), reads_given))
    return contenders


def costs_of(loaded: LoadedRun, plans: Mapping[str, Sequence[Task]]) -> list[Row]:
    """Of every case: from the files to one whole synthesised volume."""
    found = []
    for case_id, tasks in plans.items():
        if tasks:
            task = tasks[-1]
            make = partial(synthesise_case, loaded, case_id, task.given, task.targets[:1])
            found.append(measure(loaded, case_id, make))
    return found
