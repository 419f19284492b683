"""Random changes of training slices and patches, the same geometry for all modalities of a row."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from core.models.base import Batch
from core.models.formulas import rows_like

MAX_ANGLE = 0.15  # radians
MAX_ZOOM = 0.10
MAX_SHIFT = 0.08  # of half the image
MAX_GAIN = 0.05
MAX_GAMMA = 0.10


def augment(batch: Batch, rng: np.random.Generator) -> Batch:
    """Flip left-right, turn, zoom and shift each row; change each modality's gain and contrast a little.

    A flip swaps the axis that runs to the right (an image's first); patches are turned around the axis to the head.
    """
    grid = _grid(batch, rng)
    x = {m: _intensity(F.grid_sample(t, grid, align_corners=False), rng) for m, t in batch.x.items()}
    mask = F.grid_sample(batch.mask.float(), grid, mode="nearest", align_corners=False) > 0.5
    maps = {name: _turned(t, grid) if t.ndim == batch.mask.ndim - 1 else t for name, t in batch.answers.items()}
    return replace(batch, x=x, mask=mask, answers=maps)


def drop_modalities(batch: Batch, chance: float, rng: np.random.Generator) -> Batch:
    """Each row without some of its modalities, each left out with this chance, one of them staying at least."""
    present = torch.stack(list(batch.present.values()))
    draws = _tensor(rng.uniform(size=tuple(present.shape)), batch).masked_fill(~present, -1.0)
    stays = present & ((draws >= chance) | (draws == draws.amax(0)))
    return batch.showing(stays)


def _grid(batch: Batch, rng: np.random.Generator) -> Tensor:
    """Where each output pixel is read, in (-1, 1); rotations keep pixels square on an image that is not."""
    n, (h, w) = batch.size, batch.mask.shape[2:4]
    dims = batch.mask.ndim - 2
    angle = rng.uniform(-MAX_ANGLE, MAX_ANGLE, n)
    zoom = 1 + rng.uniform(-MAX_ZOOM, MAX_ZOOM, n)
    flip = rng.choice([-1.0, 1.0], n)
    shift = rng.uniform(-MAX_SHIFT, MAX_SHIFT, (n, dims))
    cos, sin = np.cos(angle) * zoom, np.sin(angle) * zoom
    theta = np.zeros((n, dims, dims + 1))  # an image's last axis comes first here
    theta[:, :, -1] = shift
    theta[:, 0, 0] = zoom  # along the axis to the head, where there is one
    theta[:, -2, -3], theta[:, -2, -2] = cos, -sin * h / w
    theta[:, -1, -3], theta[:, -1, -2] = sin * w / h * flip, cos * flip
    return F.affine_grid(_tensor(theta, batch), [n, 1, *batch.mask.shape[2:]], align_corners=False)


def _turned(classes: Tensor, grid: Tensor) -> Tensor:
    """A map of classes (B, *size) at the places of the grid; unknown (-1) where that is outside."""
    known = F.grid_sample((classes[:, None] + 1).float(), grid, mode="nearest", align_corners=False)
    return known[:, 0].round().long() - 1


def _intensity(x: Tensor, rng: np.random.Generator) -> Tensor:
    """x -> gain * x^gamma, background staying background; values outside 0 to 1 are only scaled."""
    n = len(x)
    gain = torch.from_numpy(1 + rng.uniform(-MAX_GAIN, MAX_GAIN, n)).to(x)
    gamma = torch.from_numpy(np.exp(rng.uniform(-MAX_GAMMA, MAX_GAMMA, n))).to(x)
    inside = (x > 0) & (x < 1)
    return rows_like(gain, x) * torch.where(inside, x.clamp(1e-6, 1) ** rows_like(gamma, x), x)


def _tensor(values: NDArray[np.float64], batch: Batch) -> Tensor:
    return torch.from_numpy(values).float().to(batch.mask.device)
