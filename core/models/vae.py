"""beta-VAE, one for each modality (Kingma & Welling 2014, arXiv:1312.6114; Higgins et al. 2017, ICLR)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from core.models.base import Batch, Model, Shapes
from core.models.blocks import MUON, ConvSettings, Decoder, Encoder, visible
from core.models.formulas import LIKELIHOODS, Gaussian, mean_over_rows, rows_like, sum_of, warm_up


class GaussianSettings(ConvSettings):
    """What the variational models have in common."""

    beta: float = Field(1.0, ge=0, le=1000, description="Weight of the KL term; above 1 the code holds less")
    warmup_steps: int = Field(200, ge=0, le=1_000_000, description="Steps over which the KL term's weight grows from 0")
    likelihood: Literal["laplace", "normal"] = Field("laplace", description="How pixels scatter around the decoder")
    scale: float = Field(0.03, gt=0, le=10, description="Width of that scatter on the 0-1 scale; smaller is finer")


class VAE(Model):
    """The modalities share nothing: the latent is one block of `latent_dim` for each, N(0, 1) where it is absent."""

    title = "Variational autoencoder, one per modality"
    summary = "Reconstructs each modality from its own code. The reference for what a shared code costs."
    train_defaults: ClassVar[Mapping[str, Any]] = {"epochs": 80, **MUON}

    class Config(GaussianSettings):
        pass

    def __init__(self, config: VAE.Config, shapes: Shapes) -> None:
        super().__init__(config, shapes)
        size, channels, d = shapes.size, shapes.channels, config.latent_dim
        self.encoders = nn.ModuleDict({m: Encoder(size, channels, 2 * d, config) for m in shapes.modalities})
        self.decoders = nn.ModuleDict({m: Decoder(size, d, channels, config) for m in shapes.modalities})

    def _posteriors(self, batch: Batch) -> dict[str, Gaussian]:
        return {m: Gaussian(*self.encoders[m](visible(batch, m)).chunk(2, 1)) for m in batch.x}

    def encode(self, batch: Batch) -> Gaussian:
        """All blocks side by side, in the order of the modalities."""
        found = self._posteriors(batch)
        like = next(iter(found.values())).mean
        means, log_vars = [], []
        for m in self.shapes.modalities:
            seen = rows_like(batch.present[m], like) if m in found else torch.zeros_like(like, dtype=torch.bool)
            block = found.get(m, Gaussian(like, like))
            means.append(torch.where(seen, block.mean, 0.0))
            log_vars.append(torch.where(seen, block.log_var, 0.0))
        return Gaussian(torch.cat(means, 1), torch.cat(log_vars, 1))

    def decode(self, z: Tensor, targets: Sequence[str]) -> dict[str, Tensor]:
        blocks = dict(zip(self.shapes.modalities, z.chunk(len(self.shapes.modalities), 1), strict=True))
        return {m: self.decoders[m](blocks[m]) for m in targets}

    def supports(self, given: Sequence[str], target: str) -> bool:
        """A modality from itself, alone."""
        return tuple(given) == (target,)

    def loss(self, batch: Batch, part: str, step: int) -> dict[str, Tensor]:
        """The sum over modalities of E_q[-log p(x|z)] + beta KL(q || N(0, 1))."""
        config = self.config
        nll = LIKELIHOODS[config.likelihood]
        reconstruction, kl = [], []
        for m, posterior in self._posteriors(batch).items():
            output = self.decoders[m](posterior.sample())
            reconstruction.append(mean_over_rows(nll(output, visible(batch, m), config.scale), batch.present[m]))
            kl.append(mean_over_rows(posterior.kl_to_standard_normal(), batch.present[m]))
        beta = config.beta * warm_up(step, config.warmup_steps)
        total = sum_of(reconstruction) + beta * sum_of(kl)
        return {"total": total, "reconstruction": sum_of(reconstruction), "kl": sum_of(kl)}
