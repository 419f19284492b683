"""What is particular to one model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from core.errors import InvalidConfigError
from core.models import MODELS
from core.models.base import Batch, Model, Shapes

SHAPES = Shapes(("FLAIR", "T1", "T2"), (16, 24), 4)


def build(name: str, **settings: object) -> Model:
    torch.manual_seed(0)
    kind = MODELS[name]
    return kind(kind.Config.model_validate(settings), SHAPES)


def full_batch(n: int = 4, shapes: Shapes = SHAPES) -> Batch:
    torch.manual_seed(1)
    x = {m: torch.rand(n, 1, *shapes.size) for m in shapes.modalities}
    present = {m: torch.ones(n, dtype=torch.bool) for m in shapes.modalities}
    return Batch(x, present, torch.ones(n, 1, *shapes.size, dtype=torch.bool), torch.arange(n), torch.arange(n))


def test_mvae_learns_from_all_from_each_alone_and_from_random_subsets() -> None:
    torch.manual_seed(0)
    subsets = [list(build("mvae", width=4, n_subsets=5)._subsets(["a", "b", "c"]))]
    assert subsets[0][:4] == [["a", "b", "c"], ["a"], ["b"], ["c"]]
    assert len(subsets[0]) == 9
    assert all(len(subset) == 2 for subset in subsets[0][4:])


def test_mvae_of_two_modalities_has_three_elbos() -> None:
    assert list(build("mvae", width=4)._subsets(["a", "b"])) == [["a", "b"], ["a"], ["b"]]


def test_mvae_loss_is_the_sum_of_its_elbos() -> None:
    model, batch = build("mvae", width=4, n_subsets=0, cross_weight=0, warmup_steps=0, beta=2.0), full_batch()
    torch.manual_seed(5)
    total = float(model.loss(batch, "model", 1)["total"].detach())
    torch.manual_seed(5)
    expected = 0.0
    for subset in (list(SHAPES.modalities), *[[m] for m in SHAPES.modalities]):
        posterior = model.encode(batch.only(subset))
        z = posterior.sample()
        for m, image in model.decode(z, subset).items():
            nll = -torch.distributions.Laplace(image, 0.03).log_prob(batch.x[m])
            expected += float(nll.detach().sum()) / batch.size
        expected += 2.0 * float(posterior.kl_to_standard_normal().detach().sum()) / batch.size
    assert total == pytest.approx(expected, rel=1e-5)


def test_more_modalities_make_the_mvae_surer() -> None:
    model, batch = build("mvae", width=4), full_batch()
    log_vars = [model.encode(batch.only(SHAPES.modalities[:n])).log_var for n in (1, 2, 3)]
    assert (log_vars[1] < log_vars[0]).all()
    assert (log_vars[2] < log_vars[1]).all()


def test_the_code_of_several_modalities_is_the_mean_of_their_codes() -> None:
    model, batch = build("ae", width=4), full_batch()
    codes = [model.encode(batch.only([m])).mean for m in ("T1", "T2")]
    torch.testing.assert_close(model.encode(batch.only(["T1", "T2"])).mean, (codes[0] + codes[1]) / 2)


def test_ae_without_cross_or_tie_is_one_autoencoder_for_each_modality() -> None:
    model, batch = build("ae", width=4, cross_weight=0, tie_weight=0, error="squared"), full_batch()
    expected = 0.0
    for m in SHAPES.modalities:
        image = model.synthesise(batch.only([m]), [m])[m]
        expected += float(((image.detach() - batch.x[m]) ** 2).sum()) / batch.size
    assert float(model.loss(batch, "model", 0)["total"].detach()) == pytest.approx(expected, rel=1e-5)


def test_the_tie_is_the_sum_of_squared_distances_between_pairs_of_codes() -> None:
    model, batch = build("ae", width=4), full_batch()
    codes = [model.encode(batch.only([m])).mean for m in SHAPES.modalities]
    pairs = [(0, 1), (0, 2), (1, 2)]
    expected = sum(float(((codes[a] - codes[b]) ** 2).sum().detach()) for a, b in pairs) / batch.size
    assert float(model.loss(batch, "model", 0)["tie"].detach()) == pytest.approx(expected, rel=1e-4)


def test_vae_and_dense_ae_rebuild_a_modality_from_itself_only() -> None:
    for name in ("vae", "dense_ae"):
        model = build(name)
        assert model.supports(("T1",), "T1")
        assert not model.supports(("T1",), "T2")
        assert not model.supports(("T1", "T2"), "T1")


def test_a_code_of_unshared_blocks_is_that_of_the_modality_where_it_stands() -> None:
    model, batch = build("dense_ae"), full_batch()
    code = model.embed(batch.only(["T1"]))
    assert code[:, :32].abs().max() == 0
    assert code[:, 32:64].abs().max() > 0
    assert code[:, 64:].abs().max() == 0


def test_unet_makes_any_target_that_is_not_given() -> None:
    model = build("unet", width=4)
    assert model.supports(("T1",), "T2")
    assert model.supports(("T1", "T2"), "FLAIR")
    assert not model.supports(("T1",), "T1")


def test_unet_can_be_restricted_to_one_mapping() -> None:
    model = build("unet", width=4, given="T1", target="T2")
    assert model.supports(("T1",), "T2")
    assert not model.supports(("FLAIR",), "T2")
    assert not model.supports(("T1", "FLAIR"), "T2")
    assert not model.supports(("T1",), "FLAIR")


def test_a_restricted_unet_does_not_look_at_other_modalities() -> None:
    model, batch = build("unet", width=4, given=("T1",), target=("T2",)), full_batch()
    before = model.loss(batch, "model", 0)["total"]
    batch.x["FLAIR"].add_(5.0)
    torch.testing.assert_close(model.loss(batch, "model", 0)["total"], before)


def test_unet_for_one_target_never_shows_it() -> None:
    model, batch = build("unet", width=4, target=("T2",)), full_batch(64)
    present = torch.stack([batch.present[m] for m in SHAPES.modalities])
    given = model._draw_given(present)
    assert not given[2].any()
    assert given[:2].any(0).all()
    assert given[:2].all(0).any()


@pytest.mark.parametrize(
    "settings", [{"given": ("CT",)}, {"given": ("T1",), "target": ("T1",)}, {"given": SHAPES.modalities}]
)
def test_a_mapping_that_cannot_be_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(InvalidConfigError):
        build("unet", **settings)


def test_dense_ae_equals_the_article_computation() -> None:
    """Against numpy: 8 x 8 images, 64 -> 32 -> 64, ReLU, sigmoid, mean squared error, Adam, whole batches."""
    shapes = Shapes(("image",), (8, 8), 1)
    torch.manual_seed(0)
    model = MODELS["dense_ae"](MODELS["dense_ae"].Config(), shapes)
    names = ["encoders.image.weight", "encoders.image.bias", "decoders.image.weight", "decoders.image.bias"]
    weights = [model.state_dict()[name].double().numpy().copy() for name in names]
    batch = full_batch(32, shapes)
    x = batch.x["image"].flatten(1).double().numpy()
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.0)
    adam = NumpyAdam(weights)
    for _ in range(5):
        loss = model.loss(batch, "model", 0)["total"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        expected, gradients = article_step(weights, x)
        adam.step(gradients)
        assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    for name, weight in zip(names, weights, strict=True):
        np.testing.assert_allclose(model.state_dict()[name].numpy(), weight, atol=1e-5)


def test_dense_ae_starts_as_keras_does() -> None:
    model = MODELS["dense_ae"](MODELS["dense_ae"].Config(), Shapes(("image",), (8, 8), 1))
    weight = model.state_dict()["encoders.image.weight"]
    limit = np.sqrt(6 / (64 + 32))
    assert 0.9 * limit < float(weight.abs().max()) <= limit
    assert model.state_dict()["encoders.image.bias"].abs().max() == 0


def article_step(weights: list[np.ndarray], x: np.ndarray) -> tuple[float, list[np.ndarray]]:
    """Loss and gradients, by hand."""
    w1, b1, w2, b2 = weights
    before = x @ w1.T + b1
    code = np.maximum(before, 0)
    output = 1 / (1 + np.exp(-(code @ w2.T + b2)))
    d_logit = 2 * (output - x) / x.size * output * (1 - output)
    d_before = (d_logit @ w2) * (before > 0)
    gradients = [d_before.T @ x, d_before.sum(0), d_logit.T @ code, d_logit.sum(0)]
    return float(((output - x) ** 2).mean()), gradients


class NumpyAdam:
    """Kingma & Ba 2015, algorithm 1, in place."""

    def __init__(self, weights: list[np.ndarray]) -> None:
        self.weights, self.t = weights, 0
        self.m = [np.zeros_like(w) for w in weights]
        self.v = [np.zeros_like(w) for w in weights]

    def step(self, gradients: list[np.ndarray]) -> None:
        self.t += 1
        for w, m, v, g in zip(self.weights, self.m, self.v, gradients, strict=True):
            m += 0.1 * (g - m)
            v += 0.001 * (g**2 - v)
            w -= 1e-3 * (m / (1 - 0.9**self.t)) / (np.sqrt(v / (1 - 0.999**self.t)) + 1e-8)
