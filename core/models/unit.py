"""UNIT: one latent that two modalities share, learnt without pairs (Liu et al. 2017, arXiv:1703.00848)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from core.errors import InvalidConfigError
from core.models.adversarial import (
    AdversarialSettings,
    PatchDiscriminator,
    loss_of_fooling,
    loss_on_made,
    loss_on_real,
    mean_absolute_error,
    mean_of_row,
)
from core.models.base import Batch, Model, Shapes
from core.models.blocks import (
    DEPTH,
    ConvSettings,
    Decoder,
    Trunk,
    channels_at,
    conv,
    conv_block,
    small_size,
    stack_presence,
    visible,
)
from core.models.formulas import Gaussian, mean_code, mean_over_rows, sum_of

MAX_SCALES = 3
SMALLEST = 8  # pixels along the shortest side of an image that is judged

Images = dict[str, Tensor]


class UNIT(Model):
    """The last layers of all encoders are the same, and the first of all decoders: so they share one latent.

    The paper has two modalities; of more, a pair is drawn at each step.
    """

    title = "UNIT (shared code without pairs)"
    summary = "Learns one shared code without pairs, so that any one modality makes any other. Needs a long training."
    paired = False
    train_defaults: ClassVar[Mapping[str, Any]] = {"momentum": 0.5, "lr": 5e-4, "max_minutes": 60.0}

    class Config(AdversarialSettings):
        width: int = Field(16, ge=4, le=256, description="Channels at half resolution; more is slower and finer")
        latent_dim: int = Field(16, ge=1, le=1024, description="Numbers in the shared code at each place")
        halvings: int = Field(1, ge=1, le=4, description="Fineness of the map of codes: 1 is one per 2 x 2 pixels")
        n_shared: int = Field(2, ge=1, le=8, description="Layers that all encoders share, and all decoders")
        n_scales: int = Field(3, ge=1, le=MAX_SCALES, description="Sizes of the image that the judge looks at")
        self_weight: float = Field(10.0, ge=0, le=1000, description="Weight of giving each image back from its code")
        cycle_weight: float = Field(10.0, ge=0, le=1000, description="Weight of the error after going there and back")
        code_weight: float = Field(0.01, ge=0, le=1000, description="Weight of the size of codes; larger: less detail")

    def __init__(self, config: UNIT.Config, shapes: Shapes) -> None:
        super().__init__(config, shapes)
        if len(shapes.modalities) < 2:
            raise InvalidConfigError("UNIT translates between modalities: it needs two at least.", "ONE-MODALITY")
        dims, d, channels = shapes.spatial_dims, config.latent_dim, shapes.channels
        inner = channels_at(config.width, config.halvings)
        depth = max(DEPTH, config.halvings)
        form = ConvSettings(width=config.width, latent_dim=d, halvings=config.halvings)
        self.encoders = nn.ModuleDict(
            {m: Trunk(dims, (channels, inner), config.width, depth, config.halvings) for m in shapes.modalities}
        )
        self.shared_encoder = nn.Sequential(*_residuals(dims, inner, config.n_shared), conv(dims, inner, d, 1))
        self.shared_decoder = nn.Sequential(conv(dims, d, inner, 1), *_residuals(dims, inner, config.n_shared))
        self.decoders = nn.ModuleDict({m: Decoder(shapes.size, inner, channels, form) for m in shapes.modalities})
        self.discriminators = nn.ModuleDict({m: ScaledDiscriminator(config, shapes) for m in shapes.modalities})

    def parts(self) -> dict[str, list[nn.Parameter]]:
        judges = list(self.discriminators.parameters())
        others = {id(parameter) for parameter in judges}
        return {"generator": [p for p in self.parameters() if id(p) not in others], "discriminator": judges}

    def code(self, modality: str, x: Tensor) -> Tensor:
        """The mean of the code of one modality's images; around it the code is N(mean, 1)."""
        out: Tensor = self.shared_encoder(self.encoders[modality](x))
        return out

    def encode(self, batch: Batch) -> Gaussian:
        """The mean of the codes of what is present."""
        codes = [self.code(m, visible(batch, m)) for m in batch.x]
        mean = mean_code(codes, stack_presence(batch))
        return Gaussian(mean, torch.zeros_like(mean))

    def decode(self, z: Tensor, targets: Sequence[str]) -> Images:
        shared = self.shared_decoder(z)
        return {m: self.decoders[m](shared) for m in targets}

    def supports(self, given: Sequence[str], target: str) -> bool:
        """From any one modality to any, itself too."""
        return len(given) == 1

    def loss(self, batch: Batch, part: str, step: int) -> dict[str, Tensor]:
        """Of one pair of modalities drawn anew, both ways; the mean over all pairs where nothing is learnt."""
        pairs = list(combinations(batch.x, 2))
        if self.training:
            pairs = [pairs[int(torch.randint(len(pairs), ()))]]
        of_way = self._judge_one_way if part == "discriminator" else self._make_one_way
        ways = [of_way(batch, m, n) for a, b in pairs for m, n in ((a, b), (b, a))]
        return {key: sum_of([terms[key] for terms in ways]) / len(pairs) for key in ways[0]}

    def _make_one_way(self, batch: Batch, m: str, n: str) -> dict[str, Tensor]:
        """From m: GAN of n + self_weight |m back| + cycle_weight |m by way of n| + code_weight (|code|^2 of both)."""
        config, x, rows = self.config, visible(batch, m), batch.present[m]
        code = self.code(m, x)
        made = self.decode(_noisy(code), [m, n])
        code_of_made = self.code(n, made[n])
        back = self.decode(_noisy(code_of_made), [m])[m]
        fooling = [loss_of_fooling(config.objective, logits) for logits in self.discriminators[n](made[n])]
        terms = {
            "adversarial": torch.stack(fooling).sum(0),
            "self": mean_absolute_error(made[m], x),
            "cycle": mean_absolute_error(back, x),
            "code": mean_of_row(code**2) + mean_of_row(code_of_made**2),
        }
        means = {key: mean_over_rows(values, rows) for key, values in terms.items()}
        weights = {"self": config.self_weight, "cycle": config.cycle_weight, "code": config.code_weight}
        return {"total": means["adversarial"] + sum_of([w * means[key] for key, w in weights.items()]), **means}

    def _judge_one_way(self, batch: Batch, m: str, n: str) -> dict[str, Tensor]:
        """Half of the loss on real images of n and half of that on those made from m."""
        with torch.no_grad():
            made = self.decode(_noisy(self.code(m, visible(batch, m))), [n])[n]
        judge, objective = self.discriminators[n], self.config.objective
        on_real = torch.stack([loss_on_real(objective, logits) for logits in judge(visible(batch, n))]).sum(0)
        on_made = torch.stack([loss_on_made(objective, logits) for logits in judge(made)]).sum(0)
        return {"total": mean_over_rows(on_real, batch.present[n]) + mean_over_rows(on_made, batch.present[m])}


class ScaledDiscriminator(nn.Module):
    """One discriminator for the image, one for it at half the size, and so on, while it is large enough."""

    def __init__(self, config: UNIT.Config, shapes: Shapes) -> None:
        super().__init__()
        fitting = [n for n in range(config.n_scales) if n == 0 or min(small_size(shapes.size, n)) >= SMALLEST]
        channels = (shapes.channels, 1)
        self.scales = nn.ModuleList(PatchDiscriminator(shapes.spatial_dims, channels, config) for _ in fitting)

    def forward(self, x: Tensor) -> list[Tensor]:
        """The logits of each scale, finest first."""
        logits = []
        for n, judge in enumerate(self.scales):
            logits.append(judge(F.interpolate(x, small_size(x.shape[2:], n), mode="area") if n else x))
        return logits


class _Residual(nn.Module):
    """x + what two convolutions find in it (He et al. 2016)."""

    def __init__(self, dims: int, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv_block(dims, width, width), conv(dims, width, width, 3))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body(x)
        return out


def _residuals(dims: int, width: int, n: int) -> list[nn.Module]:
    return [_Residual(dims, width) for _ in range(n)]


def _noisy(code: Tensor) -> Tensor:
    """A draw from N(code, 1)."""
    return code + torch.randn_like(code)
