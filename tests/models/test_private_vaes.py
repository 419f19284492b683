"""DMVAE and MMVAE+ against loops over rows with torch.distributions, and what a private code may and may not do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.distributions import Laplace as TorchLaplace
from torch.distributions import Normal

from core.models.base import Batch
from core.models.formulas import Gaussian
from core.models.mmvae import Laplace, laplace_of
from core.models.private_vae import joined
from core.transfer import trainable_parts
from tests.models.test_multimodal_vaes import (
    N_ROWS,
    at,
    batch,
    build,
    in_doubles,
    normals,
    product_by_hand,
    seen,
    standard_kl,
)

__all__ = ["batch"]
PRIVATE = ["dmvae", "mmvae_plus"]
STANDARD = Normal(torch.tensor(0.0, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64))


def normal_of(found: Gaussian) -> Normal:
    return Normal(found.mean, (0.5 * found.log_var).exp())


def nll_by_hand(model: Any, batch: Batch, m: str, row: int, z: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """-log p of one row of one modality, for a Laplace distribution of scale 1."""
    image = model.decoders[m](torch.cat([z[row], w[row]])[None])[0]
    return -TorchLaplace(image, 1.0).log_prob(batch.x[m][row]).sum()


@pytest.mark.parametrize("beta", [1.0, 0.7])
def test_dmvae_is_its_elbos_by_hand(batch: Batch, beta: float) -> None:
    model: Any = build("dmvae", beta=beta, private_dim=2)
    batch = in_doubles(batch)
    experts, own = normals(model, batch), {m: normal_of(g) for m, g in model.privates(batch).items()}
    torch.manual_seed(5)
    total = model.loss(batch, "model", 1)["total"]
    joints = []
    for row, members in seen(batch):
        joints.append(product_by_hand([*(at(experts[m], row) for m in members), STANDARD]))
    torch.manual_seed(5)  # the same draws in the same order: the product's code, each expert's, then the private ones
    noise = [torch.randn(N_ROWS, 3, dtype=torch.float64) for _ in range(4)]
    joint_z = torch.stack([q.mean + q.stddev * noise[0][r] for r, q in enumerate(joints)])
    z = {m: e.mean + e.stddev * noise[1 + n] for n, (m, e) in enumerate(experts.items())}
    w = {m: q.mean + q.stddev * torch.randn(N_ROWS, 2, dtype=torch.float64) for m, q in own.items()}
    expected = []
    for row, members in seen(batch):
        codes = [(joint_z, joints[row]), *((z[j], at(experts[j], row)) for j in members)]
        for code, posterior in codes:
            nll = sum(nll_by_hand(model, batch, m, row, code, w[m]) for m in members)
            private_kl = sum(standard_kl(at(own[m], row)) for m in members)
            expected.append(nll + beta * (standard_kl(posterior) + private_kl))
    torch.testing.assert_close(total, torch.stack(expected).sum() / N_ROWS)


def test_dmvae_takes_one_modality_by_itself_and_several_with_the_prior(batch: Batch) -> None:
    model, batch = build("dmvae"), in_doubles(batch)
    experts, found = normals(model, batch), model.encode(batch)
    torch.testing.assert_close(found.mean[2], experts["CT"].mean[2])  # row 2 has CT alone
    pair = product_by_hand([at(experts["CT"], 1), at(experts["T1"], 1), STANDARD])
    torch.testing.assert_close(found.mean[1], pair.mean)
    torch.testing.assert_close((0.5 * found.log_var[1]).exp(), pair.stddev)  # type: ignore[attr-defined]


@pytest.mark.parametrize("estimator", ["dreg", "iwae"])
def test_mmvae_plus_is_its_bound_by_hand(batch: Batch, estimator: str) -> None:
    model: Any = build("mmvae_plus", n_samples=2, estimator=estimator, private_dim=2, beta=0.8)
    model.other_scales["T1"].data = torch.tensor([0.3, -0.9], dtype=torch.float64)
    batch = in_doubles(batch)
    torch.manual_seed(5)
    total = model.loss(batch, "model", 1)["total"]
    torch.manual_seed(5)
    experts = {m: TorchLaplace(g.mean, (0.5 * g.log_var).exp()) for m, g in model.experts(batch).items()}
    own = {m: laplace_of(g) for m, g in model.privates(batch).items()}
    scale = {m: s.exp() / s.exp().mean() for m, s in model.other_scales.items()}
    weights: dict[str, list[torch.Tensor]] = {}
    for m in experts:
        draws = [(Laplace(experts[m].mean, experts[m].scale.log()).sample(), own[m].sample()) for _ in range(2)]
        weights[m] = [weight_by_hand(model, batch, m, draw, (experts, own, scale)) for draw in draws]
    rows = []
    for row, members in seen(batch):
        bounds = []
        for m in members:
            w = torch.stack([one[row] for one in weights[m]])
            bounds.append(w.exp().mean().log() if estimator == "iwae" else (w.softmax(0) * w).sum())
        rows.append(torch.stack(bounds).mean())
    torch.testing.assert_close(total, -torch.stack(rows).mean())


def weight_by_hand(model: Any, batch: Batch, source: str, draw: tuple[torch.Tensor, torch.Tensor], known: Any) -> Any:
    """log of p(x | z, codes) (p(z) p(w) / (q(z | x) q(w | x)))^0.8 of each row."""
    experts, own, scale = known
    z, w = draw
    standard = TorchLaplace(0.0, 1.0)
    privates = {}
    for m in batch.x:
        if m != source:
            privates[m] = Laplace(torch.zeros_like(w), scale[m].log().expand_as(w)).sample()
    found = []
    for row, members in seen(batch):
        nll = sum(nll_by_hand(model, batch, m, row, z, w if m == source else privates[m]) for m in members)
        prior = standard.log_prob(z[row]).sum() + standard.log_prob(w[row]).sum()
        shared = torch.stack([experts[j].log_prob(z)[row].sum() for j in members]).exp().mean().log()
        private = TorchLaplace(own[source].mean, own[source].log_scale.exp()).log_prob(w)[row].sum()
        found.append(0.8 * (prior - shared - private) - nll)
    return found


def test_scales_of_the_auxiliary_prior_are_1_on_average_and_learnt() -> None:
    model: Any = build("mmvae_plus", private_dim=2)
    model.other_scales["CT"].data = torch.tensor([1.0, -1.0], dtype=torch.float64)
    torch.manual_seed(0)
    drawn = model.other("CT", torch.zeros(40_000, 2, dtype=torch.float64))
    scales = drawn.abs().mean(0)  # of a Laplace distribution: its scale
    torch.testing.assert_close(scales.mean(), torch.tensor(1.0, dtype=torch.float64), atol=0.02, rtol=0)
    torch.testing.assert_close((scales[0] / scales[1]).log(), torch.tensor(2.0, dtype=torch.float64), atol=0.05, rtol=0)


@pytest.mark.parametrize("name", PRIVATE)
def test_the_source_private_code_has_no_part_in_another_modality(name: str, batch: Batch) -> None:
    model: Any = build(name)
    batch = in_doubles(batch)
    before = model.synthesise(batch.only(["CT"]), ["CT", "T1"])
    for parameter in model.private_encoders.parameters():
        parameter.data += 0.3
    after = model.synthesise(batch.only(["CT"]), ["CT", "T1"])
    torch.testing.assert_close(after["T1"], before["T1"])
    assert float((after["CT"] - before["CT"]).detach().abs().max()) > 1e-4


@pytest.mark.parametrize("name", PRIVATE)
def test_another_modality_is_made_with_the_mean_of_its_private_prior(name: str, batch: Batch) -> None:
    model: Any = build(name)
    batch = in_doubles(batch)
    z = model.encode(batch.only(["CT"])).mean
    expected = model.decoders["T1"](torch.cat([z, torch.zeros(N_ROWS, 4, dtype=torch.float64)], 1))
    torch.testing.assert_close(model.synthesise(batch.only(["CT"]), ["T1"])["T1"], expected)


@pytest.mark.parametrize("name", PRIVATE)
def test_the_private_code_is_of_its_own_modality_and_0_where_that_is_absent(name: str, batch: Batch) -> None:
    model: Any = build(name, private_dim=5)
    batch = in_doubles(batch)
    found = model.embed_private(batch, "T2")
    assert found.shape == (N_ROWS, 5)
    assert found[1:].abs().max() == 0  # rows 1 and 2 lack T2
    torch.testing.assert_close(found[0], model.privates(batch)["T2"].mean[0])
    assert model.embed(batch).shape == (N_ROWS, 3)


def test_a_private_vector_is_the_same_at_each_place_of_a_map() -> None:
    z, w = torch.randn(2, 3, 4, 5), torch.randn(2, 2)
    both = joined(z, w)
    torch.testing.assert_close(both[:, :3], z)
    torch.testing.assert_close(both[:, 3:], w[:, :, None, None].expand(2, 2, 4, 5))
    torch.testing.assert_close(joined(z[:, :, 0, 0], w), torch.cat([z[:, :, 0, 0], w], 1))


@pytest.mark.parametrize("name", PRIVATE)
def test_private_codes_are_vectors_unless_a_map_is_asked_for(name: str, batch: Batch) -> None:
    batch = in_doubles(batch)
    assert build(name, spatial_latent=True).privates(batch)["CT"].mean.shape == (N_ROWS, 4)  # type: ignore[operator]
    with_map: Any = build(name, spatial_latent=True, spatial_private=True)
    assert with_map.privates(batch)["CT"].mean.shape == (N_ROWS, 4, 4, 4)  # of 8 x 6 pixels, filled up to 8 x 8
    assert with_map.embed_private(batch, "CT").shape == (N_ROWS, 4)


@pytest.mark.parametrize("name", PRIVATE)
def test_a_modality_that_is_kept_fixed_keeps_all_that_is_its_own(name: str) -> None:
    model: Any = build(name)
    left = {id(parameter) for parameter in trainable_parts(model, ("CT",))["model"]}
    learning = {place for place, parameter in model.named_parameters() if id(parameter) in left}
    assert not any("CT" in place.split(".") for place in learning)
    assert {place.split(".")[0] for place in learning} >= {"encoders", "decoders", "private_encoders"}
