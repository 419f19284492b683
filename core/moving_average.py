"""A second set of a model's weights that follows the trained ones slowly: what a training keeps."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from core.models.base import Model


class MovingAverage:
    """A copy of a model; each `follow` moves it a little towards the model as it is then."""

    def __init__(self, model: Model, slowness: float) -> None:
        """slowness: 0 to 1, how much of itself it keeps at each step; 0: it is always the same as the model."""
        self.model, self.slowness = copy.deepcopy(model).eval(), slowness
        pairs = list(zip(self.model.state_dict().values(), model.state_dict().values(), strict=True))
        moving = [pair for pair in pairs if pair[0].is_floating_point()]
        self._averages: list[Tensor] = [average for average, _ in moving]
        self._presents: list[Tensor] = [present for _, present in moving]
        self._copied = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Faster in the first steps."""
        weight = 1 - min(self.slowness, (1 + step) / (10 + step)) if self.slowness else 1.0
        torch._foreach_lerp_(self._averages, self._presents, weight)  # one call for all: they are many and small
        for average, present in self._copied:
            average.copy_(present)
