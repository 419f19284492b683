"""MoPoE-VAE: a mixture of products of experts over all subsets (Sutter et al. 2021, arXiv:2105.02470)."""

from __future__ import annotations

from itertools import product

import torch
from pydantic import Field
from torch import Tensor

from core.models.base import Batch
from core.models.blocks import stack_presence
from core.models.formulas import Gaussian, product_of_experts
from core.models.shared_vae import SharedVAE
from core.models.vae import GaussianSettings


class MoPoE(SharedVAE):
    title = "Multimodal VAE (mixture of products)"
    summary = "Learns from every subset of modalities alike: each has to tell all the others, with others or alone."

    class Config(GaussianSettings):
        n_subsets: int = Field(
            0, ge=0, le=1024, description="Random subsets whose KL is counted at each step; 0: all, as published"
        )

    def loss(self, batch: Batch, part: str, step: int) -> dict[str, Tensor]:
        """E_{z ~ mixture}[-log p(x|z)] + beta / (2^M - 1) sum_A KL(PoE_A || p), M counting what a row has.

        The mixture is sampled by giving each row one of its non-empty subsets, all with equal chance.
        """
        experts = list(self.experts(batch).values())
        present = stack_presence(batch)
        subsets = all_subsets(len(experts)).to(present.device)
        is_possible = (present[None] | ~subsets[..., None]).all(1)
        chosen = subsets[torch.multinomial(is_possible.T.float(), 1)[:, 0]].T
        reconstruction = self.nll_of_present(batch, product_of_experts(experts, list(chosen), False).sample())
        kl = self._mean_kl(experts, present, subsets, is_possible)
        total = reconstruction.mean() + self.beta_at(step) * kl.mean()
        return {"total": total, "reconstruction": reconstruction.mean(), "kl": kl.mean()}

    def _mean_kl(self, experts: list[Gaussian], present: Tensor, subsets: Tensor, is_possible: Tensor) -> Tensor:
        """(B,): the mean over a row's possible subsets, or over some of them drawn at random."""
        n = self.config.n_subsets
        drawn = torch.randperm(len(subsets))[:n] if n else torch.arange(len(subsets))
        share = len(subsets) / len(drawn) / is_possible.sum(0)
        kls = []
        for at in drawn.tolist():
            members = torch.where(is_possible[at], subsets[at][:, None], present)
            kl = product_of_experts(experts, list(members), False).kl_to_standard_normal()
            kls.append(torch.where(is_possible[at], kl, 0.0))
        return torch.stack(kls).sum(0) * share


def all_subsets(n: int) -> Tensor:
    """(2^n - 1, n) bool: every non-empty subset of n modalities."""
    return torch.tensor([chosen for chosen in product((False, True), repeat=n) if any(chosen)])
