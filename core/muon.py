"""Muon: steps along which each convolution's kernels turn rather than grow (Jordan et al. 2024, kellerjordan.github.io/
posts/muon; the size of a step as in Liu et al. 2025, arXiv:2502.16982, so that Adam's learning rate serves here too).

torch.optim.Muon takes no kernels, only matrices, and multiplies in bfloat16, which takes twice the time on most CPUs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of a x + b x^3 + c x^5, which brings singular values near 1 in a few rounds
ROUNDS = 5
TINY = 1e-7
ADAMS_SIZE = 0.2  # root mean square of a usual step of Adam, in learning rates
MIN_ROWS = 8  # kernels with fewer outputs, such as those that make an image's pixels, are Adam's


class Muon(torch.optim.AdamW):
    """Muon for the kernels of convolutions, AdamW for all else."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, **adam: Any) -> None:
        """adam: further arguments of AdamW; the first of `betas` is Muon's momentum too."""
        every = list(parameters)
        kernels = [p for p in every if _is_kernel(p)]
        others = [p for p in every if not _is_kernel(p)]
        super().__init__([{"params": others}, {"params": kernels}], lr, **adam)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of both."""
        groups = self.param_groups
        try:
            self.param_groups = groups[:1]
            loss: float | None = super().step(closure)
        finally:
            self.param_groups = groups
        self._turn_kernels(groups[1])
        return loss

    def _turn_kernels(self, group: dict[str, Any]) -> None:
        """Kernels of one shape together: many small products take longer than a few large ones."""
        momentum, by_shape = group["betas"][0], dict[torch.Size, list[Tensor]]()
        for kernel in group["params"]:
            if kernel.grad is not None:
                by_shape.setdefault(kernel.shape, []).append(kernel)
        for shape, kernels in by_shape.items():
            directions = torch.stack([self._direction(kernel, momentum).flatten(1) for kernel in kernels])
            turned = orthogonal(directions)
            size = ADAMS_SIZE * max(turned.shape[1:]) ** 0.5
            for kernel, change in zip(kernels, turned, strict=True):
                kernel.mul_(1 - group["lr"] * group["weight_decay"])
                kernel.add_(change.view(shape), alpha=-group["lr"] * size)

    def _direction(self, kernel: Tensor, momentum: float) -> Tensor:
        """The gradient's running mean, looked at one step ahead (Nesterov)."""
        state, gradient = self.state[kernel], kernel.grad
        if gradient is None:
            raise ValueError("A kernel without a gradient has no direction.")
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(kernel)
        mean: Tensor = state["momentum"]
        mean.lerp_(gradient, 1 - momentum)
        return gradient.lerp(mean, momentum)


def orthogonal(matrices: Tensor) -> Tensor:
    """(N, R, C): nearly the nearest matrices whose rows (columns, where there are more rows) are orthonormal.

    Newton-Schulz rounds: singular values end between 0.7 and 1.2, which serves as well as 1 and is far cheaper.
    """
    is_tall = matrices.shape[1] > matrices.shape[2]
    x: Tensor = matrices.mT if is_tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + TINY)
    a, b, c = COEFFICIENTS
    for _ in range(ROUNDS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if is_tall else x


def _is_kernel(parameter: Tensor) -> bool:
    return parameter.ndim >= 4 and len(parameter) >= MIN_ROWS
