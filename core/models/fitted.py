"""What the models share that are fitted once, from one pass over the training slices and without gradient."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from core.models.base import Batch, Model
from core.models.blocks import visible
from core.models.formulas import rows_like, sum_of


class Fitted(Model):
    """A subclass fills its buffers in `fit`."""

    is_fitted = True

    def parts(self) -> dict[str, list[nn.Parameter]]:
        return {}

    def loss(self, batch: Batch, part: str, step: int) -> dict[str, Tensor]:
        """Mean absolute error in the mask, of each modality from all others that are present."""
        errors = []
        for m in batch.x:
            others = batch.only([n for n in batch.x if n != m])
            difference = (self.synthesise(others, [m])[m] - visible(batch, m)).abs().mean(1, keepdim=True)
            judged = batch.mask & rows_like(batch.present[m], batch.mask)
            errors.append(torch.where(judged, difference, 0.0).sum() / judged.sum().clamp(min=1))
        return {"total": sum_of(errors) / len(errors)}
