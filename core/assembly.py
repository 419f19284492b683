"""From a run's settings to its model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from core.batches import modalities_of, shapes_of
from core.config import RunConfig, build
from core.dataset import Dataset
from core.errors import InvalidConfigError
from core.models import MODELS
from core.models.base import Model
from core.models.heads import add_heads, refuse_tasks


def kind_of(name: str) -> type[Model]:
    """The model of that name.

    Raises:
        InvalidConfigError: There is none.
    """
    if name not in MODELS:
        raise InvalidConfigError(f"There is no model {name[:40]}. Known: {', '.join(sorted(MODELS))}.", "NO-MODEL")
    return MODELS[name]


def with_defaults(kind: type[Model], given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a training as given, the model's own where none is; a learning rate for Muon only with Muon."""
    usual = dict(kind.train_defaults)
    if usual.get("optimiser") == "muon" != given.get("optimiser", "muon"):
        usual.pop("lr", None)
    return {**usual, **given}


def build_model(config: RunConfig, dataset: Dataset) -> Model:
    """The run's model with fresh weights."""
    kind = kind_of(config.model)
    shapes = shapes_of(dataset, modalities_of(config, dataset), config.train, config.tasks)
    model = kind(build(kind.Config, config.model_settings), shapes)
    add_heads(model)
    return model


def check_model(config: RunConfig, dataset: Dataset) -> None:
    """Raise InvalidConfigError where the run's model cannot be built, without taking memory for it."""
    if config.tasks:
        refuse_tasks(kind_of(config.model))
    with torch.device("meta"):
        build_model(config.model_copy(update={"tasks": ()}), dataset)
