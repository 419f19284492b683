"""Dense autoencoder, the founding example's computation (Hinton & Salakhutdinov 2006, doi:10.1126/science.1127647):
flatten, one layer to 32 (ReLU), one layer back (sigmoid), mean squared error, Adam, 100 epochs, batches of 32."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from core.config import Settings
from core.models.base import Batch, Model, Shapes
from core.models.blocks import visible
from core.models.formulas import Point, rows_like, squared_error, sum_of


class DenseAE(Model):
    """Nothing is shared between modalities: the code is one block for each, zeros where it is absent."""

    title = "Dense autoencoder"
    summary = "The textbook's smallest autoencoder, one per modality. For small images, and to see what depth adds."
    train_defaults: ClassVar[Mapping[str, Any]] = {
        "epochs": 100,
        "batch_size": 32,
        "lr": 1e-3,
        "schedule": "constant",
        "weight_decay": 0.0,
        "augment": False,
        "average": 0.0,
        "clip": 0.0,
    }

    class Config(Settings):
        code: int = Field(32, ge=1, le=4096, description="Size of the code")

    def __init__(self, config: DenseAE.Config, shapes: Shapes) -> None:
        super().__init__(config, shapes)
        n = shapes.channels * math.prod(shapes.size)
        self.encoders = nn.ModuleDict({m: _dense(n, config.code) for m in shapes.modalities})
        self.decoders = nn.ModuleDict({m: _dense(config.code, n) for m in shapes.modalities})

    def _code(self, batch: Batch, modality: str) -> Tensor:
        out: Tensor = self.encoders[modality](visible(batch, modality).flatten(1)).relu()
        return out

    def _decode(self, code: Tensor, modality: str) -> Tensor:
        out: Tensor = self.decoders[modality](code).sigmoid()
        return out.view(-1, self.shapes.channels, *self.shapes.size)

    def encode(self, batch: Batch) -> Point:
        """All codes side by side, in the order of the modalities."""
        nothing = torch.zeros(batch.size, self.config.code, device=batch.position.device)
        codes = []
        for m in self.shapes.modalities:
            code = self._code(batch, m) if m in batch.x else nothing
            codes.append(torch.where(rows_like(batch.present[m], code), code, 0.0) if m in batch.x else nothing)
        return Point(torch.cat(codes, 1))

    def decode(self, z: Tensor, targets: Sequence[str]) -> dict[str, Tensor]:
        blocks = dict(zip(self.shapes.modalities, z.chunk(len(self.shapes.modalities), 1), strict=True))
        return {m: self._decode(blocks[m], m) for m in targets}

    def supports(self, given: Sequence[str], target: str) -> bool:
        """A modality from itself, alone."""
        return tuple(given) == (target,)

    def loss(self, batch: Batch, part: str, step: int) -> dict[str, Tensor]:
        """Mean squared error over pixels and the rows that have the modality, summed over modalities."""
        errors = []
        for m in batch.x:
            x, rows = visible(batch, m), batch.present[m]
            error = squared_error(self._decode(self._code(batch, m), m), x) / x[0].numel()
            errors.append(torch.where(rows, error, 0.0).sum() / rows.sum().clamp(min=1))
        return {"total": sum_of(errors)}


def _dense(n_in: int, n_out: int) -> nn.Linear:
    """A layer that starts as Keras' Dense does: Glorot-uniform weights (Glorot & Bengio 2010), zero bias."""
    layer = nn.Linear(n_in, n_out)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
