"""MM-Synthesis: an encoder per modality into shared maps of features, fused by pixel (Chartsias et al. 2018, IEEE TMI
37(3), doi:10.1109/TMI.2017.2764326)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from core.config import Settings
from core.models.base import Batch, Model, Shapes
from core.models.blocks import (
    MUON,
    Shuffle,
    Trunk,
    Unshuffle,
    conv,
    conv_block,
    crop_to,
    on_rows,
    small_size,
    stack_presence,
    to_pixels,
    visible,
)
from core.models.formulas import Point, absolute_error, max_code, mean_code, random_subset, squared_error, sum_of

FUSIONS = {"max": max_code, "mean": mean_code}


class MMSynthesis(Model):
    """Inside, the maps are sorted by pixel into channels at half resolution: the same numbers, and faster networks."""

    title = "MM-Synthesis (shared feature maps)"
    summary = "A shared code as fine as the image, from any subset of modalities. Details keep their place."
    train_defaults: ClassVar[Mapping[str, Any]] = MUON

    class Config(Settings):
        width: int = Field(16, ge=4, le=256, description="Channels at half resolution; more is slower and finer")
        latent_dim: int = Field(16, ge=1, le=256, description="Shared feature maps, each as large as the image")
        halvings: int = Field(3, ge=2, le=5, description="How often an encoder halves the image to see around a pixel")
        fusion: Literal["max", "mean"] = Field("max", description="How the maps of several modalities become one")
        n_subsets: int = Field(
            1, ge=0, le=64, description="Random subsets learnt from at each step; 0: all and each alone, as published"
        )
        rebuild: float = Field(
            0.3, ge=0, le=1, description="How often what is given is made again as well; 1: always, as published"
        )
        tie_weight: float = Field(0.0, ge=0, le=1000, description="Weight of how far modalities' maps lie apart")

    def __init__(self, config: MMSynthesis.Config, shapes: Shapes) -> None:
        super().__init__(config, shapes)
        dims, width = shapes.spatial_dims, config.width
        n_maps = 2**dims * config.latent_dim
        self.encoders = nn.ModuleDict(
            {m: Trunk(dims, (shapes.channels, n_maps), width, config.halvings, level=1) for m in shapes.modalities}
        )
        self.decoders = nn.ModuleDict({m: _decoder(dims, n_maps, width, shapes.channels) for m in shapes.modalities})
        self.sort, self.unsort = Unshuffle(), Shuffle()

    def _codes(self, batch: Batch, needed: Tensor) -> Tensor:
        """(M, B, maps, *half): the maps of the rows that are needed (M, B), zeros elsewhere."""
        small = small_size(self.shapes.size, 1)
        made = {
            m: crop_to(on_rows(self.encoders[m], visible(batch, m), rows), small)
            for m, rows in zip(batch.x, needed, strict=True)
            if rows.any()
        }
        blank = torch.zeros_like(next(iter(made.values())))
        return torch.stack([made.get(m, blank) for m in batch.x])

    def _fused(self, codes: Tensor, chosen: Tensor) -> Tensor:
        return FUSIONS[self.config.fusion](codes, chosen)

    def encode(self, batch: Batch) -> Point:
        """(B, D, *size), with one more pixel along an axis of odd length."""
        present = stack_presence(batch)
        return Point(self.unsort(self._fused(self._codes(batch, present), present)))

    def decode(self, z: Tensor, targets: Sequence[str]) -> dict[str, Tensor]:
        maps = self.sort(z)
        return {m: self._image(m, maps) for m in targets}

    def _image(self, modality: str, maps: Tensor) -> Tensor:
        return crop_to(self.decoders[modality](maps), self.shapes.size)

    def loss(self, batch: Batch, part: str, step: int) -> dict[str, Tensor]:
        """sum_targets sum_subsets |d_t(fused codes of the subset) - y_t| + lambda Var_m(e_m), of what a row has."""
        subsets = self._subsets(stack_presence(batch))
        needed = subsets.any(0)
        codes = self._codes(batch, needed)
        fused = torch.cat([self._fused(codes, chosen) for chosen in subsets])
        error = sum_of([self._error(batch, m, number, fused, subsets) for number, m in enumerate(batch.x)])
        tie = _variance(codes, needed).mean() / self.config.latent_dim
        return {"total": error + self.config.tie_weight * tie, "error": error, "tie": tie}

    def _subsets(self, present: Tensor) -> Tensor:
        """(K, M, B) bool: what each row is given. A random subset leaves one modality out where a row has several."""
        if self.config.n_subsets:
            single = present & (present.sum(0) == 1)
            return torch.stack([random_subset(present, leave_out=1) | single for _ in range(self.config.n_subsets)])
        each = torch.eye(len(present), dtype=torch.bool, device=present.device)[..., None] & present
        return torch.cat([each, present[None]])

    def _error(self, batch: Batch, modality: str, number: int, fused: Tensor, subsets: Tensor) -> Tensor:
        """Sum over subsets and pixels, mean over rows, of one target where a row has it."""
        again = torch.rand(subsets[:, number].shape, device=fused.device) < self.config.rebuild
        judged = batch.present[modality] & subsets.any(1) & (~subsets[:, number] | again)
        at = judged.flatten().nonzero()[:, 0]
        if not len(at):
            return fused.new_zeros(())
        truth = visible(batch, modality)[at % batch.size]
        return absolute_error(self._image(modality, fused[at]), truth).sum() / batch.size


def _decoder(dims: int, n_maps: int, width: int, n_out: int) -> nn.Sequential:
    mix = nn.Sequential(conv(dims, n_maps, width, 1), nn.SiLU(inplace=True))
    return nn.Sequential(mix, conv_block(dims, width, width), *to_pixels(dims, width, n_out))


def _variance(codes: Tensor, seen: Tensor) -> Tensor:
    """(B,): the variance over the seen (M, B) of the codes (M, B, ...), summed over all numbers of a code."""
    centre = mean_code(codes, seen)
    apart = [torch.where(rows, squared_error(code, centre), 0.0) for code, rows in zip(codes, seen, strict=True)]
    return torch.stack(apart).sum(0) / seen.sum(0).clamp(min=1)
