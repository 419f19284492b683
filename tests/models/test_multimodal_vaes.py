"""The multimodal VAEs against algebra, Monte Carlo and torch.distributions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.distributions import Laplace as TorchLaplace
from torch.distributions import Normal, kl_divergence

from core.models import MODELS
from core.models.base import Batch, Model, Shapes
from core.models.formulas import Gaussian, product_of_experts
from core.models.mmvae import Laplace, Mixture, importance_bound
from core.models.mopoe import all_subsets

SHAPES = Shapes(("CT", "T1", "T2"), (8, 6), 5)
N_ROWS = 3


@pytest.fixture
def batch() -> Batch:
    """Row 0 has all, row 1 lacks T2, row 2 has CT alone."""
    generator = torch.Generator().manual_seed(4)
    present = {m: torch.ones(N_ROWS, dtype=torch.bool) for m in SHAPES.modalities}
    present["T2"][1:] = False
    present["T1"][2] = False
    x = {m: torch.rand(N_ROWS, 1, *SHAPES.size, generator=generator) for m in SHAPES.modalities}
    return Batch(x, present, torch.ones(N_ROWS, 1, 8, 6, dtype=torch.bool), torch.arange(3), torch.arange(3))


def build(name: str, **settings: Any) -> Model:
    torch.manual_seed(0)
    kind = MODELS[name]
    values = {"width": 4, "latent_dim": 3, "spatial_latent": False, "warmup_steps": 0, "scale": 1.0, **settings}
    return kind(kind.Config(**values), SHAPES).double()


def in_doubles(batch: Batch) -> Batch:
    return Batch({m: x.double() for m, x in batch.x.items()}, batch.present, batch.mask, *[batch.position] * 2)


def normals(model: Any, batch: Batch) -> dict[str, Normal]:
    return {m: Normal(g.mean, (0.5 * g.log_var).exp()) for m, g in model.experts(batch).items()}


def product_by_hand(experts: list[Normal]) -> Normal:
    precision = sum(1 / e.variance for e in experts)
    mean = sum(e.mean / e.variance for e in experts) / precision
    return Normal(mean, precision**-0.5)


def standard_kl(q: Normal) -> torch.Tensor:
    return kl_divergence(q, Normal(torch.zeros_like(q.mean), torch.ones_like(q.mean))).sum()


def seen(batch: Batch) -> Iterator[tuple[int, list[str]]]:
    for row in range(N_ROWS):
        yield row, [m for m in SHAPES.modalities if batch.present[m][row]]


def at(q: Normal, row: int) -> Normal:
    return Normal(q.mean[row], q.stddev[row])


def test_the_divergence_of_two_normals_is_that_of_torch() -> None:
    a, b = (Gaussian(torch.randn(4, 3), torch.randn(4, 3)) for _ in range(2))
    p, q = (Normal(g.mean, (0.5 * g.log_var).exp()) for g in (a, b))
    torch.testing.assert_close(a.kl_to(b), kl_divergence(p, q).sum(1))


def test_a_row_without_an_expert_is_the_prior_and_sends_no_gradient() -> None:
    mean = torch.randn(2, 3, requires_grad=True)
    found = product_of_experts([Gaussian(mean, torch.zeros(2, 3))], [torch.tensor([True, False])], prior=False)
    torch.testing.assert_close(torch.stack([found.mean[1], found.log_var[1]]), torch.zeros(2, 3))
    torch.testing.assert_close(found.mean[0], mean[0])
    found.mean.sum().backward()
    assert mean.grad is not None
    assert mean.grad.tolist() == [[1, 1, 1], [0, 0, 0]]


def test_mopoe_weighs_the_subsets_that_a_row_has_alike(batch: Batch) -> None:
    model, batch = build("mopoe"), in_doubles(batch)
    experts = normals(model, batch)
    expected = []
    for row, members in seen(batch):
        kls = []
        for chosen in all_subsets(len(members)):
            inside = [at(experts[m], row) for m, is_in in zip(members, chosen, strict=True) if is_in]
            kls.append(standard_kl(product_by_hand(inside)))
        assert len(kls) == 2 ** len(members) - 1
        expected.append(torch.stack(kls).mean())
    torch.testing.assert_close(model.loss(batch, "model", 1)["kl"], torch.stack(expected).mean())


def test_mopoe_with_some_subsets_is_right_on_average(batch: Batch) -> None:
    batch = in_doubles(batch)
    exact = model_kl(build("mopoe"), batch)
    some = build("mopoe", n_subsets=2)
    torch.manual_seed(1)
    drawn = torch.stack([model_kl(some, batch) for _ in range(600)])
    assert abs(drawn.mean() - exact) < 4 * drawn.std() / 600**0.5


def model_kl(model: Model, batch: Batch) -> torch.Tensor:
    return model.loss(batch, "model", 1)["kl"].detach()


def test_mvtcae_has_the_weights_of_its_paper(batch: Batch) -> None:
    alpha, beta = 0.3, 1.7
    model, batch = build("mvtcae", alpha=alpha, beta=beta), in_doubles(batch)
    experts = normals(model, batch)
    torch.manual_seed(5)
    losses = model.loss(batch, "model", 1)
    torch.manual_seed(5)
    nll = model.nll_of_present(batch, model.encode(batch).sample())  # type: ignore[operator]
    expected = []
    for row, members in seen(batch):
        inside = [at(experts[m], row) for m in members]
        joint, n = product_by_hand(inside), len(members)
        towards = sum(kl_divergence(joint, e).sum() for e in inside)
        kl = (1 - alpha) * standard_kl(joint) + alpha / n * towards
        expected.append((n - alpha) / n * nll[row] + beta * kl)
    torch.testing.assert_close(losses["total"], torch.stack(expected).mean())


def test_jmvae_pulls_each_expert_to_the_joint_code(batch: Batch) -> None:
    model, batch = build("jmvae", alpha=0.4), in_doubles(batch)
    experts = normals(model, batch)
    joint = model._joint(batch)  # type: ignore[operator]
    q = Normal(joint.mean, (0.5 * joint.log_var).exp())
    expected = [sum(kl_divergence(at(q, r), at(experts[m], r)).sum() for m in members) for r, members in seen(batch)]
    losses = model.loss(batch, "model", 1)
    torch.testing.assert_close(losses["kl_experts"], torch.stack(expected).mean())
    torch.testing.assert_close(losses["total"], losses["reconstruction"] + losses["kl"] + 0.4 * losses["kl_experts"])


def test_jmvae_asks_the_joint_encoder_where_all_is_given_and_the_product_else(batch: Batch) -> None:
    model, batch = build("jmvae"), in_doubles(batch)
    found, joint = model.encode(batch).mean, model._joint(batch).mean  # type: ignore[operator]
    experts = normals(model, batch)
    torch.testing.assert_close(found[0], joint[0])
    torch.testing.assert_close(found[1], product_by_hand([at(experts["CT"], 1), at(experts["T1"], 1)]).mean)
    torch.testing.assert_close(found[2], experts["CT"].mean[2])


def test_a_laplace_distribution_is_that_of_torch() -> None:
    torch.manual_seed(2)
    ours = Laplace(torch.randn(4, 3), torch.randn(4, 3))
    theirs = TorchLaplace(ours.mean, ours.log_scale.exp())
    z = torch.randn(4, 3)
    torch.testing.assert_close(ours.log_prob(z), theirs.log_prob(z).sum(1))
    drawn = torch.stack([ours.sample() for _ in range(20_000)])
    torch.testing.assert_close(drawn.mean(0), theirs.mean, atol=0.15, rtol=0.05)
    torch.testing.assert_close(drawn.std(0), theirs.stddev, atol=0.02, rtol=0.1)


def test_a_mixture_has_equal_parts_of_what_a_row_has() -> None:
    torch.manual_seed(3)
    experts = [Laplace(torch.randn(2, 3), torch.randn(2, 3)) for _ in range(3)]
    present = torch.tensor([[True, True], [True, False], [True, False]])
    z = torch.randn(2, 3)
    densities = torch.stack([e.log_prob(z).exp() for e in experts])
    expected = torch.stack([densities[:, 0].mean(), densities[0, 1]]).log()
    torch.testing.assert_close(Mixture(experts, present).log_prob(z), expected)


@pytest.mark.parametrize("estimator", ["dreg", "iwae"])
def test_mmvae_is_the_importance_weighted_bound_by_hand(batch: Batch, estimator: str) -> None:
    model, batch = build("mmvae", n_samples=2, estimator=estimator), in_doubles(batch)
    torch.manual_seed(5)
    total = model.loss(batch, "model", 1)["total"]
    torch.manual_seed(5)
    experts = {m: TorchLaplace(g.mean, (0.5 * g.log_var).exp()) for m, g in model.experts(batch).items()}  # type: ignore[operator]
    drawn = {}
    for m, e in experts.items():
        ours = Laplace(e.mean, e.scale.log())
        drawn[m] = [ours.sample() for _ in range(2)]
    rows = []
    for row, members in seen(batch):
        bounds = []
        for m in members:
            weights = []
            for z in drawn[m]:
                nll = model.nll_of_present(batch, z)[row]  # type: ignore[operator]
                q = torch.stack([experts[j].log_prob(z)[row].sum() for j in members]).exp().mean().log()
                p = TorchLaplace(0.0, 1.0).log_prob(z[row]).sum()
                weights.append(p - nll - q)
            w = torch.stack(weights)
            bounds.append(w.exp().mean().log() if estimator == "iwae" else (w.softmax(0) * w).sum())
        rows.append(torch.stack(bounds).mean())
    torch.testing.assert_close(total, -torch.stack(rows).mean())


def test_dreg_weighs_the_codes_gradient_twice() -> None:
    codes = [torch.randn(N_ROWS, 3, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    weights = torch.rand(3, N_ROWS, dtype=torch.float64)
    log_weights = torch.stack([(z**2).sum(1) for z in codes]) + weights
    importance_bound(log_weights, [(z,) for z in codes], "dreg").sum().backward()  # type: ignore[no-untyped-call]
    w = log_weights.detach().softmax(0)
    for k, z in enumerate(codes):
        torch.testing.assert_close(z.grad, (w[k] ** 2)[:, None] * 2 * z.detach())
