"""The formulas that several models share. Each is written once, here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True, eq=False)
class Point:
    """The posterior of a model that knows no doubt: all mass on one code, (B, D) or (B, D, *spatial)."""

    mean: Tensor

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """The code itself."""
        return self.mean


@dataclass(frozen=True, eq=False)
class Gaussian:
    """A normal distribution with a diagonal covariance; mean and log_var are (B, D) or (B, D, *spatial)."""

    mean: Tensor
    log_var: Tensor

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """mean + standard deviation * noise, so that gradients reach both (Kingma & Welling 2014, arXiv:1312.6114)."""
        noise = torch.empty_like(self.mean).normal_(generator=generator)
        return self.mean + (0.5 * self.log_var).exp() * noise

    def kl_to_standard_normal(self) -> Tensor:
        """KL(self || N(0, 1)) of each row, (B,), in nats: -1/2 sum(1 + log s^2 - mu^2 - s^2)."""
        return -0.5 * (1 + self.log_var - self.mean**2 - self.log_var.exp()).flatten(1).sum(1)

    def kl_to(self, other: Gaussian) -> Tensor:
        """KL(self || other) of each row, (B,), in nats."""
        spread = (self.log_var - other.log_var).exp() + (self.mean - other.mean) ** 2 * (-other.log_var).exp()
        return 0.5 * (other.log_var - self.log_var + spread - 1).flatten(1).sum(1)


def product_of_experts(experts: Sequence[Gaussian], present: Sequence[Tensor], prior: bool = True) -> Gaussian:
    """The normalised product of the experts that are present, with N(0, 1) as one more where `prior`.

    Precisions add up, T = sum T_m, and the mean is sum (T_m / T) mu_m; an absent expert has T_m = 0. In logarithms,
    so that neither a very sure nor a very unsure expert overflows. Without a prior a row that has no expert is N(0, 1).

    Args:
        present: for each expert (B,) bool.

    Source:
        Hinton 2002; Wu & Goodman 2018, arXiv:1802.05335, section 2.2.
    """
    precisions, of_prior, surest = _relative_precisions(experts, present, prior)
    total = reduce(torch.add, precisions, of_prior)
    seen = [rows_like(rows, expert.mean) for rows, expert in zip(present, experts, strict=True)]
    weighed = [t * torch.where(s, e.mean, 0.0) for t, s, e in zip(precisions, seen, experts, strict=True)]
    return Gaussian(reduce(torch.add, weighed) / total, -(surest + total.log()))


def precision_shares(
    experts: Sequence[Gaussian], present: Sequence[Tensor], prior: bool = True
) -> tuple[list[Tensor], Tensor]:
    """How much each expert counts in their product, T_m / T, and how much the prior does; together 1 everywhere."""
    precisions, of_prior, _ = _relative_precisions(experts, present, prior)
    total = reduce(torch.add, precisions, of_prior)
    return [t / total for t in precisions], of_prior / total


def _relative_precisions(
    experts: Sequence[Gaussian], present: Sequence[Tensor], prior: bool
) -> tuple[list[Tensor], Tensor, Tensor]:
    """Precisions as parts of the surest one's, so that none overflows; the prior's; the logarithm of the surest."""
    seen = [rows_like(rows, expert.mean) for rows, expert in zip(present, experts, strict=True)]
    log_precisions = [torch.where(s, -e.log_var, -math.inf) for s, e in zip(seen, experts, strict=True)]
    is_empty = ~torch.stack(list(present)).any(0)
    log_prior = torch.where(rows_like(is_empty | prior, experts[0].mean), 0.0, -math.inf)
    surest = reduce(torch.maximum, log_precisions, log_prior).detach()
    return [(t - surest).exp() for t in log_precisions], (log_prior - surest).exp(), surest


def mean_code(codes: Iterable[Tensor], chosen: Tensor) -> Tensor:
    """(B, D, ...): mean over the chosen (M, B) of the M codes (B, D, ...); zeros where none is."""
    kept = [torch.where(rows_like(rows, code), code, 0.0) for code, rows in zip(codes, chosen, strict=True)]
    total = reduce(torch.add, kept)
    return total / rows_like(chosen.sum(0).clamp(min=1), total)


def max_code(codes: Tensor, chosen: Tensor) -> Tensor:
    """(B, D, ...): number by number the largest of the chosen (M, B) of the codes (M, B, D, ...); zeros where none."""
    weights = chosen.view(*chosen.shape, *[1] * (codes.ndim - 2))
    largest = torch.where(weights, codes, -math.inf).max(0).values
    return torch.where(weights.any(0), largest, 0.0)


def rows_like(rows: Tensor, like: Tensor) -> Tensor:
    """(B,) with as many trailing axes as `like`, so that it can be broadcast against it."""
    return rows.view(-1, *[1] * (like.ndim - 1))


def absolute_error(output: Tensor, target: Tensor) -> Tensor:
    """Sum over pixels of |difference|, (B,)."""
    return (output - target).abs().flatten(1).sum(1)


def squared_error(output: Tensor, target: Tensor) -> Tensor:
    """Sum over pixels of the squared difference, (B,)."""
    return ((output - target) ** 2).flatten(1).sum(1)


def laplace_nll(output: Tensor, target: Tensor, scale: float) -> Tensor:
    """-log p(target), (B,) in nats, for a Laplace distribution of that scale around the output."""
    return absolute_error(output, target) / scale + math.log(2 * scale) * output[0].numel()


def normal_nll(output: Tensor, target: Tensor, scale: float) -> Tensor:
    """-log p(target), (B,) in nats, for a normal distribution of that standard deviation around the output."""
    return 0.5 * squared_error(output, target) / scale**2 + (math.log(scale) + HALF_LOG_2PI) * output[0].numel()


ERRORS = {"absolute": absolute_error, "squared": squared_error}
LIKELIHOODS = {"laplace": laplace_nll, "normal": normal_nll}


def mean_over_rows(values: Tensor, counted: Tensor) -> Tensor:
    """Mean over all rows of `values` (B,), rows that are not counted being 0 and sending no gradient."""
    return torch.where(counted, values, 0.0).mean()


def sum_of(terms: Sequence[Tensor]) -> Tensor:
    """The sum of scalars."""
    return torch.stack(list(terms)).sum()


def warm_up(step: int, n_steps: int) -> float:
    """0 at the first step, 1 from `n_steps` on."""
    return min(1.0, step / n_steps) if n_steps else 1.0


def random_subset(present: Tensor, leave_out: int = 0) -> Tensor:
    """For each row a random set of the modalities it has: first how many, then which, each with equal chance.

    Args:
        present: (M, B) bool.
        leave_out: how many of a row's modalities stay outside at least; a row with no more than that gets none.

    Returns:
        (M, B) bool.
    """
    noise = torch.rand(present.shape, device=present.device).masked_fill(~present, 2.0)
    rank = noise.argsort(0).argsort(0)
    most = present.sum(0) - leave_out
    n_chosen = 1 + (torch.rand(present.shape[1], device=present.device) * most).floor()
    return (rank < n_chosen) & (most > 0)
