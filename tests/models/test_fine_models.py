"""MM-Synthesis, HeMIS and MHVAE against computations by hand and torch.distributions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from core.models import MODELS
from core.models.base import Batch, Shapes
from core.models.formulas import Gaussian, max_code, mean_code
from core.models.mhvae import apart, side_by_side
from core.transfer import trainable_parts

SHAPES = Shapes(("CT", "T1", "T2"), (9, 14), 5)


@pytest.fixture
def batch() -> Batch:
    """Row 0 has all, row 1 lacks T2, row 2 has CT alone."""
    generator = torch.Generator().manual_seed(4)
    present = {m: torch.ones(3, dtype=torch.bool) for m in SHAPES.modalities}
    present["T2"][1:] = False
    present["T1"][2] = False
    x = {m: torch.rand(3, 1, *SHAPES.size, generator=generator).double() for m in SHAPES.modalities}
    return Batch(x, present, torch.ones(3, 1, 9, 14, dtype=torch.bool), torch.arange(3), torch.arange(3))


def build(name: str, **settings: Any) -> Any:
    torch.manual_seed(0)
    return MODELS[name](MODELS[name].Config(width=4, latent_dim=3, **settings), SHAPES).double()


def row_of(batch: Batch, row: int, given: list[str]) -> Batch:
    """One row, with no modality but these."""
    x = {m: batch.x[m][row : row + 1] for m in given}
    place = slice(row, row + 1)
    present = {m: torch.tensor([True]) for m in given}
    return Batch(x, present, batch.mask[place], batch.case_index[place], batch.position[place])


def has(batch: Batch, row: int) -> list[str]:
    return [m for m in SHAPES.modalities if batch.present[m][row]]


def test_fusion_takes_each_number_from_what_is_chosen_only() -> None:
    codes = torch.tensor([[[1.0, -5.0]], [[-2.0, -4.0]], [[9.0, 9.0]]])
    chosen = torch.tensor([[True], [True], [False]])
    assert max_code(codes, chosen).tolist() == [[1.0, -4.0]]
    assert mean_code(codes, chosen).tolist() == [[-0.5, -4.5]]
    assert max_code(codes, ~chosen & False).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("fusion", ["max", "mean"])
def test_the_code_of_several_modalities_is_the_fusion_of_their_own(batch: Batch, fusion: str) -> None:
    model = build("mm_synthesis", fusion=fusion)
    alone = torch.stack([model.encode(batch.only([m])).mean[0] for m in SHAPES.modalities])
    expected = alone.amax(0) if fusion == "max" else alone.mean(0)
    torch.testing.assert_close(model.encode(batch).mean[0], expected)


def test_shared_maps_are_as_large_as_the_image(batch: Batch) -> None:
    assert build("mm_synthesis").encode(batch).mean.shape == (3, 3, 10, 14)  # an odd length gains a pixel


def test_mm_synthesis_as_published_sums_over_targets_and_codes(batch: Batch) -> None:
    """sum_t sum_{e in each, fused} |d_t(e) - y_t| + lambda Var_m(e_m), row by row."""
    model = build("mm_synthesis", n_subsets=0, rebuild=1, tie_weight=2.0)
    losses = model.loss(batch, "model", 0)
    errors, variances = [], []
    for row in range(3):
        own = has(batch, row)
        codes = [model.encode(row_of(batch, row, [m])).mean for m in own]
        for z in [*codes, torch.stack(codes).amax(0)]:
            images = model.decode(z, own)
            errors += [(images[t] - batch.x[t][row]).abs().sum() for t in own]
        variances.append(torch.stack(codes).var(0, unbiased=False).sum() / 3)
    torch.testing.assert_close(losses["error"], torch.stack(errors).sum() / 3)
    torch.testing.assert_close(losses["tie"], torch.stack(variances).mean())
    torch.testing.assert_close(losses["total"], losses["error"] + 2 * losses["tie"])


def test_random_subsets_leave_a_target_and_spare_a_lonely_modality(batch: Batch) -> None:
    model = build("mm_synthesis", n_subsets=50)
    present = torch.stack([batch.present[m] for m in SHAPES.modalities])
    subsets = model._subsets(present)
    assert subsets.shape == (50, 3, 3)
    assert not (subsets & ~present).any()
    sizes = subsets.sum(1)
    assert set(sizes[:, 0].tolist()) == {1, 2}
    assert set(sizes[:, 1].tolist()) == {1}
    assert subsets[:, 0, 2].all()


def test_what_is_given_is_made_again_as_often_as_asked(batch: Batch) -> None:
    never, always = build("mm_synthesis", rebuild=0), build("mm_synthesis", rebuild=1)
    alone = batch.only(["CT"])
    assert float(never.loss(alone, "model", 0)["error"].detach()) == 0
    image = always.synthesise(alone, ["CT"])["CT"]
    expected = (image - batch.x["CT"]).abs().sum() / 3
    torch.testing.assert_close(always.loss(alone, "model", 0)["error"], expected)


def test_the_code_of_hemis_is_made_of_mean_and_variance_over_what_a_row_has(batch: Batch) -> None:
    model = build("hemis")
    code = model.encode(batch).mean
    for row in range(3):
        one = row_of(batch, row, has(batch, row))
        padded = {m: torch.nn.functional.pad(x, (0, 2, 0, 7)) for m, x in one.x.items()}  # to multiples of 8
        features = torch.stack([model.encoders[m](x) for m, x in padded.items()])
        moments = torch.cat([features.mean(0), features.var(0, unbiased=False)], 1)
        expected = model.trunk.up(model.trunk.descend(model.trunk.stem(moments)))[..., :5, :7]
        torch.testing.assert_close(code[row : row + 1], expected)


def test_hemis_learns_what_it_was_not_given_and_what_stands_alone(batch: Batch) -> None:
    model = build("hemis", rebuild=0)
    pair, alone = row_of(batch, 1, ["CT", "T1"]), row_of(batch, 2, ["CT"])
    errors = [
        float((model.synthesise(pair.only([m]), [t])[t] - pair.x[t]).abs().sum().detach())
        for m, t in (("CT", "T1"), ("T1", "CT"))
    ]
    found = {round(float(model.loss(pair, "model", 0)["total"].detach()), 6) for _ in range(30)}
    assert found == {round(error, 6) for error in errors}
    expected = (model.synthesise(alone, ["CT"])["CT"] - alone.x["CT"]).abs().sum()
    torch.testing.assert_close(model.loss(alone, "model", 0)["total"], expected)


@pytest.mark.parametrize("name", ["mm_synthesis", "mhvae", "hemis"])
def test_a_modality_can_join_while_all_others_stay_fixed(name: str) -> None:
    model = build(name)
    left = {id(p) for p in trainable_parts(model, ("CT", "T1"))["model"]}
    kept = [n for n, p in model.named_parameters() if id(p) not in left]
    assert kept
    assert all(n.split(".")[:2] in [[s, m] for s in ("encoders", "decoders") for m in ("CT", "T1")] for n in kept)


def as_normal(q: Gaussian) -> Normal:
    return Normal(q.mean, (0.5 * q.log_var).exp())


def test_each_level_is_the_product_of_its_prior_and_the_experts_of_a_row(batch: Batch) -> None:
    model = build("mhvae", levels=2)
    seen = model._see(batch, torch.stack([batch.present[m] for m in SHAPES.modalities]))
    prior = Gaussian(torch.randn(3, 3, 5, 7).double(), torch.randn(3, 3, 5, 7).double())
    above = torch.randn(3, 4, 6, 8).double()[..., :5, :7]
    cropped = {m: (at, [f[..., :5, :7] for f in features]) for m, (at, features) in seen.items()}
    found = model.posterior(cropped, 0, prior, above)
    for row in range(3):
        factors = [Normal(as_normal(prior).mean[row], as_normal(prior).stddev[row])]
        for m in has(batch, row):
            features = model.encoders[m].down(batch.x[m][row : row + 1])[0][..., :5, :7]
            mean, log_var = model.encoders[m].at(0, features, above[row : row + 1])[0].chunk(2)
            factors.append(Normal(mean, (4 * (log_var / 8).tanh()).exp()))
        precision = sum(1 / f.variance for f in factors)
        torch.testing.assert_close(found.log_var[row].exp(), 1 / precision)
        torch.testing.assert_close(found.mean[row], sum(f.mean / f.variance for f in factors) / precision)


def test_without_any_modality_the_prior_is_left(batch: Batch) -> None:
    model = build("mhvae")
    prior = Gaussian(torch.randn(3, 3, 2, 2).double(), torch.randn(3, 3, 2, 2).double())
    left = model.posterior({}, 1, prior, None)
    torch.testing.assert_close((left.mean, left.log_var), (prior.mean, prior.log_var))


def test_mhvae_loss_is_the_negative_elbo_over_all_levels(batch: Batch) -> None:
    model = build("mhvae", levels=3, null_steps=0, warmup_steps=0, beta=1.5, scale=0.2)
    alone = batch.only(["CT"])  # a single subset, so nothing but the codes is drawn
    torch.manual_seed(5)
    torch.rand(1, 3), torch.rand(3)  # what drawing the subset takes
    kls: list[Tensor] = []
    seen = model._see(alone, alone.present["CT"][None])

    def choose(level: int, prior: Gaussian, above: Tensor | None) -> Tensor:
        q = model.posterior(seen, level, prior, above)
        kls.append(kl_divergence(as_normal(q), as_normal(prior)).sum() / 3)
        return q.sample()

    image = model._image("CT", model.descent(3, choose))
    nll = -torch.distributions.Laplace(image, 0.2).log_prob(batch.x["CT"]).sum() / 3
    torch.manual_seed(5)
    losses = model.loss(alone, "model", 0)
    torch.testing.assert_close(losses["kl"], torch.stack(kls).sum())
    torch.testing.assert_close(losses["total"], nll + 1.5 * torch.stack(kls).sum())


def test_the_kl_terms_wait_and_then_grow() -> None:
    model = build("mhvae", null_steps=10, warmup_steps=4, beta=2.0)
    assert [model.beta_at(step) for step in (0, 9, 10, 12, 14, 99)] == [0, 0, 0, 1, 2, 2]


def test_levels_side_by_side_come_apart_again() -> None:
    levels = [torch.randn(2, 3, 2, 3), torch.randn(2, 3, 4, 6), torch.randn(2, 3, 8, 12)]
    packed = side_by_side(levels)
    assert packed.shape == (2, 9, 8, 12)
    torch.testing.assert_close(apart(packed, 3), levels[::-1])


def test_a_coarse_code_reaches_wide_and_a_fine_one_stays_near() -> None:
    torch.manual_seed(0)
    model = MODELS["mhvae"](MODELS["mhvae"].Config(width=4, latent_dim=3, levels=3), Shapes(("CT", "T1"), (32, 32), 5))
    z = torch.randn(1, 9, 16, 16)
    plain = model.decode(z, ["T1"])["T1"]
    extents = []
    for channel in (0, 8):
        changed = z.clone()
        changed[0, channel, :4, :4] += 5
        moved = (model.decode(changed, ["T1"])["T1"] - plain).detach().abs()[0, 0]
        extents.append(float(moved[16:, 16:].sum() / moved.sum()))
    assert extents[0] > extents[1]


def test_more_modalities_make_the_coarsest_level_surer(batch: Batch) -> None:
    model = build("mhvae")
    prior = Gaussian(torch.zeros(3, 3, 1, 1).double(), torch.zeros(3, 3, 1, 1).double())
    seen = [
        model._see(batch.only(given), torch.stack([batch.present[m] for m in given]))
        for given in (["CT"], ["CT", "T1"], list(SHAPES.modalities))
    ]
    log_vars = [model.posterior(s, 3, prior, None).log_var[0] for s in seen]
    assert (log_vars[1] < log_vars[0]).all()
    assert (log_vars[2] < log_vars[1]).all()
