"""MVTCAE: the total correlation of all modalities through one code (Hwang et al. 2021, NeurIPS)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from core.models.base import Batch
from core.models.blocks import stack_presence
from core.models.formulas import product_of_experts
from core.models.shared_vae import SharedVAE
from core.models.vae import GaussianSettings


class MVTCAE(SharedVAE):
    title = "Multimodal VAE (total correlation)"
    summary = "All modalities make the code, and each one alone has to find that same code."

    class Config(GaussianSettings):
        beta: float = Field(2.5, ge=0, le=1000, description="Weight of both KL terms; above 1 the code holds less")
        alpha: float = Field(
            0.1, ge=0, le=1, description="0: as in a VAE; towards 1 each modality alone has to find the joint code"
        )

    def loss(self, batch: Batch, part: str, step: int) -> dict[str, Tensor]:
        """(M - a)/M sum_m rec_m + beta [(1 - a) KL(q || p) + a/M sum_m KL(q || q_m)], M counting what a row has."""
        experts = self.experts(batch)
        present = stack_presence(batch)
        n, alpha = present.sum(0).clamp(min=1), self.config.alpha
        joint = product_of_experts(list(experts.values()), list(present), prior=False)
        reconstruction = (n - alpha) / n * self.nll_of_present(batch, joint.sample())
        prior_kl = joint.kl_to_standard_normal()
        each = torch.stack([torch.where(present[k], joint.kl_to(e), 0.0) for k, e in enumerate(experts.values())])
        expert_kl = each.sum(0) / n
        total = reconstruction + self.beta_at(step) * ((1 - alpha) * prior_kl + alpha * expert_kl)
        values = {"reconstruction": reconstruction, "kl": prior_kl, "kl_experts": expert_kl}
        return {"total": total.mean(), **{key: value.mean() for key, value in values.items()}}
