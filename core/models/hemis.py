"""HeMIS: a network per modality, their features' mean and variance as what all share, one network behind (Havaei et al.
2016, MICCAI, arXiv:1607.05194, there for segmentation; here a decoder per modality makes its image)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from core.config import Settings
from core.models.base import Batch, Model, Shapes
from core.models.blocks import (
    NORMALISE,
    Trunk,
    block_of,
    crop_to,
    on_rows,
    pad,
    small_size,
    stack_presence,
    stem,
    to_pixels,
    visible,
)
from core.models.formulas import Point, absolute_error, mean_code, random_subset, sum_of


class HeMIS(Model):
    """The code is what the shared network makes of the moments: maps at half the image's resolution."""

    title = "HeMIS (moments of feature maps)"
    summary = "A shared code as rich as a U-Net's features, from any subset of modalities; fine images early on."
    train_defaults: ClassVar[Mapping[str, Any]] = {"optimiser": "muon"}

    class Config(Settings):
        width: int = Field(24, ge=4, le=256, description="Channels at half resolution; more is slower and finer")
        latent_dim: int = Field(48, ge=1, le=256, description="Numbers in the shared code at each 2 x 2 pixels")
        halvings: int = Field(3, ge=2, le=5, description="How often the image is halved to see around a pixel")
        rebuild: float = Field(0.1, ge=0, le=1, description="How often what is given is made again as well")
        normalise: bool = NORMALISE

    def __init__(self, config: HeMIS.Config, shapes: Shapes) -> None:
        super().__init__(config, shapes)
        dims, width, block = shapes.spatial_dims, config.width, block_of(config.normalise)
        self.encoders = nn.ModuleDict({m: stem(dims, shapes.channels, width // 2, block) for m in shapes.modalities})
        self.trunk = Trunk(dims, (shapes.channels, config.latent_dim), width, config.halvings, level=1, block=block)
        self.trunk.stem = block(dims, 2 * (width // 2), width, 1)
        self.decoders = nn.ModuleDict(
            {m: nn.Sequential(*to_pixels(dims, config.latent_dim, shapes.channels)) for m in shapes.modalities}
        )

    def encode(self, batch: Batch) -> Point:
        """(B, D, *half)."""
        seen = stack_presence(batch)
        wide = {m: pad(visible(batch, m), self.trunk.multiple) for m in batch.x}
        made = [on_rows(self.encoders[m], x, rows) for (m, x), rows in zip(wide.items(), seen, strict=True)]
        features = torch.stack(made)
        mean = mean_code(features, seen)
        variance = mean_code((features - mean) ** 2, seen)
        maps = self.trunk.up(self.trunk.descend(self.trunk.stem(torch.cat([mean, variance], 1))))
        return Point(crop_to(maps, small_size(self.shapes.size, 1)))

    def decode(self, z: Tensor, targets: Sequence[str]) -> dict[str, Tensor]:
        return {m: crop_to(self.decoders[m](z), self.shapes.size) for m in targets}

    def loss(self, batch: Batch, part: str, step: int) -> dict[str, Tensor]:
        """L1 of what each row has, from a random subset of it."""
        present = stack_presence(batch)
        alone = present & (present.sum(0) == 1)
        given = random_subset(present, leave_out=1) | alone
        z = self.encode(batch.showing(given)).mean
        again = torch.rand(given.shape, device=given.device) < self.config.rebuild
        judged = present & (~given | again | alone)
        return {"total": sum_of([self._error(batch, m, z, rows) for m, rows in zip(batch.x, judged, strict=True)])}

    def _error(self, batch: Batch, modality: str, z: Tensor, rows: Tensor) -> Tensor:
        at = rows.nonzero()[:, 0]
        if not len(at):
            return z.new_zeros(())
        made = self.decode(z[at], [modality])[modality]
        return absolute_error(made, visible(batch, modality)[at]).sum() / batch.size
