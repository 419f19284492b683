"""Building blocks of the convolutional models, for slices (2-D) and patches (3-D) alike: `size` says which.

GroupNorm, never BatchNorm: rows whose modality is absent would change the others through a batch's statistics.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from core.config import Settings
from core.models.base import Batch
from core.models.formulas import rows_like

DEPTH = 3  # halvings inside an encoder, wherever its codes lie: what it sees around a pixel
LEAK = 0.1  # of a leaky ReLU: what it lets through below zero
MAX_GROWTH = 4  # channels double with each halving up to this many times the width: deeper maps are small, not rich
MUON: Mapping[str, Any] = {"optimiser": "muon", "lr": 6e-3}  # how convolutional models train best
NORMALISE = Field(  # one setting of many models
    True, description="Bring features to one scale in each image. Off: faster early on with AdamW, worse with Muon"
)


class Block(Protocol):
    """What networks are made of: a convolution and what follows it."""

    def __call__(self, dims: int, n_in: int, n_out: int, stride: int = 1, kernel: int = 3) -> nn.Module: ...


class ConvSettings(Settings):
    """What the convolutional latent models have in common."""

    width: int = Field(16, ge=4, le=256, description="Channels at half resolution; more is slower and finer")
    latent_dim: int = Field(8, ge=1, le=1024, description="Numbers in the shared code (at each place, if spatial)")
    halvings: int = Field(
        1, ge=1, le=4, description="Fineness of the map of codes: 1 is one per 2 x 2 pixels, 2 per 4 x 4"
    )
    spatial_latent: bool = Field(True, description="Keep a small map of codes; off: one code for the whole slice")
    normalise: bool = NORMALISE


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
    room = [(0, -length % multiple) for length in reversed(x.shape[2:])]
    return F.pad(x, [side for axis in room for side in axis])


def crop_to(x: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, *spatial) without what `pad` added."""
    for axis, length in enumerate(size, start=2):
        x = x.narrow(axis, 0, length)
    return x


def times(x: Tensor, n: int) -> Tensor:
    """The batch n times over, (n B, ...)."""
    return x.repeat(n, *[1] * (x.ndim - 1))


def on_rows(network: Callable[[Tensor], Tensor], x: Tensor, rows: Tensor) -> Tensor:
    """`network(x)` where `rows` (B,) is True; zeros elsewhere, which cost nothing.

    With no such row at all it runs on every one: what a caller ignores then still sends its (zero) gradient.
    """
    at = rows.nonzero()[:, 0]
    return network(x) if len(at) in (0, len(x)) else put_rows(network(x[at]), at, len(x))


def put_rows(made: Tensor, at: Tensor, n: int) -> Tensor:
    """(n, ...): what was made for the rows with the numbers `at`, zeros elsewhere."""
    return made.new_zeros(n, *made.shape[1:]).index_copy(0, at, made)


def conv(dims: int, n_in: int, n_out: int, kernel: int, stride: int = 1, bias: bool = True) -> nn.Conv2d | nn.Conv3d:
    """A convolution of slices (dims 2) or patches (dims 3) that keeps the size where the stride is 1."""
    kind = nn.Conv2d if dims == 2 else nn.Conv3d
    return kind(n_in, n_out, kernel, stride, padding=kernel // 2, bias=bias)


def conv_block(dims: int, n_in: int, n_out: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    """Convolution, GroupNorm, SiLU."""
    return nn.Sequential(
        conv(dims, n_in, n_out, kernel, stride, bias=False),
        nn.GroupNorm(math.gcd(8, n_out), n_out),
        nn.SiLU(inplace=True),
    )


def plain_block(dims: int, n_in: int, n_out: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    """The same without a normalisation, so that a grey value means the same in every slice.

    Leaky ReLU and the initial weights that keep its features' scale (He et al. 2015, arXiv:1502.01852).
    """
    layer = conv(dims, n_in, n_out, kernel, stride)
    nn.init.kaiming_normal_(layer.weight, LEAK)
    return nn.Sequential(layer, nn.LeakyReLU(LEAK, inplace=True))


def up(dims: int, n_in: int, n_out: int) -> nn.Sequential:
    """Twice the resolution: channels are mixed while the map is small, then each pixel is repeated."""
    return nn.Sequential(conv(dims, n_in, n_out, 1), nn.Upsample(scale_factor=2, mode="nearest"))


class Unshuffle(nn.Module):
    """(B, C, *size) -> (B, 2^d C, *size / 2): the pixels of a place become channels (Shi et al. 2016)."""

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 4:
            return F.pixel_unshuffle(x, 2)
        d, size = x.ndim - 2, x.shape[2:]
        split = x.reshape(*x.shape[:2], *(part for length in size for part in (length // 2, 2)))
        order = [0, 1, *range(3, 2 * d + 2, 2), *range(2, 2 * d + 2, 2)]
        return split.permute(order).reshape(len(x), -1, *(length // 2 for length in size))


class Shuffle(nn.Module):
    """(B, 2^d C, *size) -> (B, C, 2 * size): `Unshuffle` the other way round."""

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 4:
            return F.pixel_shuffle(x, 2)
        d, size = x.ndim - 2, x.shape[2:]
        split = x.reshape(len(x), -1, *[2] * d, *size)
        order = [0, 1, *(axis for n in range(d) for axis in (2 + d + n, 2 + n))]
        return split.permute(order).reshape(len(x), -1, *(2 * length for length in size))


def stem(dims: int, n_in: int, width: int, block: Block = conv_block) -> nn.Sequential:
    """From images to features at half resolution."""
    return nn.Sequential(Unshuffle(), block(dims, 2**dims * n_in, width))


class Pyramid(nn.Module):
    """Features at each of `depth` levels, finest first: level l is halved l times.

    The first halving only sorts pixels into channels: maps of full size would cost most of the time and bring little.
    """

    def __init__(self, dims: int, n_in: int, width: int, depth: int, block: Block = conv_block) -> None:
        super().__init__()
        self.multiple = 2**depth
        self.stem: nn.Module = stem(dims, n_in, width, block)
        self.downs = nn.ModuleList(
            nn.Sequential(block(dims, a, b, stride=2), block(dims, b, b))
            for a, b in pairwise(channels_at(width, at) for at in range(1, depth + 1))
        )

    def down(self, x: Tensor) -> list[Tensor]:
        """(B, n_in, *size) -> (B, channels_at(width, level), *size / 2^level) of each level."""
        return self.descend(self.stem(pad(x, self.multiple)))

    def descend(self, finest: Tensor) -> list[Tensor]:
        """The features of all levels from those of the first."""
        features = [finest]
        for block in self.downs:
            features.append(block(features[-1]))
        return features


class Trunk(Pyramid):
    """A U-Net's inside, (B, n_in, *size) -> (B, n_out, *small): down `depth` halvings, up to `level`, with skips."""

    def __init__(
        self, dims: int, channels: tuple[int, int], width: int, depth: int, level: int, block: Block = conv_block
    ) -> None:
        n_in, n_out = channels
        super().__init__(dims, n_in, width, depth, block)
        climbed = list(pairwise(channels_at(width, at) for at in range(depth, level - 1, -1)))
        self.ups = nn.ModuleList(up(dims, b, a) for b, a in climbed)
        self.merges = nn.ModuleList(block(dims, 2 * a, a) for _, a in climbed)
        self.head = conv(dims, channels_at(width, level), n_out, 1)

    def up(self, features: Sequence[Tensor]) -> Tensor:
        """What `down` gave -> the map at `level`."""
        *skips, x = features
        for grow, merge in zip(self.ups, self.merges, strict=True):
            x = merge(torch.cat([grow(x), skips.pop()], 1))
        out: Tensor = self.head(x)
        return out

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.down(x))


def block_of(normalise: bool) -> Block:
    """What the networks are made of."""
    return conv_block if normalise else plain_block


class Encoder(nn.Sequential):
    """(B, n_in, *size) -> (B, n_out, *small), or (B, n_out) where the latent is not spatial."""

    def __init__(self, size: Sequence[int], n_in: int, n_out: int, settings: ConvSettings) -> None:
        dims, block = len(size), block_of(settings.normalise)
        if settings.spatial_latent:
            depth = max(DEPTH, settings.halvings)
            super().__init__(Trunk(dims, (n_in, n_out), settings.width, depth, settings.halvings, block))
            return
        channels, places = channels_at(settings.width, DEPTH), small_size(size, DEPTH)
        trunk = Trunk(dims, (n_in, channels), settings.width, DEPTH, DEPTH, block)
        super().__init__(trunk, nn.Flatten(), nn.Linear(channels * math.prod(places), n_out))


class Decoder(nn.Module):
    """(B, n_in, *small) or (B, n_in) -> (B, n_out, *size)."""

    def __init__(self, size: Sequence[int], n_in: int, n_out: int, settings: ConvSettings) -> None:
        super().__init__()
        self.size, dims, block = tuple(size), len(size), block_of(settings.normalise)
        start = settings.halvings if settings.spatial_latent else DEPTH
        widths = [channels_at(settings.width, level) for level in range(start, 0, -1)]
        layers: list[nn.Module] = [block(dims, n_in, widths[0])]
        if not settings.spatial_latent:
            places = small_size(size, DEPTH)
            layers[0] = nn.Sequential(
                nn.Linear(n_in, widths[0] * math.prod(places)), nn.Unflatten(1, (widths[0], *places))
            )
        for before, after in pairwise(widths):
            layers += [up(dims, before, after), block(dims, after, after)]
        self.body = nn.Sequential(*layers, *to_pixels(dims, widths[-1], n_out))

    def forward(self, z: Tensor) -> Tensor:
        return crop_to(self.body(z), self.size)


def to_pixels(dims: int, n_in: int, n_out: int) -> tuple[nn.Module, nn.Module]:
    """From half resolution to full: each place's channels become its pixels."""
    return conv(dims, n_in, 2**dims * n_out, 3), Shuffle()


def small_size(size: Sequence[int], halvings: int) -> tuple[int, ...]:
    """Spatial size after padding and halving."""
    return tuple(-(-length // 2**halvings) for length in size)
