"""Datasets of generated people that measurements learn from."""

from __future__ import annotations

from typing import Any

from core.dataset import Dataset
from core.demo import make_cohort
from core.errors import NotFoundError
from core.prepare import prepare
from core.recipes import make_recipe
from core.workspace import Workspace


def generated_dataset(workspace: Workspace, name: str, n_cases: int, level: str = "medium", **recipe: Any) -> Dataset:
    """The one of that name that an earlier measurement left, else a new one."""
    try:
        return Dataset.open(workspace, name)
    except NotFoundError:
        cohort = make_cohort(workspace, n_cases, 0, level, name)
        return prepare(workspace, cohort, name, make_recipe("brain-mr-ct", recipe))
