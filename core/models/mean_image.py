"""Baseline: the mean of the training cases at each voxel, whatever is given."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from core.config import Settings
from core.errors import InvalidConfigError
from core.models.base import Batch, Shapes
from core.models.baseline import Baseline
from core.models.blocks import visible


class MeanImage(Baseline):
    title = "Mean image (baseline)"
    summary = "The average training case, slice by slice. Tells what position alone gives away."

    def __init__(self, config: Settings, shapes: Shapes) -> None:
        super().__init__(config, shapes)
        if shapes.spatial_dims == 3:
            raise InvalidConfigError("The mean image needs whole slices. Set train.input to slices.", "NEEDS-SLICES")
        self.image: Tensor
        n_pixels = shapes.channels * math.prod(shapes.size)
        self.register_buffer("image", torch.zeros(len(shapes.modalities), shapes.n_positions, n_pixels))

    def fit(self, batches: Iterable[Batch]) -> None:
        """A position that no training case has stays 0."""
        count = torch.zeros(self.image.shape[:2], device=self.image.device)
        self.image.zero_()
        for batch in batches:
            for number, m in enumerate(self.shapes.modalities):
                self.image[number].index_add_(0, batch.position, visible(batch, m).flatten(1))
                count[number].index_add_(0, batch.position, batch.present[m].float())
        self.image /= count.clamp(min=1)[:, :, None]

    def synthesise(self, batch: Batch, targets: Sequence[str]) -> dict[str, Tensor]:
        shape = (batch.size, self.shapes.channels, *self.shapes.size)
        return {m: self.image[self.shapes.modalities.index(m), batch.position].view(shape) for m in targets}
