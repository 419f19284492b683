"""Looks at a model's loss, on the same windows with the same draws each time."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from core.batches import informative_rows, make_batch
from core.config import TrainConfig
from core.dataset import Dataset
from core.models.base import Batch, Model, Shapes
from core.models.terms import with_terms

MAX_ROWS, MAX_PIXELS = 64, 2**20
AFTER_WARM_UPS = 10**9  # a step


def sample(dataset: Dataset, case_ids: tuple[str, ...], shapes: Shapes) -> Batch:
    """Some informative windows, evenly over the cases."""
    rows = informative_rows(dataset, case_ids, shapes)
    most = max(4, min(MAX_ROWS, MAX_PIXELS // math.prod(shapes.size)))
    return make_batch(dataset, rows[:: math.ceil(len(rows) / most)], shapes, to_learn=True)


@torch.no_grad()
def loss_on(model: Model, batch: Batch, step: int, settings: TrainConfig | None = None) -> dict[str, float]:
    """The loss with the same draws each time, leaving the training's own random numbers alone.

    Args:
        settings: with the terms that they add; they belong to the first part.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts = tuple(model.parts()) or ("model",)
        losses = [model.loss(batch, part, step) for part in parts]
        if settings is not None:
            losses[0] = with_terms(losses[0], model, batch, settings)
        found = [_logged(loss, part, len(parts)) for loss, part in zip(losses, parts, strict=True)]
    return {key: value for loss in found for key, value in loss.items()}


def _logged(losses: Mapping[str, Tensor], part: str, n_parts: int) -> dict[str, float]:
    return named({key: float(value.detach()) for key, value in losses.items()}, part, n_parts)


def named(losses: Mapping[str, float], part: str, n_parts: int) -> dict[str, float]:
    """Numbers under names that say which part they are of, where there are several."""
    prefix = f"{part}_" if n_parts > 1 else ""
    return {prefix + key: value for key, value in losses.items()}


def settled_loss(model: Model, batch: Batch, settings: TrainConfig) -> float:
    """What two looks can be compared by: the first part's total, as it is once every warm-up is over."""
    losses = loss_on(model, batch, AFTER_WARM_UPS, settings)
    return next(value for name, value in losses.items() if name.endswith("total"))
