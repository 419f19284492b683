"""What every model promises, run over the registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from core.config import Settings
from core.errors import InvalidConfigError
from core.models import MODELS
from core.models.base import Batch, Model, Shapes

PRIVATE = ("dmvae", "mmvae_plus")
GAUSSIAN = ("vae", "mvae", "mmvae", "mopoe", "mvtcae", "jmvae", *PRIVATE)
SHAPES = Shapes(("CT", "T1", "T2"), (19, 26), 5)
FINE = ("mm_synthesis", "mhvae", "hemis")  # codes about as fine as the image, or at several scales
SMALL: dict[str, dict[str, Any]] = {name: {"width": 4} for name in ("ae", "unet", "contrastive", *FINE, *GAUSSIAN)}
ADVERSARIAL = ("pix2pix", "cyclegan", "unit", "vae_gan")
SMALL |= {name: {"width": 4, "discriminator_width": 4} for name in ADVERSARIAL}
SMALL["cyclegan"] |= {"source": "T1", "target": "T2"}
GRADIENT = [name for name, kind in MODELS.items() if not kind.is_fitted]
FITTED = [name for name, kind in MODELS.items() if kind.is_fitted]
EMBEDDING = [name for name, kind in MODELS.items() if kind.can_embed]
MAKING = [name for name, kind in MODELS.items() if kind.makes_images]


def make_batch(n: int = 6, seed: int = 0) -> Batch:
    """Two cases. Row 0 has all, row 1 lacks T2, row 2 lacks CT; what is absent is zero."""
    generator = torch.Generator().manual_seed(seed)
    present = {m: torch.ones(n, dtype=torch.bool) for m in SHAPES.modalities}
    present["T2"][1] = False
    present["CT"][2] = False
    images = {m: 0.2 + 0.6 * torch.rand(n, 1, *SHAPES.size, generator=generator) for m in SHAPES.modalities}
    x = {m: torch.where(present[m].view(-1, 1, 1, 1), t, 0.0) for m, t in images.items()}
    mask = torch.rand(n, 1, *SHAPES.size, generator=generator) > 0.3
    return Batch(x, present, mask, torch.arange(n) // 3, torch.arange(n) % SHAPES.n_positions)


def build(name: str, **settings: Any) -> Model:
    torch.manual_seed(0)
    kind = MODELS[name]
    model = kind(kind.Config(**{**SMALL.get(name, {}), **settings}), SHAPES)
    if not model.parts():
        model.fit([make_batch(seed=7), make_batch(seed=8)])
    return model


def with_rubbish_where_absent(batch: Batch) -> Batch:
    x = {m: torch.where(batch.present[m].view(-1, 1, 1, 1), t, torch.nan) for m, t in batch.x.items()}
    return replace(batch, x=x)


def rows(batch: Batch, chosen: slice) -> Batch:
    x = {m: t[chosen] for m, t in batch.x.items()}
    present = {m: t[chosen] for m, t in batch.present.items()}
    return Batch(x, present, batch.mask[chosen], batch.case_index[chosen], batch.position[chosen])


def synthesised(model: Model, batch: Batch) -> dict[str, torch.Tensor]:
    """Every pair of modalities that the model supports, and every target from two."""
    made = {}
    for given in [(m,) for m in SHAPES.modalities] + [("T1", "T2"), SHAPES.modalities]:
        for target in SHAPES.modalities:
            if model.supports(given, target):
                made[f"{given} {target}"] = model.synthesise(batch.only(given), [target])[target]
    return made


def losses_of(model: Model, batch: Batch, step: int) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
    """Each part's losses as the training takes them: same draws, the other parts frozen."""
    parts = model.parts() or {"model": []}
    for part in parts:
        for other, parameters in parts.items():
            for parameter in parameters:
                parameter.requires_grad_(other == part)
        torch.manual_seed(step)
        yield part, model.loss(batch, part, step)


def answers(model: Model, batch: Batch) -> dict[str, torch.Tensor]:
    """All images that it makes and, where it has one, the code of each modality alone and of all."""
    subsets = [*[(m,) for m in batch.x], tuple(batch.x)] if model.can_embed else []
    return synthesised(model, batch) | {f"code {given}": model.embed(batch.only(given)) for given in subsets}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_tells_people_what_it_is(name: str) -> None:
    kind = MODELS[name]
    assert kind.title
    assert kind.summary.endswith(".")
    assert all(field.description for field in kind.Config.model_fields.values())
    assert issubclass(kind.Config, Settings)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_without_parts_is_fitted_and_one_that_makes_nothing_has_a_code(name: str) -> None:
    kind, model = MODELS[name], build(name)
    assert kind.is_fitted == (not model.parts())
    assert kind.makes_images or kind.can_embed
    assert {m for m in SHAPES.modalities if model.reads(m)} == set(getattr(model, "pair", SHAPES.modalities))


@pytest.mark.parametrize("name", [name for name in MODELS if name not in MAKING])
def test_a_model_that_makes_no_images_says_so(name: str) -> None:
    assert not synthesised(build(name), make_batch())
    assert not MODELS[name].can_decode


@pytest.mark.parametrize("name", MAKING)
def test_every_model_makes_some_target_in_the_size_of_the_images(name: str) -> None:
    made = synthesised(build(name), make_batch())
    assert made
    assert {image.shape for image in made.values()} == {(6, 1, *SHAPES.size)}
    assert all(torch.isfinite(image).all() for image in made.values())


@pytest.mark.parametrize("name", MODELS)
def test_what_is_absent_has_no_influence(name: str) -> None:
    model, batch = build(name), make_batch()
    torch.testing.assert_close(answers(model, with_rubbish_where_absent(batch)), answers(model, batch))


@pytest.mark.parametrize("name", GRADIENT)
def test_what_is_absent_does_not_change_loss_code_or_gradient(name: str) -> None:
    found = []
    for batch in (make_batch(), with_rubbish_where_absent(make_batch())):
        model = build(name)
        totals = []
        for _, losses in losses_of(model, batch, 5):
            losses["total"].backward()
            totals.append(losses["total"].detach())
        gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        found.append((torch.stack(totals), model.embed(batch).detach(), gradient))
    for before, after in zip(*found, strict=True):
        torch.testing.assert_close(after, before)


@pytest.mark.parametrize("name", GRADIENT)
def test_an_absent_modality_sends_no_gradient(name: str) -> None:
    batch, model = make_batch(), build(name)
    batch.x["T2"].requires_grad_()
    for _, losses in losses_of(model, batch, 5):
        losses["total"].backward()
    assert batch.x["T2"].grad is not None
    assert batch.x["T2"].grad[1].abs().max() == 0
    assert batch.x["T2"].grad[[0, 2, 3]].abs().max() > 0


@pytest.mark.parametrize("name", MODELS)
def test_a_row_does_not_depend_on_its_neighbours(name: str) -> None:
    model, batch = build(name).eval(), make_batch()
    whole, part = answers(model, batch), answers(model, rows(batch, slice(1, 3)))
    torch.testing.assert_close(part, {key: image[1:3] for key, image in whole.items()}, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_the_loss_is_finite_and_has_a_total(name: str) -> None:
    for _, losses in losses_of(build(name), make_batch(), 0):
        assert "total" in losses
        assert all(torch.isfinite(value) and value.ndim == 0 for value in losses.values())


@pytest.mark.parametrize("name", GRADIENT)
def test_every_parameter_is_in_one_part(name: str) -> None:
    model = build(name)
    listed = [id(parameter) for parameters in model.parts().values() for parameter in parameters]
    assert sorted(listed) == sorted(id(parameter) for parameter in model.parameters())


@pytest.mark.parametrize("name", GRADIENT)
def test_gradients_reach_every_parameter_of_a_part_and_no_other(name: str) -> None:
    model, batch = build(name), make_batch()
    for part in model.parts():
        for parameter in model.parameters():
            parameter.grad = None
        for step in range(6):  # random subsets need a few draws to touch all
            next(losses for at, losses in losses_of(model, batch, 100 + step) if at == part)["total"].backward()
        reached = {id(p) for p in model.parameters() if p.grad is not None and p.grad.abs().max() > 0}
        missing = [n for n, p in model.named_parameters() if id(p) not in reached and p.requires_grad]
        assert not missing
        assert reached == {id(p) for p in model.parts()[part]}


@pytest.mark.parametrize("name", EMBEDDING)
def test_an_embedding_is_one_row_of_numbers_for_each_row(name: str) -> None:
    model, batch = build(name), make_batch()
    whole = model.embed(batch)
    assert whole.ndim == 2
    assert len(whole) == 6
    for m in SHAPES.modalities:
        assert model.embed(batch.only([m])).shape == whole.shape


@pytest.mark.parametrize("name", MODELS)
def test_weights_survive_safetensors(name: str) -> None:
    model, batch = build(name), make_batch()
    kind = MODELS[name]
    torch.manual_seed(99)
    other = kind(kind.Config(**SMALL.get(name, {})), SHAPES)
    other.load_state_dict(load(save({key: value.contiguous() for key, value in model.state_dict().items()})))
    torch.testing.assert_close(answers(other, batch), answers(model, batch))


@pytest.mark.parametrize("name", GRADIENT)
def test_a_few_steps_on_one_batch_lower_the_loss(name: str) -> None:
    for part in build(name).parts():
        model, batch = build(name), make_batch()
        optimiser = torch.optim.Adam(model.parts()[part], 3e-3)
        seen = []
        for _ in range(12):
            loss = next(losses for at, losses in losses_of(model, batch, 1000) if at == part)["total"]
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            seen.append(float(loss.detach()))
        assert seen[-1] < seen[0]


OTHER_SETTINGS = [
    *[(name, key, value) for name in ("ae", *GAUSSIAN) for key, value in
      (("width", 8), ("latent_dim", 3), ("halvings", 2), ("spatial_latent", False), ("normalise", False))],
    *[(name, key, value) for name in GAUSSIAN for key, value in
      (("beta", 3.0), ("warmup_steps", 7), ("likelihood", "normal"), ("scale", 0.3))],
    ("mvae", "n_subsets", 0), ("mopoe", "n_subsets", 2), ("mvtcae", "alpha", 0.9), ("jmvae", "alpha", 2.0),
    ("mmvae", "n_samples", 3), ("mmvae", "estimator", "iwae"),
    ("mmvae_plus", "n_samples", 3),
    *[(name, key, value) for name in PRIVATE for key, value in (("private_dim", 2), ("spatial_private", True))],
    ("mvae", "cross_weight", 0.0), ("ae", "cross_weight", 0.0), ("ae", "tie_weight", 5.0), ("ae", "error", "squared"),
    ("unet", "width", 8), ("unet", "halvings", 2), ("unet", "normalise", False),
    ("unet", "given", ("T1",)), ("unet", "target", ("T2",)),
    ("dense_ae", "code", 5),
    *[(name, key, value) for name in ADVERSARIAL for key, value in
      (("width", 8), ("objective", "minmax"), ("discriminator_width", 8), ("discriminator_halvings", 1))],
    ("pix2pix", "halvings", 2), ("pix2pix", "given", ("T1",)), ("pix2pix", "target", ("T2",)),
    ("pix2pix", "l1_weight", 1.0), ("pix2pix", "normalise", False),
    ("cyclegan", "source", "CT"), ("cyclegan", "target", "CT"), ("cyclegan", "halvings", 2),
    ("cyclegan", "cycle_weight", 1.0), ("cyclegan", "identity_weight", 0.0), ("cyclegan", "pool", 1),
    ("unit", "latent_dim", 3), ("unit", "halvings", 2), ("unit", "n_shared", 1), ("unit", "n_scales", 1),
    ("unit", "self_weight", 1.0), ("unit", "cycle_weight", 1.0), ("unit", "code_weight", 1.0),
    *[("vae_gan", key, value) for key, value in
      (("latent_dim", 3), ("halvings", 2), ("spatial_latent", False), ("normalise", False), ("beta", 3.0),
       ("warmup_steps", 7),
       ("likelihood", "laplace"), ("scale", 0.3), ("adversarial_weight", 5.0))],
    *[("mm_synthesis", key, value) for key, value in
      (("width", 8), ("latent_dim", 3), ("halvings", 2), ("fusion", "mean"), ("n_subsets", 0), ("rebuild", 1.0),
       ("tie_weight", 5.0))],
    *[("hemis", key, value) for key, value in
      (("width", 8), ("latent_dim", 3), ("halvings", 2), ("rebuild", 1.0), ("normalise", False))],
    *[("mhvae", key, value) for key, value in (("width", 8), ("latent_dim", 3), ("levels", 2), ("scale", 0.3))],
    *[(name, key, value) for name in ("pca", "pls", "cca") for key, value in
      (("components", 2), ("pixels", 16), ("slices", 8))],
    ("pls", "kept", 2), ("cca", "kept", 2), ("cca", "ridge", 0.9),
    *[("contrastive", key, value) for key, value in
      (("objective", "triplet"), ("latent_dim", 3), ("width", 8), ("halvings", 2), ("temperature", 0.5), ("near", 9))],
]  # fmt: skip


def total_of(model: Model) -> float:
    return sum(float(losses["total"].detach()) for _, losses in losses_of(model, make_batch(), 5))


@pytest.mark.parametrize(("name", "key", "value"), OTHER_SETTINGS)
def test_every_setting_changes_the_loss(name: str, key: str, value: Any) -> None:
    assert total_of(build(name, **{key: value})) != total_of(build(name))


UNDER_OTHERS = [  # settings that count beside others only
    ("contrastive", "margin", 0.9, {"objective": "triplet"}),
    ("mmvae_plus", "estimator", "iwae", {"n_samples": 2}),
    ("mhvae", "null_steps", 1, {"warmup_steps": 9}),
    ("mhvae", "warmup_steps", 9, {"null_steps": 1}),
    ("mhvae", "beta", 3.0, {"null_steps": 1}),
]


@pytest.mark.parametrize(("name", "key", "value", "beside"), UNDER_OTHERS)
def test_a_setting_beside_others_changes_the_loss(name: str, key: str, value: Any, beside: dict[str, Any]) -> None:
    assert total_of(build(name, **beside, **{key: value})) != total_of(build(name, **beside))


def test_no_setting_is_left_out_of_the_tests_above() -> None:
    declared = {(name, key) for name, kind in MODELS.items() for key in kind.Config.model_fields}
    assert declared == {(name, key) for name, key, *_ in (*OTHER_SETTINGS, *UNDER_OTHERS)}


@pytest.mark.parametrize("name", ["ae", "vae_gan", *GAUSSIAN])
def test_the_latent_may_be_one_vector(name: str) -> None:
    model, batch = build(name, spatial_latent=False), make_batch()
    assert model.encode(batch).mean.ndim == 2
    assert synthesised(model, batch)


@pytest.mark.parametrize("name", [n for n, kind in MODELS.items() if kind.can_decode])
def test_a_code_can_be_decoded_into_every_modality(name: str) -> None:
    model, batch = build(name), make_batch()
    images = model.decode(model.encode(batch).sample(), SHAPES.modalities)
    assert {m: image.shape for m, image in images.items()} == {m: (6, 1, *SHAPES.size) for m in SHAPES.modalities}


@pytest.mark.parametrize("name", [n for n, kind in MODELS.items() if not kind.can_decode])
def test_what_cannot_decode_says_so(name: str) -> None:
    with pytest.raises(InvalidConfigError, match="no code"):
        build(name).decode(torch.zeros(1, 2), ["T1"])


@pytest.mark.parametrize("name", [name for name in MODELS if name not in EMBEDDING])
def test_a_baseline_has_no_code(name: str) -> None:
    calls: list[Callable[[Batch], object]] = [build(name).encode, build(name).embed]
    for call in calls:
        with pytest.raises(InvalidConfigError, match="no code"):
            call(make_batch())


ALONE = [*(name for name in FITTED if name not in ("pls", "cca")), "ae", "vae_gan", *FINE, *GAUSSIAN]


@pytest.mark.parametrize("name", ALONE)
def test_one_modality_alone_is_enough_to_build_and_learn(name: str) -> None:
    shapes = Shapes(("T1",), SHAPES.size, SHAPES.n_positions)
    model = MODELS[name](MODELS[name].Config(**SMALL.get(name, {})), shapes)
    batch = make_batch().only(["T1"])
    if not model.parts():
        model.fit([batch])
    assert all(torch.isfinite(losses["total"]) for _, losses in losses_of(model, batch, 3))
