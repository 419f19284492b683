"""MVAE: a product of one expert per modality, sub-sampled ELBOs (Wu & Goodman 2018, arXiv:1802.05335)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from pydantic import Field
from torch import Tensor

from core.models.base import Batch
from core.models.blocks import times, visible
from core.models.formulas import LIKELIHOODS, Gaussian, mean_over_rows, product_of_experts, sum_of, warm_up
from core.models.shared_vae import SharedVAE
from core.models.vae import GaussianSettings

Draw = tuple[Tensor, Tensor, float]  # codes of a subset, the rows that have any of it, the weight of the images


class MVAE(SharedVAE):
    title = "Multimodal VAE (product of experts)"
    summary = "One shared code with doubt, from any subset of modalities; each further one makes it surer."

    class Config(GaussianSettings):
        n_subsets: int = Field(1, ge=0, le=64, description="Random subsets of modalities learnt from at each step")
        cross_weight: float = Field(1.0, ge=0, le=100, description="Weight of what a subset lacks; 0: as published")

    def encode(self, batch: Batch) -> Gaussian:
        experts = self.experts(batch)
        return product_of_experts(list(experts.values()), [batch.present[m] for m in experts])

    def precision_shares(self, batch: Batch) -> dict[str, Tensor]:
        return self.shares(batch, prior=True)

    def loss(self, batch: Batch, part: str, step: int) -> dict[str, Tensor]:
        """-ELBO(all) - sum of the ELBOs of one modality - those of random subsets; each rebuilds its members.

        As published, nothing asks a code for what its subset lacks, and here it then says little of that: with
        `cross_weight`, each subset also makes one modality that it lacks, drawn at random.
        """
        experts = self.experts(batch)
        drawn: dict[str, list[Draw]] = {m: [] for m in experts}
        kls: list[Tensor] = []
        for subset in self._subsets(list(experts)):
            rows = torch.stack([batch.present[m] for m in subset]).any(0)
            posterior = product_of_experts([experts[m] for m in subset], [batch.present[m] for m in subset])
            kls.append(mean_over_rows(posterior.kl_to_standard_normal(), rows))
            z = posterior.sample()
            for m in subset:
                drawn[m].append((z, rows, 1.0))
            others = [m for m in experts if m not in subset]
            if others and self.config.cross_weight:
                drawn[others[int(torch.randint(len(others), ()))]].append((z, rows, self.config.cross_weight))
        reconstruction = sum_of([self._nll(batch, m, draws) for m, draws in drawn.items()])
        beta = self.config.beta * warm_up(step, self.config.warmup_steps)
        total = reconstruction + beta * sum_of(kls)
        return {"total": total, "reconstruction": reconstruction, "kl": sum_of(kls), "kl_all": kls[0]}

    def _nll(self, batch: Batch, modality: str, draws: Sequence[Draw]) -> Tensor:
        """The weighted sum over the subsets that make this modality, whose codes are decoded at once."""
        x = visible(batch, modality)
        images = self.decoders[modality](torch.cat([z for z, _, _ in draws]))
        errors = LIKELIHOODS[self.config.likelihood](images, times(x, len(draws)), self.config.scale)
        chunks = zip(errors.chunk(len(draws)), draws, strict=True)
        return sum_of([w * mean_over_rows(e, batch.present[modality] & rows) for e, (_, rows, w) in chunks])

    def _subsets(self, modalities: list[str]) -> Iterator[list[str]]:
        """All; each alone; `n_subsets` random ones of two or more, but not of all."""
        yield modalities
        if len(modalities) > 1:
            yield from ([m] for m in modalities)
        if len(modalities) > 2:
            for _ in range(self.config.n_subsets):
                n = int(torch.randint(2, len(modalities), ()))
                yield [modalities[i] for i in sorted(torch.randperm(len(modalities))[:n].tolist())]
