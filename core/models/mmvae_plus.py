"""MMVAE+: a mixture of experts for the shared code, private codes with auxiliary priors (Palumbo et al. 2023, ICLR,
openreview.net/forum?id=sdQGxouELX)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from core.models.base import Batch, Shapes
from core.models.blocks import stack_presence, visible
from core.models.formulas import LIKELIHOODS
from core.models.mmvae import Laplace, Mixture, averaged, importance_bound, laplace_of
from core.models.private_vae import PrivateSettings, PrivateVAE, joined

Draw = tuple[Tensor, Tensor]  # a shared code, and the private one of the modality that it is from


class MMVAEPlus(PrivateVAE):
    """In training a modality that is made from another gets a private code from r_m, Laplace(0, a learnt scale).

    The scales of r_m are 1 on average, as in the authors' experiments.
    """

    multiplies_experts = False
    title = "Multimodal VAE with private codes (mixture)"
    summary = (
        "Each modality alone has to tell all the others; what it knows besides goes into a short code of its own, "
        "which the others never see."
    )

    class Config(PrivateSettings):
        n_samples: int = Field(1, ge=1, le=64, description="Codes drawn from each expert at each step; more is slower")
        estimator: Literal["dreg", "iwae"] = Field(
            "dreg", description="How gradients are found: dreg varies less, as published; iwae is the plain bound"
        )

    def __init__(self, config: MMVAEPlus.Config, shapes: Shapes) -> None:
        super().__init__(config, shapes)
        self.other_scales = nn.ParameterDict({m: torch.zeros(config.private_dim) for m in shapes.modalities})

    def encode(self, batch: Batch) -> Mixture:  # type: ignore[override]
        return Mixture([laplace_of(g) for g in self.experts(batch).values()], stack_presence(batch))

    def synthesise(self, batch: Batch, targets: Sequence[str]) -> dict[str, Tensor]:
        """The mean over the given modalities of the images decoded from each one's shared code."""
        mixture = self.encode(batch)
        return averaged([self.decode_with_own(e.mean, batch, targets) for e in mixture.experts], mixture.present)

    def loss(self, batch: Batch, part: str, step: int) -> dict[str, Tensor]:
        """-(1/M) sum_m log (1/K) sum_k p(x_m | z, w_m) prod_{n != m} p(x_n | z, v_n) * (prior / posterior)^beta.

        z and w_m are drawn from q(. | x_m), v_n from r_n; prior / posterior is p(z) p(w_m) / (q(z | x) q(w_m | x_m)),
        and M counts what a row has.
        """
        mixture, own = self.encode(batch), {m: laplace_of(g) for m, g in self.privates(batch).items()}
        bounds, errors = [], []
        for m, expert in zip(batch.x, mixture.experts, strict=True):
            draws = [(expert.sample(), own[m].sample()) for _ in range(self.config.n_samples)]
            nlls = torch.stack([self._nll(batch, m, draw) for draw in draws])
            ratios = torch.stack([self._log_ratio(mixture, own[m], draw) for draw in draws])
            bounds.append(importance_bound(self.beta_at(step) * ratios - nlls, draws, self.config.estimator))
            errors.append(nlls.detach().mean(0))
        total = -mixture.mean_of(torch.stack(bounds)).mean()
        return {"total": total, "reconstruction": mixture.mean_of(torch.stack(errors)).mean()}

    def other(self, modality: str, like: Tensor) -> Tensor:
        """A private code from r_m, in the shape of `like`."""
        scales = self.other_scales[modality].softmax(0) * self.config.private_dim
        log_scale = scales.log().view(1, -1, *[1] * (like.ndim - 2)).expand_as(like)
        return Laplace(torch.zeros_like(like), log_scale).sample()

    def _nll(self, batch: Batch, source: str, draw: Draw) -> Tensor:
        """-log p (B,) of all that a row has; only the source is made with its own private code."""
        z, own = draw
        nll, found = LIKELIHOODS[self.config.likelihood], []
        for m in batch.x:
            image = self.decoders[m](joined(z, own if m == source else self.other(m, own)))
            found.append(torch.where(batch.present[m], nll(image, visible(batch, m), self.config.scale), 0.0))
        return torch.stack(found).sum(0)

    def _log_ratio(self, mixture: Mixture, own: Laplace, draw: Draw) -> Tensor:
        """(B,) log of prior over posterior; with dreg the posteriors' parameters send no gradient."""
        if self.config.estimator == "dreg":
            mixture, own = Mixture([e.detached() for e in mixture.experts], mixture.present), own.detached()
        prior = sum((Laplace(torch.zeros_like(code), torch.zeros_like(code)).log_prob(code) for code in draw), 0.0)
        return prior - mixture.log_prob(draw[0]) - own.log_prob(draw[1])
