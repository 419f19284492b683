"""Random changes of training slices, the same geometry for all modalities of a row."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from core.models.base import Batch

MAX_ANGLE = 0.15  # radians
MAX_ZOOM = 0.10
MAX_SHIFT = 0.08  # of half the image
MAX_GAIN = 0.05
MAX_GAMMA = 0.10


def augment(batch: Batch, rng: np.random.Generator) -> Batch:
    """Flip left-right, turn, zoom and shift each row; change each modality's gain and contrast a little.

    A flip swaps the axis that runs to the right (the first of an image's two).
    """
    grid = _grid(batch, rng)
    x = {m: _intensity(F.grid_sample(t, grid, align_corners=False), rng) for m, t in batch.x.items()}
    mask = F.grid_sample(batch.mask.float(), grid, mode="nearest", align_corners=False) > 0.5
    return replace(batch, x=x, mask=mask)


def _grid(batch: Batch, rng: np.random.Generator) -> Tensor:
    """Where each output pixel is read, in (-1, 1); rotations keep pixels square on an image that is not."""
    n, (h, w) = batch.size, batch.mask.shape[-2:]
    angle = rng.uniform(-MAX_ANGLE, MAX_ANGLE, n)
    zoom = 1 + rng.uniform(-MAX_ZOOM, MAX_ZOOM, n)
    flip = rng.choice([-1.0, 1.0], n)
    shift = rng.uniform(-MAX_SHIFT, MAX_SHIFT, (n, 2))
    cos, sin = np.cos(angle) * zoom, np.sin(angle) * zoom
    theta = np.stack([cos, -sin * h / w, shift[:, 0], sin * w / h * flip, cos * flip, shift[:, 1]], 1)
    return F.affine_grid(_tensor(theta, batch).view(n, 2, 3), [n, 1, h, w], align_corners=False)


def _intensity(x: Tensor, rng: np.random.Generator) -> Tensor:
    """x -> gain * x^gamma, background staying background; values outside 0 to 1 are only scaled."""
    n = len(x)
    gain = torch.from_numpy(1 + rng.uniform(-MAX_GAIN, MAX_GAIN, n)).to(x).view(-1, 1, 1, 1)
    gamma = torch.from_numpy(np.exp(rng.uniform(-MAX_GAMMA, MAX_GAMMA, n))).to(x).view(-1, 1, 1, 1)
    inside = (x > 0) & (x < 1)
    return gain * torch.where(inside, x.clamp(1e-6, 1) ** gamma, x)


def _tensor(values: NDArray[np.float64], batch: Batch) -> Tensor:
    return torch.from_numpy(values).float().to(batch.mask.device)
