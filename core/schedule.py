"""How far a training is, and how large its steps are then."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

import torch
from torch import nn

from core.config import TrainConfig
from core.muon import Muon

WARM_UP = 0.05  # of the training, to the peak learning rate
TRUST_STEPS = 0.25  # of the time limit, before the pace is believed to be too slow
FIRST_STEPS, FIRST_TIME, FAR_TOO_SLOW = 20, 0.02, 3  # from then on it is believed where it is that many times too slow


@dataclass
class Clock:
    """How far a training is, in steps or in time, whichever ends it."""

    total_steps: int
    limit_s: float
    step: int = 0
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    @property
    def fraction(self) -> float:
        """0 to 1; time counts only where it is clear that it runs out before the steps do."""
        spent, done = self.seconds / self.limit_s, self.step / self.total_steps
        is_early = self.step < FIRST_STEPS or spent < FIRST_TIME
        is_clear = spent > TRUST_STEPS or (not is_early and spent > FAR_TOO_SLOW * done)
        return max(done, spent if is_clear else 0.0)

    @property
    def is_over(self) -> bool:
        return self.step >= self.total_steps or self.seconds >= self.limit_s

    def go_back(self, step: int, seconds: float) -> None:
        """Stand where a training stood that had taken so many steps in so many seconds."""
        self.step, self.started = step, time.monotonic() - seconds


def learning_rate(settings: TrainConfig, clock: Clock) -> float:
    """A short linear warm-up, then half a cosine to zero; or constant."""
    if settings.schedule == "constant":
        return settings.lr
    fraction = clock.fraction
    warm = min(1.0, (fraction + 1 / clock.total_steps) / WARM_UP)
    return settings.lr * (warm * 0.5 * (1 + math.cos(math.pi * min(1.0, fraction))))


def optimiser(parameters: list[nn.Parameter], settings: TrainConfig) -> torch.optim.AdamW:
    """As the settings say; AdamW without weight decay is Adam."""
    kind = Muon if settings.optimiser == "muon" else torch.optim.AdamW
    betas = (settings.momentum, 0.999)
    return kind(parameters, settings.lr, betas=betas, weight_decay=settings.weight_decay)
