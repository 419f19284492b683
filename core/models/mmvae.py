"""MMVAE: a mixture of one expert per modality, importance-weighted (Shi et al. 2019, arXiv:1911.03393)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from core.models.base import Batch
from core.models.blocks import stack_presence
from core.models.formulas import Gaussian, rows_like
from core.models.shared_vae import SharedVAE
from core.models.vae import GaussianSettings

LOG_2 = math.log(2)


@dataclass(frozen=True, eq=False)
class Laplace:
    """Independent Laplace distributions; mean and log_scale are (B, D) or (B, D, *spatial)."""

    mean: Tensor
    log_scale: Tensor

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """mean + scale * noise, by the inverse of the distribution function."""
        uniform = torch.empty_like(self.mean).uniform_(-1 + 1e-6, 1 - 1e-6, generator=generator)
        return self.mean - self.log_scale.exp() * uniform.sign() * torch.log1p(-uniform.abs())

    def log_prob(self, z: Tensor) -> Tensor:
        """(B,) in nats."""
        nats = -(z - self.mean).abs() * (-self.log_scale).exp() - self.log_scale - LOG_2
        return nats.flatten(1).sum(1)

    def detached(self) -> Laplace:
        """The same, sending no gradient."""
        return Laplace(self.mean.detach(), self.log_scale.detach())


@dataclass(frozen=True, eq=False)
class Mixture:
    """Equal parts of the experts that a row has; a row without any is at zero."""

    experts: Sequence[Laplace]
    present: Tensor  # (M, B) bool

    @property
    def mean(self) -> Tensor:
        seen = torch.stack([rows_like(rows, e.mean) for rows, e in zip(self.present, self.experts, strict=True)])
        means = torch.where(seen, torch.stack([e.mean for e in self.experts]), 0.0)
        return means.sum(0) / seen.sum(0).clamp(min=1)

    def mean_of(self, values: Tensor) -> Tensor:
        """(B,): the mean over a row's experts of (M, B); 0 where it has none."""
        share = self.present / self.present.sum(0).clamp(min=1)
        return torch.where(self.present, values * share, 0.0).sum(0)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """One expert is drawn for each row, then a code from it."""
        weights = self.present.T.float() + (~self.present.any(0)[:, None]).float()
        chosen = torch.multinomial(weights, 1, generator=generator)[:, 0]
        codes = torch.stack([e.sample(generator) for e in self.experts])
        return codes[chosen, torch.arange(codes.shape[1], device=codes.device)]

    def log_prob(self, z: Tensor) -> Tensor:
        """(B,) in nats, of rows that have an expert."""
        each = torch.stack([e.log_prob(z) for e in self.experts]).masked_fill(~self.present, -torch.inf)
        count = self.present.sum(0)
        return torch.where(count > 0, each, 0.0).logsumexp(0) - count.clamp(min=1).log()


class MMVAE(SharedVAE):
    """Given several modalities, synthesis is the mean of what each of them alone says."""

    multiplies_experts = False
    title = "Multimodal VAE (mixture of experts)"
    summary = "Each modality alone has to tell all the others; given several, their answers are averaged."

    class Config(GaussianSettings):
        n_samples: int = Field(2, ge=1, le=64, description="Codes drawn from each expert at each step; more is slower")
        estimator: Literal["dreg", "iwae"] = Field(
            "dreg", description="How gradients are found: dreg varies less, as published; iwae is the plain bound"
        )

    def encode(self, batch: Batch) -> Mixture:  # type: ignore[override]
        return Mixture(self._laplaces(batch), stack_presence(batch))

    def synthesise(self, batch: Batch, targets: Sequence[str]) -> dict[str, Tensor]:
        """The mean over the given modalities of the images decoded from each one's code."""
        mixture = self.encode(batch)
        return averaged([self.decode(e.mean, targets) for e in mixture.experts], mixture.present)

    def loss(self, batch: Batch, part: str, step: int) -> dict[str, Tensor]:
        """-(1/M) sum_m log (1/K) sum_k p(z) p(x | z) / q(z | x), z from q_m, M counting what a row has.

        In place of a weight of the KL term, `beta` weighs log p(z) - log q(z | x).
        """
        mixture, beta = self.encode(batch), self.beta_at(step)
        bounds, errors = [], []
        for expert in mixture.experts:
            codes = [expert.sample() for _ in range(self.config.n_samples)]
            log_weights, nll = self._log_weights(batch, mixture, codes, beta)
            bounds.append(importance_bound(log_weights, [(z,) for z in codes], self.config.estimator))
            errors.append(nll)
        total = -mixture.mean_of(torch.stack(bounds)).mean()
        return {"total": total, "reconstruction": mixture.mean_of(torch.stack(errors)).mean()}

    def _laplaces(self, batch: Batch) -> list[Laplace]:
        return [laplace_of(g) for g in self.experts(batch).values()]

    def _log_weights(
        self, batch: Batch, mixture: Mixture, codes: Sequence[Tensor], beta: float
    ) -> tuple[Tensor, Tensor]:
        """(K, B) log importance weights, and (B,) the mean of -log p(x | z)."""
        density = mixture
        if self.config.estimator == "dreg":
            density = Mixture([e.detached() for e in mixture.experts], mixture.present)
        nlls = torch.stack([self.nll_of_present(batch, z) for z in codes])
        prior = Laplace(torch.zeros_like(codes[0]), torch.zeros_like(codes[0]))
        ratios = torch.stack([prior.log_prob(z) - density.log_prob(z) for z in codes])
        return beta * ratios - nlls, nlls.detach().mean(0)


def laplace_of(found: Gaussian) -> Laplace:
    """The same two numbers from an encoder, read as a Laplace distribution."""
    return Laplace(found.mean, 0.5 * found.log_var)


def importance_bound(log_weights: Tensor, draws: Sequence[Sequence[Tensor]], estimator: str) -> Tensor:
    """(B,): the log of the mean weight, or its doubly reparameterised stand-in (Tucker et al. 2019).

    Args:
        log_weights: (K, B).
        draws: for each of the K the codes that it was computed from.
    """
    if estimator == "iwae":
        return log_weights.logsumexp(0) - math.log(len(draws))
    weights = log_weights.detach().softmax(0)
    for codes, w in zip(draws, weights, strict=True):
        for z in codes:
            if z.requires_grad:
                z.register_hook(lambda gradient, w=w: gradient * rows_like(w, gradient))  # type: ignore[no-untyped-call]
    return (weights * log_weights).sum(0)


def averaged(answers: Sequence[Mapping[str, Tensor]], present: Tensor) -> dict[str, Tensor]:
    """For each target the mean of what the experts that a row has make of it; zeros where it has none.

    Args:
        present: (M, B) bool, in the order of the answers.
    """
    share = present / present.sum(0).clamp(min=1)
    made = {}
    for m in answers[0]:
        images = torch.stack([answer[m] for answer in answers])
        made[m] = (images * share.view(*share.shape, *[1] * (images.ndim - 2))).sum(0)
    return made
