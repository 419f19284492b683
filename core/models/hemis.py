"""HeMIS: a network per modality, their features' mean and variance as what all share, one network behind (Havaei et al.
2016, MICCAI, arXiv:1607.05194, there for segmentation; here a decoder per modality makes its image)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from core.config import Settings
from core.models.base import Batch, Model, Shapes
from core.models.blocks import (
    MUON,
    NORMALISE,
    Shuffle,
    Trunk,
    block_of,
    conv,
    crop_to,
    on_rows,
    pad,
    small_size,
    stack_presence,
    stem,
    visible,
)
from core.models.formulas import Point, absolute_error, mean_code, mean_over_rows, random_subset, sum_of


class HeMIS(Model):
    """The code is what the shared network makes of the moments: maps at half the image's resolution."""

    title = "HeMIS (moments of feature maps)"
    summary = "A shared code as rich as a U-Net's features, from any subset of modalities; fine images early on."
    train_defaults: ClassVar[Mapping[str, Any]] = MUON

    class Config(Settings):
        width: int = Field(24, ge=4, le=256, description="Channels at half resolution; more is slower and finer")
        latent_dim: int = Field(48, ge=1, le=256, description="Numbers in the shared code at each 2 x 2 pixels")
        halvings: int = Field(3, ge=2, le=5, description="How often the image is halved to see around a pixel")
        rebuild: float = Field(0.1, ge=0, le=1, description="How often what is given is made again as well")
        normalise: bool = NORMALISE

    def __init__(self, config: HeMIS.Config, shapes: Shapes) -> None:
        super().__init__(config, shapes)
        dims, width, block = shapes.spatial_dims, config.width, block_of(config.normalise)
        self.encoders = nn.ModuleDict({m: stem(dims, shapes.channels, width, block) for m in shapes.modalities})
        self.trunk = Trunk(dims, (shapes.channels, config.latent_dim), width, config.halvings, level=1, block=block)
        self.trunk.stem = block(dims, 2 * width, width, kernel=1)
        n_pixels = 2**dims * shapes.channels  # of one place of the code
        self.decoders = nn.ModuleDict({m: conv(dims, config.latent_dim, n_pixels, 3) for m in shapes.modalities})
        self.unsort = Shuffle()

    def encode(self, batch: Batch) -> Point:
        """(B, D, *half)."""
        seen = stack_presence(batch)
        wide = {m: pad(visible(batch, m), self.trunk.multiple) for m in batch.x}
        made = [on_rows(self.encoders[m], x, rows) for (m, x), rows in zip(wide.items(), seen, strict=True)]
        mean = mean_code(made, seen)
        variance = mean_code([(features - mean) ** 2 for features in made], seen)
        maps = self.trunk.up(self.trunk.descend(self.trunk.stem(torch.cat([mean, variance], 1))))
        return Point(crop_to(maps, small_size(self.shapes.size, 1)))

    def decode(self, z: Tensor, targets: Sequence[str]) -> dict[str, Tensor]:
        """All targets by one convolution with their decoders' kernels side by side, which is faster."""
        layers = [cast(nn.Conv2d, self.decoders[m]) for m in targets]
        kernels = torch.cat([layer.weight for layer in layers])
        biases = torch.cat([cast(Tensor, layer.bias) for layer in layers])
        convolve = F.conv2d if kernels.ndim == 4 else F.conv3d
        made = convolve(z, kernels, biases, padding=1).chunk(len(layers), 1)
        return {m: crop_to(self.unsort(image), self.shapes.size) for m, image in zip(targets, made, strict=True)}

    def loss(self, batch: Batch, part: str, step: int) -> dict[str, Tensor]:
        """L1 of what each row has, from a random subset of it."""
        present = stack_presence(batch)
        alone = present & (present.sum(0) == 1)
        given = random_subset(present, leave_out=1) | alone
        made = self.decode(self.encode(batch.showing(given)).mean, list(batch.x))
        again = torch.rand(given.shape, device=given.device) < self.config.rebuild
        judged = present & (~given | again | alone)
        errors = [absolute_error(image, visible(batch, m)) for m, image in made.items()]
        return {"total": sum_of([mean_over_rows(e, rows) for e, rows in zip(errors, judged, strict=True)])}
