"""MHVAE: a hierarchy of shared codes, each a product of experts with the prior that coarser ones give (Dorent et al.
2023, MICCAI, arXiv:2309.08747; learnt from random subsets as in Dorent et al. 2024, arXiv:2410.19378)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from core.config import Settings
from core.models.base import PRIOR, Batch, Model, Shapes
from core.models.blocks import (
    MUON,
    Pyramid,
    channels_at,
    conv,
    conv_block,
    crop_to,
    put_rows,
    small_size,
    stack_presence,
    to_pixels,
    up,
    visible,
)
from core.models.formulas import (
    Gaussian,
    laplace_nll,
    mean_over_rows,
    precision_shares,
    product_of_experts,
    random_subset,
    sum_of,
    warm_up,
)

MAX_LOG_VAR = 8.0  # an expert's log-variance lies within this of 0, or one would silence all others
FIRST_LOG_VAR = -4.0  # experts start rather sure, so that images are learnt before doubt
Seen = Mapping[str, tuple[Tensor, list[Tensor]]]  # modality -> numbers of the rows that show it, their features
Choose = Callable[[int, Gaussian, Tensor | None], Tensor]  # level, prior, what is known from above -> code


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """q(z | x), coarse levels first: each depends on what is taken from those above it."""

    take: Callable[[Callable[[Gaussian], Tensor]], Tensor]

    @property
    def mean(self) -> Tensor:
        """The mean of each level, given the means of those above."""
        return self.take(lambda level: level.mean)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """One draw of all levels."""
        return self.take(lambda level: level.sample(generator))


class Experts(Pyramid):
    """What one modality says of each level: from its own features there, and the state above."""

    def __init__(self, dims: int, n_in: int, width: int, depth: int, latent_dim: int) -> None:
        super().__init__(dims, n_in, width, depth)
        channels = [channels_at(width, level) for level in range(1, depth + 1)]
        inputs = [*(2 * c for c in channels[:-1]), channels[-1]]
        self.says = nn.ModuleList(conv(dims, n, 2 * latent_dim, 3) for n in inputs)
        for layer in self.says:
            nn.init.constant_(layer.bias[latent_dim:], FIRST_LOG_VAR)  # type: ignore[index]

    def at(self, level: int, features: Tensor, above: Tensor | None) -> Tensor:
        """(B, 2 D, *small): mean and log-variance."""
        said: Tensor = self.says[level](features if above is None else torch.cat([features, above], 1))
        return said


class Descent(nn.Module):
    """What all modalities share: from the coarsest code down to features at half resolution."""

    def __init__(self, size: Sequence[int], width: int, depth: int, latent_dim: int) -> None:
        super().__init__()
        dims, channels = len(size), [channels_at(width, level) for level in range(1, depth + 1)]
        self.top = (latent_dim, *small_size(size, depth))
        self.grows = nn.ModuleList(up(dims, b, a) for a, b in pairwise(channels))
        self.priors = nn.ModuleList(conv(dims, c, 2 * latent_dim, 1) for c in channels[:-1])
        inputs = [*(c + latent_dim for c in channels[:-1]), latent_dim]
        self.merges = nn.ModuleList(conv_block(dims, n, c) for n, c in zip(inputs, channels, strict=True))

    def forward(self, n_rows: int, choose: Choose) -> Tensor:
        """`choose` is asked for the code of each level, coarsest first, given its prior and the state above."""
        coarsest = len(self.merges) - 1
        nothing = next(self.parameters()).new_zeros(n_rows, *self.top)
        state: Tensor = self.merges[coarsest](choose(coarsest, Gaussian(nothing, nothing), None))
        for level in reversed(range(coarsest)):
            above = self.grows[level](state)
            prior = _gaussian(self.priors[level](above))
            state = self.merges[level](torch.cat([above, choose(level, prior, above)], 1))
        return state


class MHVAE(Model):
    """z is all levels side by side, coarsest first, each repeated to the size of the finest: (B, levels * D, *half)."""

    title = "Hierarchical multimodal VAE"
    summary = "Shared codes with doubt at several scales, from any subset: whole shapes above, fine detail below."
    multiplies_experts = True
    train_defaults: ClassVar[Mapping[str, Any]] = MUON

    class Config(Settings):
        width: int = Field(16, ge=4, le=256, description="Channels at half resolution; more is slower and finer")
        latent_dim: int = Field(8, ge=1, le=256, description="Numbers in the code of each place at each level")
        levels: int = Field(4, ge=2, le=6, description="Scales: the finest has a code per 2 x 2 pixels, then 4 x 4 ...")
        beta: float = Field(1.0, ge=0, le=1000, description="Weight of the KL terms; above 1 the code holds less")
        null_steps: int = Field(200, ge=0, le=1_000_000, description="First steps, without any KL term")
        warmup_steps: int = Field(800, ge=0, le=1_000_000, description="Steps over which its weight then grows from 0")
        scale: float = Field(0.03, gt=0, le=10, description="Width of the pixels' scatter on the 0-1 scale")

    def __init__(self, config: MHVAE.Config, shapes: Shapes) -> None:
        super().__init__(config, shapes)
        dims, width, d, depth = shapes.spatial_dims, config.width, config.latent_dim, config.levels
        self.encoders = nn.ModuleDict({m: Experts(dims, shapes.channels, width, depth, d) for m in shapes.modalities})
        self.descent = Descent(shapes.size, width, depth, d)
        self.decoders = nn.ModuleDict({m: _decoder(dims, width, shapes.channels) for m in shapes.modalities})

    def _experts(self, modality: str) -> Experts:
        return cast(Experts, self.encoders[modality])

    def _see(self, batch: Batch, given: Tensor) -> Seen:
        """The features of what is given (M, B), of those rows only."""
        seen = {}
        for m, rows in zip(batch.x, given, strict=True):
            at = rows.nonzero()[:, 0]
            if len(at):
                seen[m] = at, self._experts(m).down(visible(batch, m)[at])
        return seen

    def posterior(self, seen: Seen, level: int, prior: Gaussian, above: Tensor | None) -> Gaussian:
        """q(z_l | x, z_above): the prior times the expert of each modality that a row shows."""
        experts, present = self._at(seen, level, prior, above)
        return product_of_experts(list(experts.values()), present, prior=False)

    def _at(
        self, seen: Seen, level: int, prior: Gaussian, above: Tensor | None
    ) -> tuple[dict[str, Gaussian], list[Tensor]]:
        """The prior and the experts of one level, and which rows each of them is of."""
        n = len(prior.mean)
        experts = {PRIOR: prior}
        present = [torch.ones(n, dtype=torch.bool, device=prior.mean.device)]
        for m, (at, features) in seen.items():
            said = self._experts(m).at(level, features[level], None if above is None else above[at])
            experts[m] = _gaussian(put_rows(said, at, n))
            present.append(torch.zeros_like(present[0]).index_fill(0, at, True))
        return experts, present

    def precision_shares(self, batch: Batch) -> dict[str, Tensor]:
        """Of all levels, laid out as the code is; the prior's share is what coarser levels foretell."""
        seen = self._see(batch, stack_presence(batch))
        found: dict[str, list[Tensor]] = {m: [] for m in (*seen, PRIOR)}

        def choose(level: int, prior: Gaussian, above: Tensor | None) -> Tensor:
            experts, present = self._at(seen, level, prior, above)
            for m, share in zip(experts, precision_shares(list(experts.values()), present, False)[0], strict=True):
                found[m].append(share)
            return product_of_experts(list(experts.values()), present, prior=False).mean

        self.descent(batch.size, choose)
        return {m: side_by_side(shares) for m, shares in found.items()}

    def encode(self, batch: Batch) -> Hierarchy:
        seen = self._see(batch, stack_presence(batch))

        def take(value: Callable[[Gaussian], Tensor]) -> Tensor:
            codes: list[Tensor] = []

            def choose(level: int, prior: Gaussian, above: Tensor | None) -> Tensor:
                codes.append(value(self.posterior(seen, level, prior, above)))
                return codes[-1]

            self.descent(batch.size, choose)
            return side_by_side(codes)

        return Hierarchy(take)

    def decode(self, z: Tensor, targets: Sequence[str]) -> dict[str, Tensor]:
        levels = apart(z, self.config.levels)
        state = self.descent(len(z), lambda level, prior, above: levels[level])
        return {m: self._image(m, state) for m in targets}

    def _image(self, modality: str, state: Tensor) -> Tensor:
        return crop_to(self.decoders[modality](state), self.shapes.size)

    def loss(self, batch: Batch, part: str, step: int) -> dict[str, Tensor]:
        """-ELBO of a random subset: -sum_m log p(x_m | z) of all that a row has + beta sum_l KL(q_l || p_l)."""
        seen = self._see(batch, random_subset(stack_presence(batch)))
        kls: list[Tensor] = []

        def choose(level: int, prior: Gaussian, above: Tensor | None) -> Tensor:
            q = self.posterior(seen, level, prior, above)
            kls.append(q.kl_to(prior).mean())
            return q.sample()

        state = self.descent(batch.size, choose)
        nll = [laplace_nll(self._image(m, state), visible(batch, m), self.config.scale) for m in batch.x]
        reconstruction = sum_of([mean_over_rows(e, batch.present[m]) for e, m in zip(nll, batch.x, strict=True)])
        total = reconstruction + self.beta_at(step) * sum_of(kls)
        return {"total": total, "reconstruction": reconstruction, "kl": sum_of(kls), "kl_coarsest": kls[0]}

    def beta_at(self, step: int) -> float:
        """The weight of the KL terms: none at first, then growing to its full size."""
        after = step - self.config.null_steps
        return float(self.config.beta) * warm_up(after, self.config.warmup_steps) if after >= 0 else 0.0


def side_by_side(codes: Sequence[Tensor]) -> Tensor:
    """(B, sum of D, *finest): codes of several levels, the finest last; the others are repeated to its size."""
    size = codes[-1].shape[2:]
    return torch.cat([F.interpolate(code, size) for code in codes], 1)


def apart(z: Tensor, n_levels: int) -> list[Tensor]:
    """What `side_by_side` was given, finest first: the mean over the places that share a code."""
    codes = reversed(z.chunk(n_levels, 1))
    return [F.interpolate(z_l, [n >> level for n in z.shape[2:]], mode="area") for level, z_l in enumerate(codes)]


def _gaussian(said: Tensor) -> Gaussian:
    mean, log_var = said.chunk(2, 1)
    return Gaussian(mean, MAX_LOG_VAR * (log_var / MAX_LOG_VAR).tanh())


def _decoder(dims: int, width: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(conv_block(dims, width, width), *to_pixels(dims, width, n_out))
