"""What the adversarial models share: the objectives of the two players, the discriminator of patches, the pool.

A discriminator D says how likely an image is real, D(x) = sigmoid(s(x)); a generator G makes images x^ that fool it.
The founding game is min over G, max over D of E[log D(x)] + E[log(1 - D(x^))] (Goodfellow et al. 2014,
arXiv:1406.2661). Both players minimise here, the discriminator half of its sum, so that it learns the more slowly:

| objective        | D minimises half of                        | G minimises          | source                        |
|------------------|--------------------------------------------|----------------------|-------------------------------|
| `minmax`         | E[-log D(x)] + E[-log(1 - D(x^))]          | E[log(1 - D(x^))]    | arXiv:1406.2661, equation 1   |
| `non_saturating` | the same                                   | E[-log D(x^)]        | arXiv:1406.2661, section 3    |
| `least_squares`  | E[(s(x) - 1)^2] + E[s(x^)^2]               | E[(s(x^) - 1)^2]     | Mao et al., arXiv:1611.04076  |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from core.config import Settings
from core.models.base import Shapes
from core.models.blocks import conv

MAX_GROWTH = 8  # channels double with each halving up to this many times the width


class AdversarialSettings(Settings):
    """The judge and the rules of the game."""

    objective: Literal["least_squares", "non_saturating", "minmax"] = Field(
        "least_squares", description="The game that is played: least_squares is the steadiest, minmax the first of 2014"
    )
    discriminator_width: int = Field(24, ge=4, le=256, description="Channels of the judge's first layer")
    discriminator_halvings: int = Field(
        2, ge=1, le=4, description="How large a patch the judge looks at: 16, 34, 70 or 142 pixels"
    )


@dataclass(frozen=True)
class Objective:
    """What each player minimises, as functions of the logits s."""

    real: Callable[[Tensor], Tensor]  # the discriminator, of real images
    made: Callable[[Tensor], Tensor]  # the discriminator, of made ones
    fool: Callable[[Tensor], Tensor]  # the generator


OBJECTIVES = {  # -log D(x) = softplus(-s), -log(1 - D(x)) = softplus(s)
    "minmax": Objective(lambda s: F.softplus(-s), F.softplus, lambda s: -F.softplus(s)),
    "non_saturating": Objective(lambda s: F.softplus(-s), F.softplus, lambda s: F.softplus(-s)),
    "least_squares": Objective(lambda s: (s - 1) ** 2, lambda s: s**2, lambda s: (s - 1) ** 2),
}


def loss_on_real(objective: str, logits: Tensor) -> Tensor:
    """The discriminator's half for real images: mean over patches, (B,)."""
    return 0.5 * mean_of_row(OBJECTIVES[objective].real(logits))


def loss_on_made(objective: str, logits: Tensor) -> Tensor:
    """The discriminator's half for made images: mean over patches, (B,)."""
    return 0.5 * mean_of_row(OBJECTIVES[objective].made(logits))


def loss_of_fooling(objective: str, logits: Tensor) -> Tensor:
    """The generator's: mean over patches, (B,)."""
    return mean_of_row(OBJECTIVES[objective].fool(logits))


def mean_of_row(values: Tensor) -> Tensor:
    """(B, ...) -> (B,). The weights of adversarial papers are those of means over pixels, not of sums."""
    return values.flatten(1).mean(1)


def mean_absolute_error(output: Tensor, target: Tensor) -> Tensor:
    """Mean over pixels of |difference|, (B,)."""
    return mean_of_row((output - target).abs())


class PatchDiscriminator(nn.Module):
    """Judges each patch of an image: (B, n_in, *size) -> logits (B, n_out, *small) (Isola et al. 2017).

    Spectral normalisation (Miyato et al. 2018, arXiv:1802.05957) stands in for the paper's normalisation by batch.
    """

    def __init__(self, dims: int, channels: tuple[int, int], settings: AdversarialSettings) -> None:
        super().__init__()
        n_in, n_out = channels
        n = settings.discriminator_halvings
        *widths, last = [settings.discriminator_width * min(2**at, MAX_GROWTH) for at in range(n + 1)]
        self.body = nn.Sequential(*[_layer(dims, a, b, stride=2) for a, b in pairwise([n_in, *widths])])
        self.head = nn.Sequential(_layer(dims, widths[-1], last), spectral_norm(conv(dims, last, n_out, 4)))

    def features(self, x: Tensor) -> Tensor:
        """The last map of the halved image."""
        out: Tensor = self.body(x)
        return out

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(x))
        return out


def _layer(dims: int, n_in: int, n_out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(spectral_norm(conv(dims, n_in, n_out, 4, stride)), nn.LeakyReLU(0.2, inplace=True))


class ImagePool(nn.Module):
    """Images made before: half of the time the discriminator sees one of them in place of a new one.

    It then cannot forget what it once knew to be made (Shrivastava et al. 2017, arXiv:1612.07828). They stay with the
    training and are not saved with the weights, since they show training cases.
    """

    images: Tensor
    count: Tensor

    def __init__(self, capacity: int, shapes: Shapes) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(capacity, shapes.channels, *shapes.size), persistent=False)
        self.register_buffer("count", torch.zeros((), dtype=torch.long), persistent=False)

    def exchange(self, made: Tensor, counted: Tensor) -> Tensor:
        """The made images (B, C, *size), some of them old ones; rows that are not counted stay. Only in training."""
        if not self.training or not len(self.images):
            return made
        shown = made.clone()
        for row in counted.nonzero()[:, 0].tolist():
            n = int(self.count)
            if n < len(self.images):
                self.images[n] = made[row]
                self.count += 1
            elif float(torch.rand(())) < 0.5:
                place = int(torch.randint(n, ()))
                shown[row] = self.images[place]
                self.images[place] = made[row]
        return shown
