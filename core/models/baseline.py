"""What the baselines share: fitted once on the training slices, any target from anything, no code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from torch import Tensor

from core.config import Settings
from core.errors import InvalidConfigError
from core.models.base import Batch
from core.models.blocks import visible
from core.models.fitted import Fitted
from core.models.formulas import rows_like


class Baseline(Fitted):
    """A subclass fits buffers in `fit`, and fills in `synthesise`."""

    can_decode = False
    can_embed = False

    class Config(Settings):
        pass

    def encode(self, batch: Batch) -> NoReturn:
        raise _no_code()

    def embed(self, batch: Batch) -> NoReturn:
        raise _no_code()

    def decode(self, z: Tensor, targets: Sequence[str]) -> NoReturn:
        raise _no_code()

    def supports(self, given: Sequence[str], target: str) -> bool:
        """Any modality that is not given."""
        return target not in given


def _no_code() -> InvalidConfigError:
    return InvalidConfigError("A baseline has no code to look at. Choose a trained model.", "NO-LATENT")


def masked_values(batch: Batch, modality: str) -> Tensor:
    """The voxels (n,) of this modality that are in the mask, of the rows that have it."""
    x = visible(batch, modality)
    return x[(batch.mask & rows_like(batch.present[modality], x)).expand_as(x)]
