"""What the linear models with a code share: shrunken images, a sample of the slices, images linear in the code."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from core.config import Settings
from core.errors import InvalidConfigError
from core.models.base import Batch, Shapes
from core.models.blocks import visible
from core.models.fitted import Fitted

Matrix = NDArray[np.float64]


class LinearSettings(Settings):
    """What they can all be told."""

    components: int = Field(64, ge=1, le=512, description="Numbers in the code")
    pixels: int = Field(
        2500,
        ge=16,
        le=65_536,
        description="Images are shrunk to about so many pixels; more: sharper, slower, larger",
    )
    slices: int = Field(
        1500, ge=8, le=50_000, description="So many training slices at most are kept, by chance; more: more memory"
    )


@dataclass(frozen=True, eq=False)
class Sample:
    """Shrunken training slices: x (M, n, P), zero where absent; present (M, n)."""

    x: NDArray[np.float32]
    present: NDArray[np.bool_]


class LinearCode(Fitted):
    """Each image is `mean + loading @ z` before it is grown again; a subclass learns both in `learn`, and encodes."""

    def __init__(self, config: LinearSettings, shapes: Shapes) -> None:
        super().__init__(config, shapes)
        self.small = shrunken(shapes.size, config.pixels)
        n = len(shapes.modalities), shapes.channels * math.prod(self.small)
        self.mean: Tensor
        self.loading: Tensor
        self.register_buffer("mean", torch.zeros(n))
        self.register_buffer("loading", torch.zeros(*n, config.components))

    def fit(self, batches: Iterable[Batch]) -> None:
        """From a sample of the slices that have anything in their mask.

        Raises:
            InvalidConfigError: There are fewer than two.
        """
        self.learn(self._sample(batches))

    @abstractmethod
    def learn(self, sample: Sample) -> None:
        """Fill the buffers."""

    def decode(self, z: Tensor, targets: Sequence[str]) -> dict[str, Tensor]:
        return {m: self._grown(self.mean[at] + z @ self.loading[at].T) for m, at in self._places(targets).items()}

    def centred(self, batch: Batch, modality: str) -> Tensor:
        """(B, P): shrunken and without the mean; zeros where a row lacks it."""
        at = self.shapes.modalities.index(modality)
        rows = batch.present[modality][:, None]
        return torch.where(rows, self._shrunk(visible(batch, modality)) - self.mean[at], 0.0)

    def _places(self, modalities: Iterable[str]) -> dict[str, int]:
        return {m: self.shapes.modalities.index(m) for m in modalities}

    def _shrunk(self, x: Tensor) -> Tensor:
        """(B, C, *size) -> (B, P), means over areas."""
        return F.interpolate(x, self.small, mode="area").flatten(1)

    def _grown(self, flat: Tensor) -> Tensor:
        """(B, P) -> (B, C, *size), linearly between the areas' centres."""
        images = flat.view(len(flat), self.shapes.channels, *self.small)
        mode = "bilinear" if images.ndim == 4 else "trilinear"
        return F.interpolate(images, self.shapes.size, mode=mode, align_corners=False)

    def _sample(self, batches: Iterable[Batch]) -> Sample:
        """Every slice has the same chance, however many there are (Vitter 1985, algorithm R)."""
        rng, limit, n_seen = np.random.default_rng(0), self.config.slices, 0
        kept: list[tuple[Tensor, Tensor]] = []
        for batch in batches:
            images = torch.stack([self._shrunk(visible(batch, m)) for m in self.shapes.modalities], 1).cpu()
            present = torch.stack([batch.present[m] for m in self.shapes.modalities], 1).cpu()
            for row in batch.mask.flatten(1).any(1).nonzero()[:, 0].tolist():
                place = n_seen if n_seen < limit else int(rng.integers(n_seen + 1))
                n_seen += 1
                if place < limit:
                    kept[place : place + 1] = [(images[row].clone(), present[row])]
        if len(kept) < 2:
            raise InvalidConfigError("At least two training slices need something in their mask.", "NO-SLICES")
        x, is_there = (torch.stack([pair[n] for pair in kept], 1).numpy() for n in (0, 1))
        return Sample(x, is_there)


def shrunken(size: Sequence[int], pixels: int) -> tuple[int, ...]:
    """The size with about so many pixels and the same proportions, where it has more."""
    factor = min(1.0, (pixels / math.prod(size)) ** (1 / len(size)))
    return tuple(max(1, round(length * factor)) for length in size)
