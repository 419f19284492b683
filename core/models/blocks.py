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

MAX_GROWTH = 4  # channels double with each halving up to this many times the width: deeper maps are small, not rich


class ConvSettings(Settings):
    """What the convolutional latent models have in common."""

    width: int = Field(16, ge=4, le=256, description="Channels at half resolution; more is slower and finer")
    latent_dim: int = Field(16, ge=1, le=1024, description="Numbers in the shared code (at each place, if spatial)")
    halvings: int = Field(3, ge=1, le=5, description="How often the image is halved: 3 makes one place of 8 x 8 pixels")
    spatial_latent: bool = Field(True, description="Keep a small map of codes; off: one code for the whole slice")


def visible(batch: Batch, modality: str) -> Tensor:
    """The modality's images, with zeros where a row lacks it, whatever was stored there."""
    x = batch.x[modality]
    return torch.where(rows_like(batch.present[modality], x), x, 0.0)


def stack_presence(batch: Batch) -> Tensor:
    """(M, B) bool, in the order of `batch.x`."""
    return torch.stack([batch.present[m] for m in batch.x])


def channels_at(width: int, level: int) -> int:
    return width * min(1 << level, MAX_GROWTH)


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


class Encoder(nn.Module):
    """(B, C, H, W) -> (B, n_out, h, w), or (B, n_out) where the latent is not spatial.

    The first halving only sorts pixels into channels: full-size maps would cost most of the time and bring little.
    """

    def __init__(self, size: Sequence[int], n_in: int, n_out: int, settings: ConvSettings) -> None:
        super().__init__()
        self.multiple = 2**settings.halvings
        widths = [channels_at(settings.width, level) for level in range(settings.halvings)]
        layers: list[nn.Module] = [nn.PixelUnshuffle(2), conv_block(4 * n_in, widths[0])]
        for before, after in pairwise(widths):
            layers += [conv_block(before, after, stride=2), conv_block(after, after)]
        self.body = nn.Sequential(*layers)
        self.head = _head(size, widths[-1], n_out, settings)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(pad(x, self.multiple)))
        return out


class Decoder(nn.Module):
    """(B, n_in, h, w) or (B, n_in) -> (B, n_out, H, W)."""

    def __init__(self, size: Sequence[int], n_in: int, n_out: int, settings: ConvSettings) -> None:
        super().__init__()
        self.size = tuple(size)
        widths = [channels_at(settings.width, level) for level in reversed(range(settings.halvings))]
        self.stem = _stem(size, n_in, widths[0], settings)
        layers: list[nn.Module] = [conv_block(widths[0], widths[0])]
        for before, after in pairwise(widths):
            layers += [up(before, after), conv_block(after, after), conv_block(after, after)]
        layers += [nn.Conv2d(widths[-1], 4 * n_out, 3, padding=1), nn.PixelShuffle(2)]
        self.body = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        out: Tensor = self.body(self.stem(z))
        return out[..., : self.size[0], : self.size[1]]


def _head(size: Sequence[int], n_in: int, n_out: int, settings: ConvSettings) -> nn.Module:
    if settings.spatial_latent:
        return nn.Conv2d(n_in, n_out, 1)
    h, w = small_size(size, settings.halvings)
    return nn.Sequential(nn.Flatten(), nn.Linear(n_in * h * w, n_out))


def _stem(size: Sequence[int], n_in: int, n_out: int, settings: ConvSettings) -> nn.Module:
    if settings.spatial_latent:
        return conv_block(n_in, n_out)
    h, w = small_size(size, settings.halvings)
    return nn.Sequential(nn.Linear(n_in, n_out * h * w), nn.Unflatten(1, (n_out, h, w)))


def small_size(size: Sequence[int], halvings: int) -> tuple[int, ...]:
    """Spatial size after padding and halving."""
    return tuple(-(-length // 2**halvings) for length in size)
