"""VAE-GAN: a VAE that is judged by a discriminator's features, not by pixels (Larsen et al. 2016, arXiv:1512.09300);
several modalities share one latent by a product of experts (Wu & Goodman 2018, arXiv:1802.05335)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from core.models.adversarial import (
    AdversarialSettings,
    PatchDiscriminator,
    loss_of_fooling,
    loss_on_made,
    loss_on_real,
)
from core.models.base import Batch, Shapes
from core.models.blocks import stack_presence, visible
from core.models.formulas import LIKELIHOODS, Gaussian, mean_over_rows, product_of_experts, random_subset, sum_of
from core.models.shared_vae import SharedVAE
from core.models.vae import GaussianSettings


class VAEGAN(SharedVAE):
    """One discriminator per modality; each row shows a random subset of what it has, and all it has is rebuilt."""

    title = "VAE-GAN (adversarial, shared code)"
    summary = "One shared code with doubt, whose images must also look real to a judge: sharper than a VAE's."
    train_defaults: ClassVar[Mapping[str, Any]] = {"momentum": 0.5}

    class Config(GaussianSettings, AdversarialSettings):
        likelihood: Literal["laplace", "normal"] = Field("normal", description="How the judge's features scatter")
        scale: float = Field(0.03, gt=0, le=10, description="Width of that scatter; smaller is finer")
        adversarial_weight: float = Field(1.0, ge=0, le=10_000, description="Weight of looking real beside being right")

    def __init__(self, config: VAEGAN.Config, shapes: Shapes) -> None:
        super().__init__(config, shapes)
        dims, channels = shapes.spatial_dims, (shapes.channels, 1)
        self.discriminators = nn.ModuleDict({m: PatchDiscriminator(dims, channels, config) for m in shapes.modalities})

    def parts(self) -> dict[str, list[nn.Parameter]]:
        generator = [*self.encoders.parameters(), *self.decoders.parameters()]
        return {"generator": generator, "discriminator": list(self.discriminators.parameters())}

    def encode(self, batch: Batch) -> Gaussian:
        return self._product(batch, stack_presence(batch))

    def precision_shares(self, batch: Batch) -> dict[str, Tensor]:
        return self.shares(batch, prior=True)

    def _product(self, batch: Batch, chosen: Tensor) -> Gaussian:
        """With the prior; chosen: (M, B), what each row shows."""
        return product_of_experts(list(self.experts(batch).values()), list(chosen))

    def loss(self, batch: Batch, part: str, step: int) -> dict[str, Tensor]:
        """KL + feature error + adversarial_weight * GAN, of reconstructions and of draws from the prior alike.

        As in the paper's algorithm the encoders learn from KL and features only, the decoders from features and GAN,
        and the discriminators from GAN only; the paper's gamma is 1 / adversarial_weight.
        """
        chosen = random_subset(stack_presence(batch))
        if part == "discriminator":
            with torch.no_grad():
                z = self._product(batch, chosen).sample()
                codes = torch.cat([z, torch.randn_like(z)])
                made = self.decode(codes, list(batch.x))
            return {"total": sum_of([self._caught(batch, m, images) for m, images in made.items()])}
        posterior = self._product(batch, chosen)
        z = posterior.sample()
        codes = torch.cat([z, z.detach(), torch.randn_like(z)])
        pairs = [self._judged(batch, m, images) for m, images in self.decode(codes, list(batch.x)).items()]
        feature, fooling = sum_of([f for f, _ in pairs]), sum_of([g for _, g in pairs])
        kl = mean_over_rows(posterior.kl_to_standard_normal(), chosen.any(0))
        total = self.beta_at(step) * kl + feature + self.config.adversarial_weight * fooling
        return {"total": total, "feature": feature, "adversarial": fooling, "kl": kl}

    def _judged(self, batch: Batch, modality: str, images: Tensor) -> tuple[Tensor, Tensor]:
        """The error of the rebuilt images' features, and the generator's loss on the other two thirds."""
        config, rows = self.config, batch.present[modality]
        judge = cast(PatchDiscriminator, self.discriminators[modality])
        rebuilt, *others = images.chunk(3)
        nll = LIKELIHOODS[config.likelihood](
            judge.features(rebuilt), judge.features(visible(batch, modality)), config.scale
        )
        fooling = loss_of_fooling(config.objective, judge(torch.cat(others)))
        return mean_over_rows(nll, rows), sum_of([mean_over_rows(f, rows) for f in fooling.chunk(2)])

    def _caught(self, batch: Batch, modality: str, images: Tensor) -> Tensor:
        """Half of the loss on real images, half of that on rebuilt ones, half of that on draws from the prior."""
        objective, judge, rows = self.config.objective, self.discriminators[modality], batch.present[modality]
        on_real = loss_on_real(objective, judge(visible(batch, modality)))
        on_made = loss_on_made(objective, judge(images)).chunk(2)
        return sum_of([mean_over_rows(loss, rows) for loss in (on_real, *on_made)])
