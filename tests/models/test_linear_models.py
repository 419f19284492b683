"""PCA, PLS and CCA against Gaussian conditioning and scikit-learn."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from sklearn import cross_decomposition, decomposition

from core.errors import InvalidConfigError
from core.models import MODELS
from core.models.base import Batch, Shapes
from core.models.linear_code import LinearCode, shrunken
from core.models.linear_sets import agreeing, reduce, shares
from tests.models.test_contract import rows

SHAPES = Shapes(("CT", "T1", "T2"), (4, 5), 3)
N_PIXELS = 20


def drawn(n: int, seed: int = 0, factors: int = 3, noise: float = 0.05) -> Batch:
    """Slices that hang on a few numbers, which all modalities know, and a little noise."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(0, 1, (3, factors, N_PIXELS))
    z = rng.normal(0, 1, (n, factors)) * np.linspace(1, 0.5, factors)
    x = {
        m: torch.from_numpy(0.5 + z @ mixing[at] * 0.1 + rng.normal(0, noise, (n, N_PIXELS))).float().view(n, 1, 4, 5)
        for at, m in enumerate(SHAPES.modalities)
    }
    present = {m: torch.ones(n, dtype=torch.bool) for m in x}
    mask = torch.ones(n, 1, 4, 5, dtype=torch.bool)
    return Batch(x, present, mask, torch.zeros(n, dtype=torch.long), torch.arange(n) % 3)


def without(batch: Batch, modality: str, chosen: slice) -> Batch:
    batch.present[modality][chosen] = False
    batch.x[modality][chosen] = 0
    return batch


def fitted(name: str, *batches: Batch, shapes: Shapes = SHAPES, **settings: object) -> LinearCode:
    model = MODELS[name](MODELS[name].Config(**settings), shapes)
    model.fit(iter(batches))
    assert isinstance(model, LinearCode)
    return model


def flat(batch: Batch, *modalities: str) -> np.ndarray:
    return np.concatenate([batch.x[m].flatten(1).double().numpy() for m in modalities], 1)


def test_pca_is_the_conditional_mean_of_its_own_normal_distribution() -> None:
    model, batch = fitted("pca", drawn(60), components=4), drawn(5, seed=1)
    w = model.loading.double().flatten(0, 1).numpy()
    noise, mean = float(model.noise), model.mean.double().flatten().numpy()
    covariance = w @ w.T + noise * np.eye(len(w))
    given, target = np.arange(20, 60), np.arange(20)  # T1 and T2 -> CT
    gain = covariance[np.ix_(target, given)] @ np.linalg.inv(covariance[np.ix_(given, given)])
    expected = mean[target] + (flat(batch, "T1", "T2") - mean[given]) @ gain.T
    made = model.synthesise(batch.only(["T1", "T2"]), ["CT"])["CT"]
    np.testing.assert_allclose(made.flatten(1).numpy(), expected, atol=1e-5)
    posterior = model.encode(batch.only(["T1", "T2"]))
    known = np.eye(4) - w[given].T @ np.linalg.inv(covariance[np.ix_(given, given)]) @ w[given]
    np.testing.assert_allclose(posterior.log_var.exp()[0].numpy(), np.diag(known), rtol=1e-4)


def test_pca_given_everything_is_scikit_learns_shrunk_by_the_noise() -> None:
    train = drawn(60)
    model, theirs = fitted("pca", train, components=4), decomposition.PCA(4).fit(flat(train, *SHAPES.modalities))
    left = (flat(train, *SHAPES.modalities).var(0, ddof=1).sum() - theirs.explained_variance_.sum()) / (60 - 4)
    assert float(model.noise) == pytest.approx(left, rel=1e-4)
    batch = drawn(5, seed=1)
    variance = theirs.explained_variance_
    expected = theirs.transform(flat(batch, *SHAPES.modalities)) * np.sqrt(variance - left) / variance
    found = model.embed(batch).double().numpy()
    np.testing.assert_allclose(np.abs(found), np.abs(expected), rtol=1e-3, atol=1e-4)  # a direction has no sign


def test_pca_learns_from_slices_that_lack_a_modality() -> None:
    whole, judged = drawn(90), drawn(40, seed=1)
    holes = without(without(drawn(90), "CT", slice(0, 40)), "T2", slice(50, 80))
    errors = []
    for train in (whole, holes, rows(holes, slice(40, 50))):  # the last: only the slices that lack nothing
        made = fitted("pca", train, components=3).synthesise(judged.only(["T1"]), ["CT"])["CT"]
        errors.append(float((made - judged.x["CT"]).abs().mean()))
    assert errors[1] < 1.1 * errors[0]
    assert errors[1] < errors[2]


@pytest.mark.parametrize(
    ("ridge", "theirs"), [(1.0, cross_decomposition.PLSCanonical), (1e-9, cross_decomposition.CCA)]
)
def test_two_sets_agree_as_in_scikit_learn(ridge: float, theirs: type) -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 1, (200, 3))
    x, y = (shared @ rng.normal(0, 1, (3, 7)) + rng.normal(0, 0.8, (200, 7)) for _ in range(2))
    sets = [reduce(one, 7, ridge).scores for one in (x, y)]
    found = agreeing(sets, np.ones((2, 200), bool), 4)
    expected = theirs(4, scale=False, max_iter=20_000, tol=1e-12).fit(x, y)
    for ours, other in zip(found.scores, expected.transform(x, y), strict=True):
        together = [abs(np.corrcoef(ours[:, k], other[:, k])[0, 1]) for k in range(4)]
        np.testing.assert_allclose(together, 1, atol=1e-4)


def test_scores_are_those_of_the_rotations_and_explain_the_sets() -> None:
    rng = np.random.default_rng(1)
    sets = [rng.normal(0, 1, (50, 4)) for _ in range(3)]
    sets = [x - x.mean(0) for x in sets]
    found = agreeing(sets, np.ones((3, 50), bool), 4)
    for x, score, rotation, load in zip(sets, found.scores, found.rotations, found.loadings, strict=True):
        np.testing.assert_allclose(x @ rotation, score, atol=1e-8)
        np.testing.assert_allclose(score.std(0, ddof=1), 1)
        np.testing.assert_allclose(score.T @ score / 49, np.eye(4), atol=1e-8)
        np.testing.assert_allclose(score @ load.T, x, atol=1e-8)  # all components together leave nothing out


def test_the_code_of_two_sets_is_that_of_probabilistic_cca() -> None:
    """E[z | x] = P^(1/2) U'(x - mean) with P the correlations, and the target follows from it (Bach & Jordan 2005)."""
    shapes = Shapes(("CT", "T1"), (4, 5), 3)
    train, batch = drawn(400).only(shapes.modalities), drawn(5, seed=1).only(shapes.modalities)
    model = fitted("cca", train, shapes=shapes, components=3, kept=20, ridge=1e-6)
    x, y = flat(train, "CT"), flat(train, "T1")
    theirs = cross_decomposition.CCA(3, scale=False, max_iter=20_000, tol=1e-10).fit(x, y)
    ct, t1 = theirs.transform(x, y)
    rho = [np.corrcoef(ct[:, k], t1[:, k])[0, 1] for k in range(3)]
    score = theirs.transform(flat(batch, "CT")) / ct.std(0, ddof=1)
    expected = score * np.sqrt(rho)
    np.testing.assert_allclose(np.abs(model.embed(batch.only(["CT"])).numpy()), np.abs(expected), atol=0.02)
    t1_load = (y - y.mean(0)).T @ t1 / (t1**2).sum(0) * t1.std(0, ddof=1)
    made = model.synthesise(batch.only(["CT"]), ["T1"])["T1"].flatten(1).numpy()
    np.testing.assert_allclose(made, y.mean(0) + (score * rho) @ t1_load.T, atol=0.02)


def test_shares_of_one_common_factor_are_found() -> None:
    rng = np.random.default_rng(2)
    true = np.array([0.9, 0.7, 0.5, -0.6])
    z = rng.normal(0, 1, 60_000)
    scores = np.stack([s * z + np.sqrt(1 - s**2) * rng.normal(0, 1, 60_000) for s in true])[:, :, None]
    present = rng.random(scores.shape[:2]) > 0.3
    found = shares(scores * present[..., None], present)[:, 0]
    np.testing.assert_allclose(found, true, atol=0.02)


def test_two_sets_share_the_root_of_their_correlation() -> None:
    rng = np.random.default_rng(3)
    a = rng.normal(0, 1, 500)
    b = a + rng.normal(0, 1, 500)
    scores = np.stack([a, b])[:, :, None]
    r = (a @ b) / np.sqrt((a @ a) * (b @ b))
    np.testing.assert_allclose(shares(scores, np.ones((2, 500), bool))[:, 0], np.sqrt(r), rtol=1e-6)


@pytest.mark.parametrize("name", ["pca", "pls", "cca"])
def test_another_modality_is_made_better_than_by_its_mean(name: str) -> None:
    train, judged = drawn(90), drawn(40, seed=1)
    model = fitted(name, train, components=3)
    for given, target in ((["T1"], "CT"), (["T1", "T2"], "CT"), (["CT"], "T2")):
        made = model.synthesise(judged.only(given), [target])[target]
        truth = judged.x[target]
        error = float((made - truth).abs().mean())
        assert error < 0.6 * float((train.x[target].mean(0) - truth).abs().mean())
    one, two = (
        float((model.synthesise(judged.only(g), ["CT"])["CT"] - judged.x["CT"]).square().mean())
        for g in (["T1"], ["T1", "T2"])
    )
    assert two < one


@pytest.mark.parametrize("name", ["pca", "pls", "cca"])
def test_codes_of_one_slice_lie_close_whatever_the_modality(name: str) -> None:
    model, judged = fitted(name, drawn(90), components=3), drawn(40, seed=1)
    first, second = (model.embed(judged.only([m])) for m in ("CT", "T2"))
    nearest = torch.cdist(first, second).argmin(1)
    assert float((nearest == torch.arange(40)).float().mean()) > 0.4  # by chance: 0.025


@pytest.mark.parametrize("name", ["pca", "pls", "cca"])
@pytest.mark.parametrize("n", [2, 3])
def test_two_or_three_slices_are_enough_for_finite_images(name: str, n: int) -> None:
    model, batch = fitted(name, drawn(n)), drawn(4, seed=1)
    made = model.synthesise(batch.only(["T1"]), SHAPES.modalities)
    assert all(torch.isfinite(image).all() for image in made.values())
    assert all(float(image.abs().max()) < 5 for image in made.values())


@pytest.mark.parametrize("name", ["pca", "pls", "cca"])
def test_a_modality_that_no_slice_has_is_no_obstacle(name: str) -> None:
    model, batch = fitted(name, without(drawn(20), "CT", slice(None))), drawn(4, seed=1)
    assert torch.isfinite(model.synthesise(batch.only(["T1"]), ["T2"])["T2"]).all()
    assert torch.isfinite(model.synthesise(batch.only(["T1", "CT"]), ["CT"])["CT"]).all()


def test_what_is_kept_has_a_limit_and_leaves_out_empty_slices() -> None:
    def many() -> Iterator[Batch]:
        for number in range(50):
            batch = drawn(6, seed=number)
            batch.mask[0] = False
            for m in batch.x:
                batch.x[m][0] = 77.0
                batch.x[m][1:] = number / 50
            yield batch

    model = MODELS["pca"](MODELS["pca"].Config(slices=40), SHAPES)
    assert isinstance(model, LinearCode)
    sample = model._sample(many())
    assert sample.x.shape == (3, 40, N_PIXELS)
    assert sample.x.max() < 1
    batches = sample.x[0, :, 0] * 50
    assert 17 < batches.mean() < 32  # late slices have the chance of early ones: 24.5 on average, deviation 2.2
    assert (batches > 40).any() and (batches < 10).any()
    again = model._sample(many())
    np.testing.assert_array_equal(again.x, sample.x)


def test_images_are_shrunk_by_areas_and_grown_to_their_size() -> None:
    assert shrunken((91, 109), 2500) == (46, 55)
    assert shrunken((91, 109), 100_000) == (91, 109)
    assert shrunken((8, 8, 8), 64) == (4, 4, 4)
    model = MODELS["pca"](MODELS["pca"].Config(pixels=16), Shapes(("T1",), (8, 8), 3))
    assert isinstance(model, LinearCode)
    ramp = torch.arange(8.0).view(1, 1, 8, 1).expand(1, 1, 8, 8)
    small = model._shrunk(ramp)
    assert small.view(4, 4)[:, 0].tolist() == [0.5, 2.5, 4.5, 6.5]
    torch.testing.assert_close(model._grown(small)[0, 0, 1:-1], ramp[0, 0, 1:-1])


def test_nothing_to_learn_from_is_said() -> None:
    batch = drawn(3)
    batch.mask[:] = False
    with pytest.raises(InvalidConfigError, match="At least two"):
        fitted("pca", batch)


@pytest.mark.parametrize("name", ["pls", "cca"])
def test_what_compares_modalities_needs_two(name: str) -> None:
    with pytest.raises(InvalidConfigError, match="two at least"):
        MODELS[name](MODELS[name].Config(), Shapes(("T1",), (4, 5), 3))
