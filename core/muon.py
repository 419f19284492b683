"""Muon: steps along which each convolution's kernels turn rather than grow (Jordan et al. 2024,
https://kellerjordan.github.io/posts/muon; steps as long as Liu et al. 2025, arXiv:2502.16982, so that learning rates of
Adam's order serve here too).

torch.optim.Muon takes no kernels, only matrices, and multiplies in bfloat16, which takes twice the time on most CPUs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of a x + b x^3 + c x^5, which brings singular values near 1 in a few rounds
ROUNDS = 5
TINY = 1e-7  # a gradient of zeros stays one
ADAMS_SIZE = 0.2  # root mean square of a usual step of Adam, in learning rates
MIN_ROWS = 8  # kernels with fewer outputs, such as those that make one image's pixels, have little to turn


class Muon(torch.optim.AdamW):
    """Muon for the kernels of convolutions, AdamW for all else. Only `core.resume` keeps and restores its state."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, **adam: Any) -> None:
        """adam: further arguments of AdamW; the first of `betas` is Muon's momentum too."""
        given = list(parameters)
        kernels = [p for p in given if _is_kernel(p)]
        others = [p for p in given if not _is_kernel(p)]
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
        by_shape: dict[torch.Size, list[Tensor]] = {}
        for kernel in group["params"]:
            if kernel.grad is not None:
                by_shape.setdefault(kernel.shape, []).append(kernel)
        for kernels in by_shape.values():
            self._turn(kernels, group["lr"], group["betas"][0], group["weight_decay"])

    def _turn(self, kernels: list[Tensor], lr: float, momentum: float, decay: float) -> None:
        """Kernels that got no gradient, as those of a modality that the whole batch lacks, stay: turned directions all
        have one length, and so an old one would never fade."""
        gradients = torch.stack([kernel.grad.flatten(1) for kernel in kernels if kernel.grad is not None])
        moves = gradients.flatten(1).any(1).to(gradients)[:, None, None]
        means = torch.stack([self._mean(kernel).flatten(1) for kernel in kernels])
        means.lerp_(gradients, (1 - momentum) * moves)
        turned = moves * orthogonal(gradients.lerp(means, momentum))  # one step ahead (Nesterov)
        size = lr * ADAMS_SIZE * max(turned.shape[1:]) ** 0.5
        for kernel, mean, change in zip(kernels, means, turned, strict=True):
            self._mean(kernel).copy_(mean.view(kernel.shape))
            kernel.mul_(1 - lr * decay)
            kernel.add_(change.view(kernel.shape), alpha=-size)

    def _mean(self, kernel: Tensor) -> Tensor:
        """The running mean of its gradients."""
        state = self.state[kernel]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(kernel)
        mean: Tensor = state["momentum"]
        return mean


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
