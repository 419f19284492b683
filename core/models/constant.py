"""Baseline: the one value that fits the training voxels best in absolute error, their median."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from core.config import Settings
from core.models.base import Batch, Shapes
from core.models.baseline import Baseline, masked_values

LOW, HIGH, N_BINS = -1.0, 3.0, 40_000  # prepared images are about 0 to 1; bins of 1e-4


class Constant(Baseline):
    title = "Constant (baseline)"
    summary = "The training voxels' median, everywhere. What any model must beat to know anything."

    def __init__(self, config: Settings, shapes: Shapes) -> None:
        super().__init__(config, shapes)
        self.value: Tensor
        self.register_buffer("value", torch.zeros(len(shapes.modalities)))

    def fit(self, batches: Iterable[Batch]) -> None:
        """The medians, to half a bin, from a histogram that grows with nothing."""
        histogram = torch.zeros(len(self.shapes.modalities), N_BINS, dtype=torch.float64)
        for batch in batches:
            for number, m in enumerate(self.shapes.modalities):
                values = masked_values(batch, m).clamp(LOW, HIGH).cpu()
                histogram[number] += torch.histc(values, N_BINS, LOW, HIGH).double()
        below = histogram.cumsum(1)
        middle = (below < below[:, -1:] / 2).sum(1)
        self.value.copy_(LOW + (middle + 0.5) * (HIGH - LOW) / N_BINS)

    def synthesise(self, batch: Batch, targets: Sequence[str]) -> dict[str, Tensor]:
        places = {m: self.value[self.shapes.modalities.index(m)] for m in targets}
        return {m: value.expand(batch.size, self.shapes.channels, *self.shapes.size) for m, value in places.items()}
