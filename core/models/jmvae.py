"""JMVAE-kl: a joint encoder that the single ones learn to follow (Suzuki et al. 2016, arXiv:1611.01891)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from core.models.base import Batch, Shapes
from core.models.blocks import Encoder, stack_presence, visible
from core.models.formulas import Gaussian, rows_like
from core.models.shared_vae import SharedVAE
from core.models.vae import GaussianSettings


class JMVAE(SharedVAE):
    """Where all modalities are given the joint encoder is asked, else the product of the single ones."""

    title = "Multimodal VAE (joint encoder)"
    summary = "One encoder sees all modalities at once; the single ones learn to find the same code."

    class Config(GaussianSettings):
        alpha: float = Field(0.1, ge=0, le=100, description="How strongly each single encoder follows the joint one")

    def __init__(self, config: JMVAE.Config, shapes: Shapes) -> None:
        super().__init__(config, shapes)
        n_in = len(shapes.modalities) * (shapes.channels + 1)
        self.joint = Encoder(shapes.size, n_in, 2 * config.latent_dim, config)

    def _joint(self, batch: Batch) -> Gaussian:
        """q(z | all): images, and one plane for each modality that says whether it is there."""
        images = [visible(batch, m) for m in self.shapes.modalities]
        planes = [
            rows_like(batch.present[m], x).expand_as(x[:, :1]).to(x.dtype)
            for m, x in zip(self.shapes.modalities, images, strict=True)
        ]
        return Gaussian(*self.joint(torch.cat([*images, *planes], 1)).chunk(2, 1))

    def encode(self, batch: Batch) -> Gaussian:
        found = super().encode(batch)
        if set(batch.x) != set(self.shapes.modalities):
            return found
        joint, has_all = self._joint(batch), rows_like(stack_presence(batch).all(0), found.mean)
        return Gaussian(
            torch.where(has_all, joint.mean, found.mean), torch.where(has_all, joint.log_var, found.log_var)
        )

    def precision_shares(self, batch: Batch) -> dict[str, Tensor]:
        """None where the joint encoder is asked: its code is no product."""
        is_joint = set(batch.x) == set(self.shapes.modalities) and bool(stack_presence(batch).all(0).any())
        return {} if is_joint else super().precision_shares(batch)

    def loss(self, batch: Batch, part: str, step: int) -> dict[str, Tensor]:
        """sum_m rec_m + beta KL(q || p) + alpha sum_m KL(q || q_m), over what a row has."""
        joint = self._joint(batch)
        reconstruction = self.nll_of_present(batch, joint.sample())
        prior_kl = joint.kl_to_standard_normal()
        each = [torch.where(batch.present[m], joint.kl_to(e), 0.0) for m, e in self.experts(batch).items()]
        expert_kl = torch.stack(each).sum(0)
        total = reconstruction + self.beta_at(step) * prior_kl + self.config.alpha * expert_kl
        values = {"reconstruction": reconstruction, "kl": prior_kl, "kl_experts": expert_kl}
        return {"total": total.mean(), **{key: value.mean() for key, value in values.items()}}
