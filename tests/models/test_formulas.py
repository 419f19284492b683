"""The shared formulas against closed forms, grids and torch.distributions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from core.models.formulas import (
    Gaussian,
    laplace_nll,
    mean_over_rows,
    normal_nll,
    product_of_experts,
    random_subset,
    warm_up,
)


def gaussian(*shape: int, seed: int = 0) -> Gaussian:
    generator = torch.Generator().manual_seed(seed)
    return Gaussian(torch.randn(shape, generator=generator), torch.randn(shape, generator=generator))


def everywhere(n: int) -> Tensor:
    return torch.ones(n, dtype=torch.bool)


def test_kl_agrees_with_torch_distributions() -> None:
    q = gaussian(3, 4, 2, 5)
    normal = torch.distributions.Normal(q.mean, (0.5 * q.log_var).exp())
    standard = torch.distributions.Normal(torch.zeros_like(q.mean), torch.ones_like(q.mean))
    expected = torch.distributions.kl_divergence(normal, standard).flatten(1).sum(1)
    torch.testing.assert_close(q.kl_to_standard_normal(), expected)


def test_product_of_experts_is_the_normalised_product_of_densities() -> None:
    grid = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    parameters = torch.tensor([[1.5, 0.3], [-2.0, -1.0]], dtype=torch.float64)
    experts = [Gaussian(mean.view(1, 1), log_var.view(1, 1)) for mean, log_var in parameters]
    log_density = -0.5 * grid**2
    for e in experts:
        log_density = log_density - 0.5 * (grid - e.mean[0]) ** 2 / e.log_var[0].exp()
    weight = log_density.softmax(0)
    mean = (weight * grid).sum()
    variance = (weight * (grid - mean) ** 2).sum()
    product = product_of_experts(experts, [everywhere(1)] * 2)
    assert float(product.mean) == pytest.approx(float(mean), abs=1e-6)
    assert float(product.log_var.exp()) == pytest.approx(float(variance), rel=1e-5)


def test_one_expert_without_prior_is_itself() -> None:
    q = gaussian(2, 3)
    product = product_of_experts([q], [everywhere(2)], prior=False)
    torch.testing.assert_close(product.mean, q.mean)
    torch.testing.assert_close(product.log_var, q.log_var)


def test_no_expert_leaves_the_prior() -> None:
    product = product_of_experts([gaussian(2, 3)], [~everywhere(2)])
    assert product.mean.abs().max() == 0
    assert product.log_var.abs().max() == 0


def test_an_absent_expert_counts_for_nothing_even_when_it_is_not_a_number() -> None:
    here, gone = gaussian(2, 3), Gaussian(torch.full((2, 3), math.nan), torch.full((2, 3), math.nan))
    with_gone = product_of_experts([here, gone], [everywhere(2), ~everywhere(2)])
    torch.testing.assert_close(with_gone.mean, product_of_experts([here], [everywhere(2)]).mean)


@pytest.mark.parametrize("log_var", [-80.0, 80.0])
def test_a_very_sure_or_unsure_expert_stays_finite(log_var: float) -> None:
    experts = [Gaussian(torch.ones(1, 1), torch.full((1, 1), log_var)), gaussian(1, 1)]
    product = product_of_experts(experts, [everywhere(1)] * 2)
    assert torch.isfinite(product.mean).all()
    assert torch.isfinite(product.log_var).all()


def test_samples_have_the_distribution_they_are_from() -> None:
    q = Gaussian(torch.full((40_000, 1), 2.0), torch.full((40_000, 1), math.log(9.0)))
    drawn = q.sample(torch.Generator().manual_seed(0))
    assert float(drawn.mean()) == pytest.approx(2.0, abs=0.06)
    assert float(drawn.std()) == pytest.approx(3.0, abs=0.05)


@pytest.mark.parametrize(
    ("nll", "distribution"), [(laplace_nll, torch.distributions.Laplace), (normal_nll, torch.distributions.Normal)]
)
def test_likelihoods_agree_with_torch_distributions(nll, distribution) -> None:
    output, target = torch.rand(3, 1, 4, 5), torch.rand(3, 1, 4, 5)
    expected = -distribution(output, 0.2).log_prob(target).flatten(1).sum(1)
    torch.testing.assert_close(nll(output, target, 0.2), expected)


def test_rows_that_do_not_count_give_neither_value_nor_gradient() -> None:
    values = torch.tensor([2.0, math.nan, 4.0], requires_grad=True)
    mean = mean_over_rows(values, torch.tensor([True, False, True]))
    mean.backward()
    assert float(mean.detach()) == 2.0
    assert values.grad is not None
    assert values.grad.tolist() == pytest.approx([1 / 3, 0.0, 1 / 3])


@pytest.mark.parametrize("leave_out", [0, 1])
def test_random_subsets_are_of_what_is_there_and_of_every_size(leave_out: int) -> None:
    torch.manual_seed(0)
    present = torch.ones(4, 3000, dtype=torch.bool)
    present[2] = False
    chosen = random_subset(present, leave_out)
    assert not chosen[2].any()
    sizes = torch.bincount(chosen.sum(0), minlength=4) / 3000
    n = 3 - leave_out
    torch.testing.assert_close(sizes[1 : n + 1], torch.full((n,), 1 / n), atol=0.04, rtol=0)
    assert sizes[1 : n + 1].sum() == 1


def test_a_row_with_too_few_modalities_gives_none() -> None:
    assert not random_subset(torch.tensor([[True], [False]]), leave_out=1).any()


def test_warm_up_rises_to_one_and_can_be_off() -> None:
    assert [warm_up(s, 4) for s in (0, 1, 4, 9)] == [0.0, 0.25, 1.0, 1.0]
    assert warm_up(0, 0) == 1.0
