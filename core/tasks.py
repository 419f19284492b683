"""What can be learnt from the shared code beside the images: label maps, classes and numbers of cases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from core.config import Task
from core.dataset import Dataset
from core.errors import InvalidConfigError

MAX_CLASSES = 64
CLASS_NAMES = {  # of label maps that preparing or the demo makes; those of others are numbered
    "tissue": ("background", "CSF", "grey matter", "white matter", "bone", "other tissue"),
    "tissue_ct": ("background", "air", "soft tissue", "bone"),
    "lesion": ("background", "lesion"),
}


def task_names(dataset: Dataset) -> tuple[str, ...]:
    """Label maps and labels of which a head can learn something: they are not the same everywhere."""
    return tuple(name for name in _candidates(dataset) if _is_varied(dataset, name))


def find_tasks(dataset: Dataset, names: Sequence[str], training_cases: Sequence[str]) -> tuple[Task, ...]:
    """What the named tasks are; numbers are standardised by the training cases alone.

    Raises:
        InvalidConfigError: There is no such label or label map, it has too many classes, or is unknown in training.
    """
    return tuple(_find(dataset, name, training_cases) for name in dict.fromkeys(names))


def _find(dataset: Dataset, name: str, training_cases: Sequence[str]) -> Task:
    if name not in _candidates(dataset):
        known = ", ".join(_candidates(dataset)) or "none"
        raise InvalidConfigError(f"train.tasks: there is no label or label map {name[:40]}. Here: {known}.", "NO-TASK")
    if name in _maps(dataset):
        return _map_task(dataset, name)
    values = _values(dataset, name, training_cases)
    if not values:
        raise InvalidConfigError(f"train.tasks: no training case has a value of {name}. Label some first.", "NO-LABEL")
    if all(isinstance(value, (int, float)) for value in values):
        sd = float(np.std(values))
        return Task(name=name, kind="number", mean=float(np.mean(values)), sd=sd if sd > 0 else 1.0)
    return _class_task(dataset, name)


def _map_task(dataset: Dataset, name: str) -> Task:
    having = [case_id for case_id in dataset.case_ids if name in dataset.record(case_id)["label_maps"]]
    n = 1 + max(int(dataset.label_map(case_id, name).max()) for case_id in having)
    if n > MAX_CLASSES:
        raise InvalidConfigError(f"train.tasks: {name} has {n} classes; {MAX_CLASSES} at most.", "MANY-CLASSES")
    is_ours = dataset.is_simulated or dataset.index["recipe"].get("tissue", {}).get("enabled", False)
    words = CLASS_NAMES.get(name, ("background",)) if is_ours or name == "lesion" else ("background",)
    numbered = tuple(f"class {k}" for k in range(len(words), n))
    return Task(name=name, kind="map", classes=(*words[: max(2, n)], *numbered))


def _class_task(dataset: Dataset, name: str) -> Task:
    classes = tuple(sorted({str(value) for value in _values(dataset, name, dataset.case_ids)}))
    if len(classes) > MAX_CLASSES:
        raise InvalidConfigError(f"train.tasks: {name} has over {MAX_CLASSES} classes. Choose another.", "MANY-CLASSES")
    return Task(name=name, kind="class", classes=classes)


def answer_of(dataset: Dataset, case_id: str, task: Task) -> float:
    """Of a class its number, of a number its standard score; NaN where the case has none."""
    value = dataset.record(case_id)["labels"].get(task.name)
    if value is None:
        return math.nan
    if task.kind == "number":
        return (float(value) - task.mean) / task.sd if isinstance(value, (int, float)) else math.nan
    return float(task.classes.index(str(value))) if str(value) in task.classes else math.nan


def _maps(dataset: Dataset) -> list[str]:
    return sorted({name for case_id in dataset.case_ids for name in dataset.record(case_id)["label_maps"]})


def _candidates(dataset: Dataset) -> list[str]:
    labels = sorted({name for case_id in dataset.case_ids for name in dataset.record(case_id)["labels"]})
    return [*(name for name in _maps(dataset) if not name.endswith("_fov")), *labels]


def _is_varied(dataset: Dataset, name: str) -> bool:
    return name in _maps(dataset) or len(set(_values(dataset, name, dataset.case_ids))) > 1


def _values(dataset: Dataset, name: str, case_ids: Sequence[str]) -> list[Any]:
    records = (dataset.record(case_id)["labels"] for case_id in case_ids)
    return [labels[name] for labels in records if name in labels]
