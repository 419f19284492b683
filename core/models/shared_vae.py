"""What the multimodal VAEs have in common: one encoder and one decoder per modality, one latent for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from core.models.base import PRIOR, Batch, Model, Shapes
from core.models.blocks import MUON, Decoder, Encoder, visible
from core.models.formulas import LIKELIHOODS, Gaussian, precision_shares, product_of_experts, warm_up
from core.models.vae import GaussianSettings


class SharedVAE(Model):
    """Each encoder says where the shared code lies and how sure it is; each decoder makes its modality from it."""

    multiplies_experts: ClassVar[bool] = True
    train_defaults: ClassVar[Mapping[str, Any]] = {"epochs": 45, **MUON}

    def __init__(self, config: GaussianSettings, shapes: Shapes, n_private: int = 0) -> None:
        """Decoders take `n_private` channels beside those of the shared code."""
        super().__init__(config, shapes)
        size, channels, d = shapes.size, shapes.channels, config.latent_dim
        self.encoders = nn.ModuleDict({m: Encoder(size, channels, 2 * d, config) for m in shapes.modalities})
        self.decoders = nn.ModuleDict({m: Decoder(size, d + n_private, channels, config) for m in shapes.modalities})

    def experts(self, batch: Batch) -> dict[str, Gaussian]:
        """q(z | x_m) of each modality in the batch, also for rows that lack it."""
        return {m: Gaussian(*self.encoders[m](visible(batch, m)).chunk(2, 1)) for m in batch.x}

    def encode(self, batch: Batch) -> Gaussian:
        """The product of the experts that are present, without the prior; N(0, 1) for a row that has none."""
        experts = self.experts(batch)
        return product_of_experts(list(experts.values()), [batch.present[m] for m in experts], prior=False)

    def precision_shares(self, batch: Batch) -> dict[str, Tensor]:
        """As `encode` multiplies: without the prior."""
        return self.shares(batch, prior=False) if self.multiplies_experts else {}

    def shares(self, batch: Batch, prior: bool) -> dict[str, Tensor]:
        """What each expert, and the prior where it counts, is in their product."""
        return shares_by_name(self.experts(batch), batch, prior)

    def decode(self, z: Tensor, targets: Sequence[str]) -> dict[str, Tensor]:
        return {m: self.decoders[m](z) for m in targets}

    def nll_of_present(self, batch: Batch, z: Tensor) -> Tensor:
        """-log p of all that a row has, from its code: (B,) in nats, summed over modalities and pixels."""
        nll = LIKELIHOODS[self.config.likelihood]
        rows = [
            torch.where(batch.present[m], nll(self.decoders[m](z), visible(batch, m), self.config.scale), 0.0)
            for m in batch.x
        ]
        return torch.stack(rows).sum(0)

    def beta_at(self, step: int) -> float:
        """The weight of the KL term after its warm-up."""
        return float(self.config.beta) * warm_up(step, self.config.warmup_steps)


def shares_by_name(experts: Mapping[str, Gaussian], batch: Batch, prior: bool) -> dict[str, Tensor]:
    """`precision_shares` by modality; with "prior" where that counts."""
    parts, rest = precision_shares(list(experts.values()), [batch.present[m] for m in experts], prior)
    return dict(zip(experts, parts, strict=True)) | ({PRIOR: rest} if prior else {})
