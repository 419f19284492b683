"""Joint autoencoder: one shared code, an encoder and a decoder per modality (Ngiam et al. 2011, ICML, "Multimodal deep
learning"; the tie of the codes as in Chartsias et al. 2018, IEEE TMI 37(3), doi:10.1109/TMI.2017.2764326)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from core.models.base import Batch, Model, Shapes
from core.models.blocks import MUON, ConvSettings, Decoder, Encoder, stack_presence, times, visible
from core.models.formulas import ERRORS, Point, mean_code, mean_over_rows, random_subset, squared_error, sum_of


class AE(Model):
    title = "Joint autoencoder"
    summary = "One code per slice that every modality can be read from; sharp and simple. Choose it for a first map."
    train_defaults: ClassVar[Mapping[str, Any]] = {"epochs": 80, **MUON}

    class Config(ConvSettings):
        cross_weight: float = Field(1.0, ge=0, le=1000, description="Weight of making a modality from the others")
        tie_weight: float = Field(0.01, ge=0, le=1000, description="Weight of the distance between modalities' codes")
        error: Literal["absolute", "squared"] = Field("absolute", description="What is summed over the pixels")

    def __init__(self, config: AE.Config, shapes: Shapes) -> None:
        super().__init__(config, shapes)
        size, channels, d = shapes.size, shapes.channels, config.latent_dim
        self.encoders = nn.ModuleDict({m: Encoder(size, channels, d, config) for m in shapes.modalities})
        self.decoders = nn.ModuleDict({m: Decoder(size, d, channels, config) for m in shapes.modalities})
        self.scale = nn.GroupNorm(1, d, affine=False)  # else codes tie by shrinking

    def _codes(self, batch: Batch) -> Tensor:
        """(M, B, D, ...) of the modalities in the batch."""
        return torch.stack([self.scale(self.encoders[m](visible(batch, m))) for m in batch.x])

    def encode(self, batch: Batch) -> Point:
        """The mean of the codes of what is present."""
        return Point(mean_code(self._codes(batch), stack_presence(batch)))

    def decode(self, z: Tensor, targets: Sequence[str]) -> dict[str, Tensor]:
        return {m: self.decoders[m](z) for m in targets}

    def loss(self, batch: Batch, part: str, step: int) -> dict[str, Tensor]:
        """Each modality from its own code, and from the mean code of a random subset of the others."""
        codes, present = self._codes(batch), stack_presence(batch)
        own: list[Tensor] = []
        cross: list[Tensor] = []
        for number, m in enumerate(batch.x):
            others = present.clone()
            others[number] = False
            z = torch.cat([codes[number], mean_code(codes, random_subset(others))])
            errors = ERRORS[self.config.error](self.decoders[m](z), times(visible(batch, m), 2))
            from_own, from_others = errors.chunk(2)
            own.append(mean_over_rows(from_own, present[number]))
            cross.append(mean_over_rows(from_others, present[number] & others.any(0)))
        reconstruction, synthesis, tie = sum_of(own), sum_of(cross), _tie(codes, present)
        total = reconstruction + self.config.cross_weight * synthesis + self.config.tie_weight * tie
        return {"total": total, "reconstruction": reconstruction, "synthesis": synthesis, "tie": tie}


def _tie(codes: Tensor, present: Tensor) -> Tensor:
    """Sum over pairs of modalities of ||e_m - e_n||^2, which is n times the sum of squares around their mean."""
    centre = mean_code(codes, present)
    spread = [mean_over_rows(present.sum(0) * squared_error(e, centre), p) for e, p in zip(codes, present, strict=True)]
    return sum_of(spread)
