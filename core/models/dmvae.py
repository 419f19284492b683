"""DMVAE: a shared code beside a private one for each modality (Lee & Pavlovic 2020, arXiv:2012.13024)."""

from __future__ import annotations

import torch
from torch import Tensor

from core.models.base import Batch
from core.models.blocks import stack_presence, times, visible
from core.models.formulas import LIKELIHOODS, Gaussian, mean_over_rows, product_of_experts, rows_like, sum_of
from core.models.private_vae import PrivateSettings, PrivateVAE, joined


class DMVAE(PrivateVAE):
    title = "Multimodal VAE with private codes (product)"
    summary = (
        "What only one modality knows goes into a short code of its own, so that the shared code is free of it. Choose "
        "it to ask what modalities have in common."
    )

    class Config(PrivateSettings):
        pass

    def encode(self, batch: Batch) -> Gaussian:
        """One modality alone is its own expert; several are multiplied, with the prior."""
        experts, present = list(self.experts(batch).values()), stack_presence(batch)
        alone, together = (product_of_experts(experts, list(present), prior) for prior in (False, True))
        is_alone = rows_like(present.sum(0) == 1, alone.mean)
        return Gaussian(
            torch.where(is_alone, alone.mean, together.mean), torch.where(is_alone, alone.log_var, together.log_var)
        )

    def precision_shares(self, batch: Batch) -> dict[str, Tensor]:
        """The prior counts where several modalities are multiplied."""
        alone, together = (self.shares(batch, prior) for prior in (False, True))
        is_alone = stack_presence(batch).sum(0) == 1
        return {
            m: torch.where(rows_like(is_alone, t), alone.get(m, torch.zeros_like(t)), t) for m, t in together.items()
        }

    def loss(self, batch: Batch, part: str, step: int) -> dict[str, Tensor]:
        """-sum of ELBOs, one with the product's shared code and one with that of each modality alone.

        Each: sum_m E[-log p(x_m | w_m, z)] + beta (sum_m KL(q(w_m | x_m) || p) + KL(q(z) || p)), m over what a row has.
        """
        experts, present = self.experts(batch), stack_presence(batch)
        posteriors = [product_of_experts(list(experts.values()), list(present)), *experts.values()]
        rows = [present.any(0), *present]
        codes = [posterior.sample() for posterior in posteriors]
        kl = sum_of([mean_over_rows(q.kl_to_standard_normal(), r) for q, r in zip(posteriors, rows, strict=True)])
        reconstruction, private_kl = [], []
        for m, own in self.privates(batch).items():
            reconstruction.append(self._nll(batch, m, own.sample(), codes, rows))
            private_kl.append(mean_over_rows(own.kl_to_standard_normal() * (1 + present.sum(0)), batch.present[m]))
        total = sum_of(reconstruction) + self.beta_at(step) * (kl + sum_of(private_kl))
        return {
            "total": total, "reconstruction": sum_of(reconstruction), "kl": kl, "kl_private": sum_of(private_kl)
        }  # fmt: skip

    def _nll(self, batch: Batch, modality: str, own: Tensor, codes: list[Tensor], rows: list[Tensor]) -> Tensor:
        """-log p of one modality, from its private code and each of the shared ones, which are decoded at once."""
        images = self.decoders[modality](torch.cat([joined(z, own) for z in codes]))
        x = times(visible(batch, modality), len(codes))
        errors = LIKELIHOODS[self.config.likelihood](images, x, self.config.scale).chunk(len(codes))
        return sum_of([mean_over_rows(e, batch.present[modality] & r) for e, r in zip(errors, rows, strict=True)])
