"""The adversarial models against numbers found by hand and losses written out anew."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.errors import InvalidConfigError
from core.models import MODELS
from core.models.adversarial import (
    AdversarialSettings,
    ImagePool,
    PatchDiscriminator,
    loss_of_fooling,
    loss_on_made,
    loss_on_real,
)
from core.models.base import Batch, Shapes

SHAPES = Shapes(("CT", "T1", "T2"), (19, 26), 5)
LOGITS = torch.tensor([[[[0.0, math.log(3)]]], [[[-math.log(4), 2.0]]]])  # D is 1/2, 3/4; 1/5, 0.8808
ALL_TRUE = torch.ones(4, dtype=torch.bool)


def build(name: str, **settings: Any) -> Any:
    torch.manual_seed(0)
    kind = MODELS[name]
    return kind(kind.Config(**{"width": 4, "discriminator_width": 4, **settings}), SHAPES)


def full_batch(n: int = 4) -> Batch:
    generator = torch.Generator().manual_seed(1)
    x = {m: torch.rand(n, 1, *SHAPES.size, generator=generator) for m in SHAPES.modalities}
    present = {m: torch.ones(n, dtype=torch.bool) for m in SHAPES.modalities}
    mask = torch.ones(n, 1, *SHAPES.size, dtype=torch.bool)
    return Batch(x, present, mask, torch.arange(n), torch.arange(n))


def mse_to(logits: Tensor, label: float) -> Tensor:
    return F.mse_loss(logits, torch.full_like(logits, label))


def l1(a: Tensor, b: Tensor) -> Tensor:
    return F.l1_loss(a, b)


def test_the_founding_game_in_numbers() -> None:
    real = loss_on_real("minmax", LOGITS)
    made = loss_on_made("minmax", LOGITS)
    fool = loss_of_fooling("minmax", LOGITS)
    assert real[0] == pytest.approx(0.5 * (math.log(2) + math.log(4 / 3)) / 2)
    assert made[0] == pytest.approx(0.5 * (math.log(2) + math.log(4)) / 2)
    assert fool[0] == pytest.approx((math.log(1 / 2) + math.log(1 / 4)) / 2)
    assert real[1] == pytest.approx(0.5 * (math.log(5) - math.log(0.8807971)) / 2)


def test_the_non_saturating_game_changes_the_generator_only() -> None:
    for loss in (loss_on_real, loss_on_made):
        torch.testing.assert_close(loss("non_saturating", LOGITS), loss("minmax", LOGITS))
    assert loss_of_fooling("non_saturating", LOGITS)[0] == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)


def test_least_squares_in_numbers() -> None:
    logits = torch.tensor([[0.0, 2.0], [3.0, -1.0]])
    assert loss_on_real("least_squares", logits).tolist() == [0.5, 2.0]  # half of the mean of 1, 1 and of 4, 4
    assert loss_on_made("least_squares", logits).tolist() == [1.0, 2.5]  # half of the mean of 0, 4 and of 9, 1
    assert loss_of_fooling("least_squares", logits).tolist() == [1.0, 4.0]


def test_halved_losses_are_half_of_the_binary_cross_entropy() -> None:
    bce = F.binary_cross_entropy_with_logits
    ones, zeros = torch.ones_like(LOGITS), torch.zeros_like(LOGITS)
    assert 2 * loss_on_real("minmax", LOGITS).mean() == pytest.approx(float(bce(LOGITS, ones)))
    assert 2 * loss_on_made("minmax", LOGITS).mean() == pytest.approx(float(bce(LOGITS, zeros)))


@pytest.mark.parametrize(("halvings", "pixels"), [(1, 16), (2, 34), (3, 70)])
def test_the_discriminator_looks_at_patches_of_the_size_it_says(halvings: int, pixels: int) -> None:
    judge = PatchDiscriminator(2, (1, 1), AdversarialSettings(discriminator_width=4, discriminator_halvings=halvings))
    x = torch.randn(1, 1, 160, 150, requires_grad=True)
    logits = judge(x)
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    assert x.grad is not None
    seen = (x.grad[0, 0] != 0).nonzero()
    assert (seen.max(0).values - seen.min(0).values + 1).tolist() == [pixels, pixels]


def test_no_layer_of_the_discriminator_stretches_anything() -> None:
    judge = PatchDiscriminator(2, (1, 1), AdversarialSettings(discriminator_width=4))
    for _ in range(60):
        judge(torch.randn(1, 1, 19, 26))  # each pass takes the estimate of the largest singular value further
    judge.eval()
    for layer in judge.modules():
        if isinstance(layer, nn.Conv2d):
            assert float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)) == pytest.approx(1, abs=0.02)


def numbered(*values: int) -> Tensor:
    return torch.stack([torch.full((1, *SHAPES.size), float(v)) for v in values])


def test_a_pool_without_room_gives_back_what_was_made() -> None:
    made = numbered(1, 2, 3)
    assert ImagePool(0, SHAPES).exchange(made, ALL_TRUE[:3]) is made


def test_a_pool_fills_up_before_it_exchanges() -> None:
    pool = ImagePool(6, SHAPES)
    for made in (numbered(1, 2, 3), numbered(4, 5, 6)):
        torch.testing.assert_close(pool.exchange(made, ALL_TRUE[:3]), made)
    assert pool.images[:, 0, 0, 0].tolist() == [1, 2, 3, 4, 5, 6]


def test_a_pool_loses_and_doubles_nothing_and_shows_old_images_half_of_the_time() -> None:
    torch.manual_seed(0)
    pool, seen, n_old = ImagePool(5, SHAPES), [], 0
    for start in range(1, 401, 4):
        made = numbered(*range(start, start + 4))
        shown = pool.exchange(made, ALL_TRUE)
        n_old += int((shown[:, 0, 0, 0] != made[:, 0, 0, 0]).sum())
        seen += shown[:, 0, 0, 0].tolist()
    left = pool.images[:, 0, 0, 0].tolist()
    assert sorted([*seen[5:], *left]) == list(range(1, 401))  # the first five are shown while it fills, too
    assert 0.4 < n_old / 395 < 0.6


def test_a_pool_takes_no_row_that_does_not_count_and_rests_outside_training() -> None:
    pool = ImagePool(2, SHAPES)
    pool.exchange(numbered(7, 8, 9), torch.tensor([False, True, False]))
    assert int(pool.count) == 1
    pool.eval().exchange(numbered(1), ALL_TRUE[:1])
    assert int(pool.count) == 1
    assert pool.images[0].unique().tolist() == [8]


def test_images_of_the_pool_are_not_saved_with_the_weights() -> None:
    model = build("cyclegan")
    assert not [name for name in model.state_dict() if "pool" in name]
    assert [name for name, _ in model.named_buffers() if "pool" in name]


def test_a_discriminator_learns_nothing_into_the_generator() -> None:
    for name in ("pix2pix", "cyclegan", "unit", "vae_gan"):
        model = build(name)
        model.loss(full_batch(), "discriminator", 5)["total"].backward()  # nothing is frozen here
        assert all(parameter.grad is None for parameter in model.parts()["generator"])


def test_pix2pix_is_a_conditional_game_and_a_hundred_times_the_error() -> None:
    model, batch = build("pix2pix", given="T1", target="T2", objective="non_saturating"), full_batch()
    made = model.synthesise(batch.only(["T1"]), ["T2"])["T2"]
    nothing = torch.zeros_like(made)
    judge = model.discriminator.eval()
    on_real, on_made = (judge(torch.cat([nothing, batch.x["T1"], y], 1)) for y in (batch.x["T2"], made))
    bce = F.binary_cross_entropy_with_logits
    real, caught = bce(on_real, torch.ones_like(on_real)), bce(on_made, torch.zeros_like(on_made))
    expected = bce(on_made, torch.ones_like(on_made)) + 100 * l1(made, batch.x["T2"])
    torch.testing.assert_close(model.loss(batch, "generator", 0)["total"], expected)
    torch.testing.assert_close(model.loss(batch, "discriminator", 0)["total"], (real + caught) / 2)


def test_pix2pix_shows_the_judge_what_was_given_and_only_judges_what_was_made() -> None:
    model, batch = build("pix2pix"), full_batch(8)
    shown, judged = model.drawn(batch)
    seen: list[Tensor] = []
    model.discriminator.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model._logits(shown, {m: torch.full_like(batch.x[m], 9.0) for m in SHAPES.modalities}, judged)
    for channel, m in enumerate(SHAPES.modalities):
        for row in range(8):
            expected = batch.x[m][row, 0] if shown.present[m][row] else torch.tensor(9.0)
            assert bool(judged[m][row]) == (not bool(shown.present[m][row]))
            torch.testing.assert_close(seen[0][row, channel], expected.expand(SHAPES.size))


def test_cyclegan_goes_there_and_back_both_ways() -> None:
    model, batch = build("cyclegan", source="T1", target="T2", pool=0).eval(), full_batch()
    to_t2, to_t1 = model.generators["T2"], model.generators["T1"]
    d1, d2 = model.discriminators["T1"], model.discriminators["T2"]
    x, y = batch.x["T1"], batch.x["T2"]
    game = mse_to(d2(to_t2(x)), 1) + mse_to(d1(to_t1(y)), 1)
    cycle = l1(to_t1(to_t2(x)), x) + l1(to_t2(to_t1(y)), y)
    identity = l1(to_t2(y), y) + l1(to_t1(x), x)
    torch.testing.assert_close(model.loss(batch, "generator", 0)["total"], game + 10 * cycle + 5 * identity)
    caught = mse_to(d2(y), 1) + mse_to(d2(to_t2(x)), 0) + mse_to(d1(x), 1) + mse_to(d1(to_t1(y)), 0)
    torch.testing.assert_close(model.loss(batch, "discriminator", 0)["total"], caught / 2)
    torch.testing.assert_close(model.synthesise(batch.only(["T1"]), ["T2"])["T2"], to_t2(x))


def test_cyclegan_takes_the_first_two_modalities_or_those_that_are_named() -> None:
    assert build("cyclegan").pair == ("CT", "T1")
    assert build("cyclegan", target="CT").pair == ("T1", "CT")
    assert build("cyclegan", source="T2").pair == ("T2", "CT")
    model = build("cyclegan", source="T2", target="T1")
    assert model.supports(("T2",), "T1")
    assert model.supports(("T1",), "T2")
    assert not model.supports(("CT",), "T1")
    assert not model.supports(("T1", "T2"), "T1")


@pytest.mark.parametrize("settings", [{"source": "PET"}, {"source": "T1", "target": "T1"}])
def test_a_pair_that_cannot_be_is_refused(settings: dict[str, str]) -> None:
    with pytest.raises(InvalidConfigError, match="source, target"):
        build("cyclegan", **settings)


def test_unit_is_its_paper_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.models.unit._noisy", lambda code: code + 0.5)
    model, batch = build("unit").eval(), full_batch().only(["T1", "T2"])
    parts = [0.0, 0.0]
    for m, n in (("T1", "T2"), ("T2", "T1")):
        x = batch.x[m]
        mean = model.encode(batch.only([m])).mean
        rebuilt, made = (model.decode(mean + 0.5, [k])[k] for k in (m, n))
        mean_of_made = model.shared_encoder(model.encoders[n](made))
        cycle = model.decode(mean_of_made + 0.5, [m])[m]
        scales = model.discriminators[n].scales
        images = [made, F.adaptive_avg_pool2d(made, (10, 13))]
        assert len(scales) == 2  # a third would be 5 x 7
        game = sum(mse_to(judge(image), 1) for judge, image in zip(scales, images, strict=True))
        codes = (mean**2).mean() + (mean_of_made**2).mean()
        parts[0] += game + 10 * l1(rebuilt, x) + 0.01 * codes + 10 * l1(cycle, x)
        for judge, fake, real in zip(
            scales, images, [batch.x[n], F.adaptive_avg_pool2d(batch.x[n], (10, 13))], strict=True
        ):
            parts[1] += (mse_to(judge(real), 1) + mse_to(judge(fake), 0)) / 2
    torch.testing.assert_close(model.loss(batch, "generator", 0)["total"], parts[0])
    torch.testing.assert_close(model.loss(batch, "discriminator", 0)["total"], parts[1])


def test_unit_shares_the_layers_next_to_the_code() -> None:
    model, batch = build("unit"), full_batch()
    before = {m: model.synthesise(batch.only([m]), [m])[m].detach() for m in SHAPES.modalities}
    for shared in (model.shared_encoder, model.shared_decoder):
        with torch.no_grad():
            next(p for p in shared.parameters() if p.ndim == 4).add_(0.1)
        after = {m: model.synthesise(batch.only([m]), [m])[m].detach() for m in SHAPES.modalities}
        assert all(not torch.allclose(before[m], after[m]) for m in SHAPES.modalities)
        before = after


def test_unit_draws_each_pair_of_modalities() -> None:
    model, batch = build("unit"), full_batch()
    touched = set()
    for _ in range(20):
        model.zero_grad()
        model.loss(batch, "generator", 0)["total"].backward()
        with_gradient = [m for m in SHAPES.modalities if model.encoders[m].head.weight.grad is not None]
        assert len(with_gradient) == 2
        touched.add(tuple(with_gradient))
    assert len(touched) == 3


def test_vae_gan_teaches_each_part_what_the_paper_says() -> None:
    """Encoders: KL and features; decoders: features and GAN; so the GAN's weight leaves the encoders alone."""
    gradients: dict[str, list[Tensor]] = {"encoders": [], "decoders": []}
    for weight in (0.0, 50.0):
        model = build("vae_gan", adversarial_weight=weight, scale=1.0)
        torch.manual_seed(3)
        model.loss(full_batch(), "generator", 10_000)["total"].backward()
        for side, found in gradients.items():
            found.append(torch.cat([p.grad.flatten() for p in getattr(model, side).parameters()]))
    torch.testing.assert_close(*gradients["encoders"], rtol=1e-3, atol=1e-5)
    difference = gradients["decoders"][1] - gradients["decoders"][0]
    assert difference.norm() > 0.1 * gradients["decoders"][0].norm()


def test_vae_gan_compares_features_and_judges_rebuilt_and_drawn_images(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = build("vae_gan", scale=0.5, beta=2.0, warmup_steps=0).eval(), full_batch().only(["T1"])
    torch.manual_seed(5)
    losses = model.loss(batch, "generator", 1)
    torch.manual_seed(5)
    torch.rand(1, 4), torch.rand(4)  # the subset's draws
    posterior = model.encode(batch)
    z = posterior.sample()
    prior = torch.randn_like(z)
    rebuilt, drawn = (model.decode(code, ["T1"])["T1"] for code in (z, prior))
    judge = model.discriminators["T1"]
    density = torch.distributions.Normal(judge.body(batch.x["T1"]), 0.5)
    feature = -density.log_prob(judge.body(rebuilt)).sum() / 4
    standard = torch.distributions.Normal(0.0, 1.0)
    q = torch.distributions.Normal(posterior.mean, (0.5 * posterior.log_var).exp())
    kl = torch.distributions.kl_divergence(q, standard).sum() / 4
    game = mse_to(judge(rebuilt), 1) + mse_to(judge(drawn), 1)
    torch.testing.assert_close(losses["total"], 2 * kl + feature + game, rtol=1e-4, atol=1e-3)
    torch.manual_seed(5)
    caught = model.loss(batch, "discriminator", 1)["total"]
    expected = mse_to(judge(batch.x["T1"]), 1) + mse_to(judge(rebuilt), 0) + mse_to(judge(drawn), 0)
    torch.testing.assert_close(caught, expected / 2, rtol=1e-4, atol=1e-5)
