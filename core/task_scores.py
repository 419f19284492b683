"""How well a run's heads answer their tasks on held-out cases, from every subset of modalities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from core.batches import informative_rows, make_batch
from core.config import Task
from core.dataset import Dataset
from core.models.base import Batch
from core.models.heads import answers_of
from core.progress import Progress, silent
from core.statistics import auroc, mean_interval
from core.synthesis import OVERLAP, LoadedRun, patches_at_once, to_device
from core.tasks import answer_of
from core.types import Array
from core.windows import box_of, patch_places, patch_weights

Row = dict[str, Any]
SLICES = 32  # at once


def score_tasks(
    loaded: LoadedRun, case_ids: Sequence[str], progress: Progress = silent, only_ends: bool = False
) -> dict[str, list[Row]]:
    """Rows per case of every subset, and their means over cases with intervals; empty where the run has no tasks.

    Args:
        only_ends: of the subsets, single modalities and all together.
    """
    if not loaded.run.config.tasks:
        return {"tasks": [], "task_summary": []}
    work = [(case_id, given) for case_id in case_ids for given in _subsets(loaded, case_id, only_ends)]
    rows = []
    for done, (case_id, given) in enumerate(work):
        progress(done, len(work), f"Tasks of {case_id}")
        rows += task_rows(loaded, case_id, given)
    return {"tasks": rows, "task_summary": summarise_answers(rows)}


def _subsets(loaded: LoadedRun, case_id: str, only_ends: bool) -> list[tuple[str, ...]]:
    """Every subset of what the case has and the run has learnt, single modalities first."""
    has = [m for m in loaded.learnt if m in loaded.dataset.record(case_id)["modalities"]]
    sizes = sorted({1, len(has)}) if only_ends else range(1, len(has) + 1)
    return [subset for n in sizes for subset in combinations(has, n)]


def summarise_answers(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Mean over cases of every subset, task, class and measure, with its interval where there are cases enough."""
    groups: dict[tuple[Any, ...], list[float]] = {}
    for row in rows:
        groups.setdefault((tuple(row["given"]), row["task"], row["class"], row["metric"]), []).append(row["value"])
    return [
        {"given": list(given), "task": task, "class": name, "metric": metric, **vars(mean_interval(values))}
        for (given, task, name, metric), values in groups.items()
    ]


def task_rows(loaded: LoadedRun, case_id: str, given: Sequence[str]) -> list[Row]:
    """Of one case, from these modalities: Dice and AUROC of each class of a map that is there; of a class, the
    probability that the truth got and whether it was the largest; of a number, what was said and how far off it is."""
    tasks = loaded.run.config.tasks
    said = _said(loaded, case_id, given)
    rows = [row for task in tasks for row in _score(loaded.dataset, case_id, task, said[task.name])]
    return [{"case": case_id, "given": list(given), **row} for row in rows]


@torch.inference_mode()
def _said(loaded: LoadedRun, case_id: str, given: Sequence[str]) -> dict[str, Array]:
    """Task -> log probabilities (n, I, J, K) of a map, (n,) of a class; of a number (1,), in standard deviations."""
    tasks, shape = loaded.run.config.tasks, loaded.dataset.shape
    sizes = {task.name: (task.n_outputs, *(shape if task.kind == "map" else ())) for task in tasks}
    sums = {name: np.zeros(size, np.float32) for name, size in sizes.items()}
    counts = dict.fromkeys(sums, 0)
    for places, batch in _batches(loaded, case_id, given):
        answers = answers_of(loaded.model, to_device(loaded, batch.only(given)))
        for task in tasks:
            values = answers[task.name].float()
            values = values if task.kind == "number" else values.log_softmax(1)
            if task.kind == "map":
                _lay(sums[task.name], values.cpu().numpy(), places, loaded)
            else:
                sums[task.name] += values.sum(0).cpu().numpy()
                counts[task.name] += len(values)
    return {name: np.asarray(total / max(counts[name], 1), np.float32) for name, total in sums.items()}


def _batches(loaded: LoadedRun, case_id: str, given: Sequence[str]) -> Iterator[tuple[list[int], Batch]]:
    """Places and windows: slices that were worth learning from, or patches that cover the case."""
    dataset, shapes = loaded.dataset, loaded.model.shapes
    rows, n = informative_rows(dataset, [case_id], shapes, 0.0), SLICES
    if shapes.spatial_dims == 3:
        rows = [(case_id, at) for at in patch_places(dataset.shape, shapes.size, OVERLAP)]
        n = patches_at_once(shapes, loaded.device)
    for start in range(0, len(rows), n):
        chosen = rows[start : start + n]
        yield [place for _, place in chosen], make_batch(dataset, chosen, shapes.only(given))


def _lay(total: Array, values: Array, places: Sequence[int], loaded: LoadedRun) -> None:
    """Add windows (B, n, *size) to their places in the volume."""
    shapes, shape = loaded.model.shapes, loaded.dataset.shape
    if shapes.spatial_dims == 2:
        total[..., list(places)] = values.transpose(1, 2, 3, 0)
        return
    weights = patch_weights(shapes.size)
    for row, place in zip(values, places, strict=True):
        total[(slice(None), *box_of(place, shape, shapes))] += weights * row


def _score(dataset: Dataset, case_id: str, task: Task, said: Array) -> Iterator[Row]:
    if task.kind == "map":
        if task.name in dataset.record(case_id)["label_maps"]:
            yield from _map_rows(dataset, case_id, task, said)
        return
    truth = answer_of(dataset, case_id, task)
    if np.isnan(truth):
        return
    if task.kind == "number":
        value, wanted = (float(v) * task.sd + task.mean for v in (said[0], truth))
        yield {"task": task.name, "class": "", "metric": "absolute error", "value": abs(value - wanted)}
        return
    probabilities = np.exp(said - np.logaddexp.reduce(said))
    is_right = float(int(np.argmax(probabilities)) == int(truth))
    yield {"task": task.name, "class": "", "metric": "accuracy", "value": is_right}
    yield {"task": task.name, "class": "", "metric": "probability", "value": float(probabilities[int(truth)])}


def _map_rows(dataset: Dataset, case_id: str, task: Task, said: Array) -> Iterator[Row]:
    """Of each class but the first, over the judged voxels: Dice where it is in the truth or in the answer, and, where
    it is in the truth, how well its probability ranks voxels, which tells of what is too rare to be the largest too."""
    mask = np.array(dataset.mask(case_id))
    truth, said = np.array(dataset.label_map(case_id, task.name))[mask], said[:, mask]
    guess = said.argmax(0)
    for number, name in enumerate(task.classes[1:], 1):
        there, found = truth == number, guess == number
        if there.any() or found.any():
            yield {"task": task.name, "class": name, "metric": "Dice", "value": dice(there, found)}
        if there.any() and not there.all():
            yield {"task": task.name, "class": name, "metric": "AUROC", "value": auroc(said[number], there)}


def dice(there: NDArray[np.bool_], found: NDArray[np.bool_]) -> float:
    """Twice what both have over what they have together, 0 to 1; one of them has something."""
    return float(2 * np.count_nonzero(there & found) / (np.count_nonzero(there) + np.count_nonzero(found)))
