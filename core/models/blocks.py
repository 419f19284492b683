"""Building blocks of the convolutional models, for 2-D slices.

GroupNorm, never BatchNorm: rows whose modality is absent would change the others through a batch's statistics.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from core.config import Settings
from core.models.base import Batch
from core.models.formulas import rows_like

DEPTH = 3  # halvings inside an encoder, wherever its codes lie: what it sees around a pixel
MAX_GROWTH = 4  # channels double with each halving up to this many times the width: deeper maps are small, not rich


class ConvSettings(Settings):
    """What the convolutional latent models have in common."""

    width: int = Field(16, ge=4, le=256, description="Channels at half resolution; more is slower and finer")
    latent_dim: int = Field(8, ge=1, le=1024, description="Numbers in the shared code (at each place, if spatial)")
    halvings: int = Field(
        1, ge=1, le=4, description="Fineness of the map of codes: 1 is one per 2 x 2 pixels, 2 per 4 x 4"
    )
    spatial_latent: bool = Field(True, description="Keep a small map of codes; off: one code for the whole slice")


def visible(batch: Batch, modality: str) -> Tensor:
    """The modality's images, with zeros where a row lacks it, whatever was stored there."""
    x = batch.x[modality]
    return torch.where(rows_like(batch.present[modality], x), x, 0.0)


def stack_presence(batch: Batch) -> Tensor:
    """(M, B) bool, in the order of `batch.x`."""
    return torch.stack([batch.present[m] for m in batch.x])


def channels_at(width: int, level: int) -> int:
    """Channels of the maps that were halved `level` times, from 1 on."""
    return width * min(1 << (level - 1), MAX_GROWTH)


def pad(x: Tensor, multiple: int) -> Tensor:
    """Zeros at the end of each spatial axis, so that it can be halved to the last level and back."""
    h, w = x.shape[-2:]
    return F.pad(x, (0, -w % multiple, 0, -h % multiple))


def conv_block(n_in: int, n_out: int, stride: int = 1) -> nn.Sequential:
    """3 x 3 convolution, GroupNorm, SiLU."""
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False),
        nn.GroupNorm(math.gcd(8, n_out), n_out),
        nn.SiLU(inplace=True),
    )


def up(n_in: int, n_out: int) -> nn.Sequential:
    """Twice the resolution: channels are mixed while the map is small, then each pixel is repeated."""
    return nn.Sequential(nn.Conv2d(n_in, n_out, 1), nn.Upsample(scale_factor=2, mode="nearest"))


class Trunk(nn.Module):
    """A U-Net's inside, (B, n_in, H, W) -> (B, n_out, h, w): down to `depth` halvings, back up to `level`, with skips.

    The first halving only sorts pixels into channels: maps of full size would cost most of the time and bring little.
    """

    def __init__(self, n_in: int, n_out: int, width: int, depth: int, level: int) -> None:
        super().__init__()
        self.multiple = 2**depth
        pairs = list(pairwise(channels_at(width, at) for at in range(1, depth + 1)))
        self.stem = nn.Sequential(nn.PixelUnshuffle(2), conv_block(4 * n_in, width))
        self.downs = nn.ModuleList(nn.Sequential(conv_block(a, b, stride=2), conv_block(b, b)) for a, b in pairs)
        climbed = pairs[level - 1 :][::-1]
        self.ups = nn.ModuleList(up(b, a) for a, b in climbed)
        self.merges = nn.ModuleList(conv_block(2 * a, a) for a, _ in climbed)
        self.head = nn.Conv2d(channels_at(width, level), n_out, 1)

    def down(self, x: Tensor) -> list[Tensor]:
        """The features of each level, finest first."""
        features = [self.stem(pad(x, self.multiple))]
        for block in self.downs:
            features.append(block(features[-1]))
        return features

    def up(self, features: Sequence[Tensor]) -> Tensor:
        """What `down` gave -> the map at `level`."""
        *skips, x = features
        for grow, merge in zip(self.ups, self.merges, strict=True):
            x = merge(torch.cat([grow(x), skips.pop()], 1))
        out: Tensor = self.head(x)
        return out

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.down(x))


class Encoder(nn.Sequential):
    """(B, n_in, H, W) -> (B, n_out, h, w), or (B, n_out) where the latent is not spatial."""

    def __init__(self, size: Sequence[int], n_in: int, n_out: int, settings: ConvSettings) -> None:
        if settings.spatial_latent:
            depth = max(DEPTH, settings.halvings)
            super().__init__(Trunk(n_in, n_out, settings.width, depth, settings.halvings))
            return
        channels, places = channels_at(settings.width, DEPTH), small_size(size, DEPTH)
        trunk = Trunk(n_in, channels, settings.width, DEPTH, DEPTH)
        super().__init__(trunk, nn.Flatten(), nn.Linear(channels * math.prod(places), n_out))


class Decoder(nn.Module):
    """(B, n_in, h, w) or (B, n_in) -> (B, n_out, H, W)."""

    def __init__(self, size: Sequence[int], n_in: int, n_out: int, settings: ConvSettings) -> None:
        super().__init__()
        self.size = tuple(size)
        start = settings.halvings if settings.spatial_latent else DEPTH
        widths = [channels_at(settings.width, level) for level in range(start, 0, -1)]
        layers: list[nn.Module] = [conv_block(n_in, widths[0])]
        if not settings.spatial_latent:
            places = small_size(size, DEPTH)
            layers[0] = nn.Sequential(
                nn.Linear(n_in, widths[0] * math.prod(places)), nn.Unflatten(1, (widths[0], *places))
            )
        for before, after in pairwise(widths):
            layers += [up(before, after), conv_block(after, after)]
        self.body = nn.Sequential(*layers, *to_pixels(widths[-1], n_out))

    def forward(self, z: Tensor) -> Tensor:
        out: Tensor = self.body(z)
        return out[..., : self.size[0], : self.size[1]]


def to_pixels(n_in: int, n_out: int) -> tuple[nn.Module, nn.Module]:
    """From half resolution to full: four channels become the four pixels of a place (Shi et al. 2016)."""
    return nn.Conv2d(n_in, 4 * n_out, 3, padding=1), nn.PixelShuffle(2)


def small_size(size: Sequence[int], halvings: int) -> tuple[int, ...]:
    """Spatial size after padding and halving."""
    return tuple(-(-length // 2**halvings) for length in size)
