"""Similarity learning: symmetric InfoNCE (van den Oord et al. 2018, arXiv:1807.03748) with CLIP's learnt temperature
(Radford et al. 2021, arXiv:2103.00020), or triplets (Schroff et al. 2015, arXiv:1503.03832). It makes no images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from core.config import Settings
from core.errors import InvalidConfigError
from core.models.base import Batch, Model, Shapes
from core.models.blocks import Trunk, visible
from core.models.formulas import Point, rows_like
from core.models.terms import MARGIN, NEAR, TEMPERATURE, info_nce, sum_over_pairs, triplet

COLDEST = 0.01  # as in CLIP: a colder softmax makes trainings unstable


class Contrastive(Model):
    """A code is a unit vector; that of several modalities is the direction of their sum."""

    title = "Similarity learning (contrastive)"
    summary = (
        "Codes of one slice's modalities come together, those of other slices move apart. It makes no images: choose "
        "it for a map and for finding a case across modalities."
    )
    can_decode = False
    makes_images = False
    train_defaults: ClassVar[Mapping[str, Any]] = {"epochs": 60, "batch_size": 32, "lr": 2e-3}

    class Config(Settings):
        objective: Literal["infonce", "triplet"] = Field("infonce", description="What pulls and pushes the codes")
        latent_dim: int = Field(64, ge=2, le=1024, description="Numbers in a code")
        width: int = Field(16, ge=4, le=256, description="Channels at half resolution; more is slower and finer")
        halvings: int = Field(4, ge=2, le=6, description="How often the image is halved before it is averaged")
        temperature: float = Field(
            TEMPERATURE, ge=COLDEST, le=1, description="InfoNCE: where its sharpness starts; it is learnt"
        )
        margin: float = Field(MARGIN, gt=0, le=2, description="Triplets: how much nearer the right partner has to be")
        near: int = Field(
            NEAR, ge=0, le=100, description="Slices of one case this close are not pushed apart; 0: all but itself are"
        )

    def __init__(self, config: Contrastive.Config, shapes: Shapes) -> None:
        super().__init__(config, shapes)
        if len(shapes.modalities) < 2:
            raise InvalidConfigError("Similarity learning compares modalities: it needs two at least.", "ONE-MODALITY")
        dims, depth = shapes.spatial_dims, config.halvings
        channels = (shapes.channels, config.latent_dim)
        self.encoders = nn.ModuleDict(
            {m: Trunk(dims, channels, config.width, depth, level=depth) for m in shapes.modalities}
        )
        if config.objective == "infonce":
            self.log_sharpness = nn.Parameter(torch.tensor(-math.log(config.temperature)))

    def units(self, batch: Batch) -> dict[str, Tensor]:
        """(B, D) unit vectors of each modality in the batch, also for rows that lack it."""
        return {m: F.normalize(self.encoders[m](visible(batch, m)).flatten(2).mean(2)) for m in batch.x}

    def encode(self, batch: Batch) -> Point:
        units = [torch.where(rows_like(batch.present[m], u), u, 0.0) for m, u in self.units(batch).items()]
        return Point(F.normalize(torch.stack(units).sum(0)))

    def decode(self, z: Tensor, targets: Sequence[str]) -> dict[str, Tensor]:
        raise InvalidConfigError("Similarity learning has no code to decode: it makes no images.", "NO-IMAGES")

    def loss(self, batch: Batch, part: str, step: int) -> dict[str, Tensor]:
        """The sum over pairs of modalities."""
        units, c = self.units(batch), self.config
        if c.objective == "triplet":
            return {"total": sum_over_pairs(partial(triplet, margin=c.margin), units, batch, c.near)}
        temperature = (-self.log_sharpness).exp().clamp(min=COLDEST)
        total = sum_over_pairs(partial(info_nce, temperature=temperature), units, batch, c.near)
        return {"total": total, "temperature": temperature.detach()}
