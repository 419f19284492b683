"""The small networks that both sides of the parity benchmark train; imported by both environments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

SIDE = 8  # pixels
N_PIXELS = SIDE * SIDE
Arrays = dict[str, NDArray[np.float64]]
Networks = dict[str, nn.Module]


@dataclass(frozen=True)
class Design:
    """Which networks there are.

    Attributes:
        private: numbers in each modality's private code; 0: none.
        joint: with an encoder that sees all modalities.
        log_var: where the log variances that encoders say lie at first; far below 0, codes have hardly any noise.
    """

    modalities: tuple[str, ...]
    latent: int = 5
    hidden: int = 32
    private: int = 0
    joint: bool = False
    log_var: float = 0.0


class FirstPlanes(nn.Module):
    """(B, n or more, H, W) -> (B, n, H, W): our joint encoder is also told what is present, the library's is not."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n

    def forward(self, x: Tensor) -> Tensor:
        return x[:, : self.n]


class EvenScales(nn.Module):
    """(B, 2 D) -> (B, 2 D): Laplace scales as the library's MMVAE forms them, softmax times D, in our way of saying."""

    def forward(self, x: Tensor) -> Tensor:
        mean, raw = x.chunk(2, 1)
        return torch.cat([mean, 2 * (raw.softmax(1) * raw.shape[1] + 1e-6).log()], 1)


def make_networks(design: Design, seed: int) -> Networks:
    """encoder.M, decoder.M, and where there are any private.M and joint; the seed decides their weights."""
    torch.manual_seed(seed)
    n = len(design.modalities)
    made: Networks = {}
    for m in design.modalities:
        made[f"encoder.{m}"] = _encoder(1, design.latent, design)
        made[f"decoder.{m}"] = _decoder(design)
        if design.private:
            made[f"private.{m}"] = _encoder(1, design.private, design)
    if design.joint:
        made["joint"] = nn.Sequential(FirstPlanes(n), _encoder(n, design.latent, design))
    return made


def _encoder(n_in: int, n_out: int, design: Design) -> nn.Sequential:
    last = nn.Linear(design.hidden, 2 * n_out)
    with torch.no_grad():
        last.bias[n_out:] += design.log_var
    return nn.Sequential(nn.Flatten(), nn.Linear(n_in * N_PIXELS, design.hidden), nn.ReLU(), last)


def _decoder(design: Design) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(design.latent + design.private, design.hidden),
        nn.ReLU(),
        nn.Linear(design.hidden, N_PIXELS),
        nn.Sigmoid(),
        nn.Unflatten(1, (1, SIDE, SIDE)),
    )


def weights_of(networks: Networks) -> Arrays:
    """Every parameter under NETWORK.PARAMETER."""
    return {
        f"{name}.{key}": value.detach().numpy()
        for name, network in networks.items()
        for key, value in network.named_parameters()
    }


def gradients_of(networks: Networks) -> Arrays:
    """The gradient of every parameter under its name; zeros where there is none."""
    return {
        f"{name}.{key}": (torch.zeros_like(value) if value.grad is None else value.grad).numpy()
        for name, network in networks.items()
        for key, value in network.named_parameters()
    }


@torch.no_grad()
def set_weights(networks: Networks, weights: Mapping[str, NDArray[np.float64]]) -> None:
    """What `weights_of` gave, put back."""
    for name, network in networks.items():
        for key, value in network.named_parameters():
            value.copy_(torch.from_numpy(weights[f"{name}.{key}"]))
