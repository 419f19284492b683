"""How large an error is to be expected at a voxel: a small network reads what is seen there and around.

It sees the synthesis, the given images and what the model itself doubts, never the truth. Its answer needs no scale of
its own: calibration widens or narrows it. The numbers are kept as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import nn

from core.structure import Mask
from core.types import Array

WIDTH = 16
STEPS, RATE, DECAY = 300, 0.02, 1e-3
LEAST, MOST = 1e-4, 2.0  # of an expected error, on the 0-1 scale
AROUND = 2.0  # voxels
AT_ONCE = 100_000  # voxels
FAR = 4.0  # standard deviations: beyond, nothing was learnt
Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ErrorHead:
    """Expected absolute error on the 0-1 scale from features; three layers of tanh."""

    mean: Matrix
    sd: Matrix
    weights: tuple[Matrix, ...]
    biases: tuple[Matrix, ...]

    def expected(self, features: Array) -> Array:
        """(n, F) -> (n,)"""
        parts = [self._part(features[start : start + AT_ONCE]) for start in range(0, len(features), AT_ONCE)]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def _part(self, features: Array) -> Array:
        x = np.clip((features - self.mean) / self.sd, -FAR, FAR)
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = np.tanh(x @ weight.T + bias)
        log_scale = (x @ self.weights[-1].T + self.biases[-1])[:, 0]
        return np.asarray(np.exp(np.clip(log_scale, np.log(LEAST), np.log(MOST))), np.float32)

    def to_json(self) -> dict[str, Any]:
        """Five digits."""

        def told(values: Matrix) -> Any:
            return [told(row) for row in values] if values.ndim > 1 else [float(f"{v:.5g}") for v in values]

        return {
            "mean": told(self.mean),
            "sd": told(self.sd),
            "weights": [told(weight) for weight in self.weights],
            "biases": [told(bias) for bias in self.biases],
        }

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> ErrorHead:
        layers = (tuple(np.array(part, float) for part in values[name]) for name in ("weights", "biases"))
        return ErrorHead(np.array(values["mean"], float), np.array(values["sd"], float), *layers)


def fit_head(features: Array, errors: Array, seed: int = 0) -> ErrorHead:
    """Maximum likelihood of Laplace errors whose scale depends on the features; (n, F) and (n,)."""
    mean = features.mean(0, dtype=np.float64)
    sd = np.maximum(features.std(0, dtype=np.float64), 1e-6)
    x = torch.from_numpy(np.clip((features - mean) / sd, -FAR, FAR).astype(np.float32))
    y = torch.from_numpy(np.maximum(errors, LEAST).astype(np.float32))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Linear(x.shape[1], WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 1)
        )
    last = network[-1]
    with torch.no_grad():
        last.bias.fill_(float(y.mean().log()))  # type: ignore[operator]
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for _ in range(STEPS):
        log_scale = network(x)[:, 0]
        loss = (log_scale + y * (-log_scale).exp()).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    layers = [layer for layer in network if isinstance(layer, nn.Linear)]
    weights = tuple(layer.weight.detach().numpy().astype(np.float64) for layer in layers)
    return ErrorHead(mean, sd, weights, tuple(layer.bias.detach().numpy().astype(np.float64) for layer in layers))


def features_of(synthesis: Array, given: Sequence[Array], spreads: Sequence[Array], mask: Mask) -> Array:
    """(n, F) at the mask's voxels: value and slope of each image, how the synthesis stands out, logs of spreads."""
    found = [synthesis[mask], np.abs(synthesis - ndimage.gaussian_filter(synthesis, AROUND))[mask]]
    for image in (synthesis, *given):
        found.append(ndimage.gaussian_gradient_magnitude(image, 1.0)[mask])
    found += [image[mask] for image in given]
    found += [np.log(np.maximum(spread[mask], LEAST)) for spread in spreads]
    return np.stack(found, 1).astype(np.float32)
