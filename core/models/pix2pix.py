"""pix2pix: a U-Net that also has to fool a discriminator which sees what it was given (Isola et al. 2017,
arXiv:1611.07004); for every subset of modalities as in MM-GAN (Sharma & Hamarneh 2020, arXiv:1904.12200)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from core.models.adversarial import (
    AdversarialSettings,
    PatchDiscriminator,
    loss_of_fooling,
    loss_on_made,
    loss_on_real,
    mean_absolute_error,
)
from core.models.base import Batch, Shapes
from core.models.blocks import visible
from core.models.formulas import mean_over_rows, rows_like, sum_of
from core.models.unet import UNet

Images = dict[str, Tensor]


class Pix2Pix(UNet):
    """The paper's noise is left out: with it the answers hardly varied, as the paper says itself."""

    title = "pix2pix (adversarial translation)"
    summary = "A U-Net whose images must also look real to a judge: sharper, but it can invent detail."
    train_defaults: ClassVar[Mapping[str, Any]] = {"momentum": 0.5}

    class Config(UNet.Config, AdversarialSettings):
        l1_weight: float = Field(100.0, ge=0, le=10_000, description="Weight of the error beside that of being caught")

    def __init__(self, config: Pix2Pix.Config, shapes: Shapes) -> None:
        super().__init__(config, shapes)
        channels = (len(shapes.modalities) * shapes.channels, len(self.targets))
        self.discriminator = PatchDiscriminator(shapes.spatial_dims, channels, config)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        generator = [*self.trunk.parameters(), *self.head.parameters()]
        return {"generator": generator, "discriminator": list(self.discriminator.parameters())}

    def loss(self, batch: Batch, part: str, step: int) -> dict[str, Tensor]:
        """Generator: sum over targets of GAN + l1_weight * mean |y - G(x)|; discriminator: sum of GAN / 2."""
        shown, judged = self.drawn(batch)
        if part == "discriminator":
            with torch.no_grad():
                made = self.synthesise(shown, self.targets)
            return {"total": self._caught(batch, shown, made, judged)}
        made = self.synthesise(shown, self.targets)
        logits = self._logits(shown, made, judged)
        objective = self.config.objective
        fooling = sum_of([mean_over_rows(loss_of_fooling(objective, logits[m]), judged[m]) for m in made])
        errors = [mean_over_rows(mean_absolute_error(y, visible(batch, m)), judged[m]) for m, y in made.items()]
        total = fooling + self.config.l1_weight * sum_of(errors)
        return {"total": total, "adversarial": fooling, "l1": sum_of(errors)}

    def _caught(self, batch: Batch, shown: Batch, made: Images, judged: Images) -> Tensor:
        """Half of the loss on real targets and half of that on made ones."""
        truth = {m: visible(batch, m) for m in made}
        on_real, on_made = (self._logits(shown, images, judged) for images in (truth, made))
        objective = self.config.objective
        losses = [loss_on_real(objective, on_real[m]) + loss_on_made(objective, on_made[m]) for m in made]
        return sum_of([mean_over_rows(loss, judged[m]) for loss, m in zip(losses, made, strict=True)])

    def _logits(self, shown: Batch, images: Images, judged: Images) -> Images:
        """Of each target, seen beside what was given; neither given nor judged is zero."""
        channels = []
        for m in self.shapes.modalities:
            x = visible(shown, m)
            channels.append(torch.where(rows_like(judged[m], x), images[m], x) if m in images else x)
        logits = self.discriminator(torch.cat(channels, 1)).chunk(len(self.targets), 1)
        return dict(zip(self.targets, logits, strict=True))
