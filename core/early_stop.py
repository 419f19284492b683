"""Stop a training that no longer gets better on its validation cases, and keep the best weights."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn


class EarlyStop:
    """Looks at the validation loss; after `patience` looks without a better one, enough is enough. 0: never."""

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.best_loss, self.looks_since = math.inf, 0
        self.best: dict[str, Tensor] = {}

    @property
    def is_over(self) -> bool:
        return 0 < self.patience <= self.looks_since

    def look(self, loss: float, model: nn.Module) -> None:
        """Remember the model's weights where this is its best look so far."""
        if not self.patience:
            return
        if loss < self.best_loss:
            self.best_loss, self.looks_since = loss, 0
            self.best = {name: value.detach().clone() for name, value in model.state_dict().items()}
        else:
            self.looks_since += 1

    def restore_best(self, model: nn.Module) -> None:
        """Give the model its best weights back."""
        if self.best:
            model.load_state_dict(self.best)

    @property
    def state(self) -> dict[str, Any]:
        """For a checkpoint, beside `best`."""
        return {"best_loss": self.best_loss if self.best else None, "looks_since": self.looks_since}

    def go_on_from(self, state: dict[str, Any], best: dict[str, Tensor]) -> None:
        """Take up what a checkpoint kept."""
        loss = state["best_loss"]
        self.best_loss, self.looks_since, self.best = math.inf if loss is None else loss, state["looks_since"], best
