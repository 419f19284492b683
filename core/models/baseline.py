"""What the baselines share: fitted once on the training slices, any target from anything, no code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import torch
from torch import Tensor, nn

from core.config import Settings
from core.errors import InvalidConfigError
from core.models.base import Batch, Model
from core.models.blocks import visible
from core.models.formulas import rows_like, sum_of


class Baseline(Model):
    """A subclass fits buffers in `fit`, and fills in `synthesise`."""

    can_decode = False
    can_embed = False
    is_fitted = True

    class Config(Settings):
        pass

    def parts(self) -> dict[str, list[nn.Parameter]]:
        return {}

    def encode(self, batch: Batch) -> NoReturn:
        raise _no_code()

    def embed(self, batch: Batch) -> NoReturn:
        raise _no_code()

    def decode(self, z: Tensor, targets: Sequence[str]) -> NoReturn:
        raise _no_code()

    def supports(self, given: Sequence[str], target: str) -> bool:
        """Any modality that is not given."""
        return target not in given

    def loss(self, batch: Batch, part: str, step: int) -> dict[str, Tensor]:
        """Mean absolute error in the mask, of each modality from all others that are present."""
        errors = []
        for m in batch.x:
            others = batch.only([n for n in batch.x if n != m])
            difference = (self.synthesise(others, [m])[m] - visible(batch, m)).abs().mean(1, keepdim=True)
            judged = batch.mask & rows_like(batch.present[m], batch.mask)
            errors.append(torch.where(judged, difference, 0.0).sum() / judged.sum().clamp(min=1))
        return {"total": sum_of(errors) / len(errors)}


def _no_code() -> InvalidConfigError:
    return InvalidConfigError("A baseline has no code to look at. Choose a trained model.", "NO-LATENT")


def masked_values(batch: Batch, modality: str) -> Tensor:
    """The voxels (n,) of this modality that are in the mask, of the rows that have it."""
    x = visible(batch, modality)
    return x[(batch.mask & rows_like(batch.present[modality], x)).expand_as(x)]
