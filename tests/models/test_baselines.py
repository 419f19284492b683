"""The baselines against numpy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression

from core.errors import InvalidConfigError
from core.models import MODELS
from core.models.base import Batch, Model, Shapes

SHAPES = Shapes(("CT", "T1", "T2"), (5, 7), 3)


def make_batch(seed: int, absent: tuple[str, ...] = ()) -> Batch:
    """Three slices of one case; T2 is a bent function of the others, with noise."""
    rng = np.random.default_rng(seed)
    ct, t1 = rng.uniform(0.1, 1, (2, 3, 1, 5, 7))
    t2 = 0.8 - 0.5 * t1 + 0.3 * ct**2 + rng.normal(0, 0.05, ct.shape)
    images = {"CT": ct, "T1": t1, "T2": t2}
    x = {m: torch.from_numpy(image).float() * (m not in absent) for m, image in images.items()}
    present = {m: torch.full((3,), m not in absent) for m in images}
    mask = torch.from_numpy(rng.random((3, 1, 5, 7)) > 0.4)
    return Batch(x, present, mask, torch.zeros(3, dtype=torch.long), torch.arange(3))


BATCHES = [make_batch(1), make_batch(2, ("CT",)), make_batch(3, ("T2",)), make_batch(4)]


def fitted(name: str) -> Model:
    model = MODELS[name](MODELS[name].Config(), SHAPES)
    model.fit(iter(BATCHES))
    return model


def masked(modality: str, batches: list[Batch]) -> np.ndarray:
    return np.concatenate([b.x[modality][b.mask].numpy() for b in batches])


def having(*modalities: str) -> list[Batch]:
    return [b for b in BATCHES if all(bool(b.present[m].all()) for m in modalities)]


@pytest.mark.parametrize("modality", SHAPES.modalities)
def test_constant_is_the_median_of_the_masked_training_voxels(modality: str) -> None:
    image = fitted("constant").synthesise(BATCHES[0].only([]), [modality])[modality]
    values, (constant,) = masked(modality, having(modality)), image.unique().tolist()
    assert (values < constant + 1e-4).mean() >= 0.5  # an even count has two middles: any value between them will do
    assert (values > constant - 1e-4).mean() >= 0.5


def test_constant_has_the_least_absolute_error_of_all_constants() -> None:
    values = masked("T2", having("T2"))
    best = float(fitted("constant").state_dict()["value"][2])
    errors = [np.abs(values - c).mean() for c in np.linspace(values.min(), values.max(), 1000)]
    assert np.abs(values - best).mean() <= min(errors) + 1e-6


@pytest.mark.parametrize("modality", SHAPES.modalities)
def test_mean_image_is_the_mean_of_the_cases_that_have_it(modality: str) -> None:
    image = fitted("mean_image").synthesise(BATCHES[1].only([]), [modality])[modality]
    expected = torch.stack([b.x[modality] for b in having(modality)]).mean(0)
    torch.testing.assert_close(image, expected)


def test_mean_image_goes_by_the_position_of_a_slice() -> None:
    model = fitted("mean_image")
    backwards = Batch({}, {}, BATCHES[0].mask, BATCHES[0].case_index, torch.tensor([2, 0, 1]))
    forwards = model.synthesise(BATCHES[0].only([]), ["T1"])["T1"]
    torch.testing.assert_close(model.synthesise(backwards, ["T1"])["T1"], forwards[[2, 0, 1]])


@pytest.mark.parametrize("given", [("T1",), ("CT",), ("CT", "T1")])
def test_linear_equals_scikit_learn_over_all_masked_voxels_of_the_cases_with_both(given: tuple[str, ...]) -> None:
    batches = having(*given, "T2")
    line = LinearRegression().fit(np.stack([masked(m, batches) for m in given], 1), masked("T2", batches))
    made = fitted("linear").synthesise(BATCHES[0].only(given), ["T2"])["T2"]
    inputs = np.stack([BATCHES[0].x[m].numpy().ravel() for m in given], 1)
    np.testing.assert_allclose(made.numpy().ravel(), line.predict(inputs), atol=1e-5)


def test_linear_with_nothing_given_is_the_mean() -> None:
    made = fitted("linear").synthesise(BATCHES[0].only([]), ["T2"])["T2"]
    assert made.unique().tolist() == pytest.approx([masked("T2", having("T2")).mean()], abs=1e-5)


def test_linear_takes_each_row_by_what_that_row_has() -> None:
    model, batch = fitted("linear"), make_batch(9)
    batch.present["CT"][1] = False
    mixed = model.synthesise(batch.only(["CT", "T1"]), ["T2"])["T2"]
    torch.testing.assert_close(mixed[1], model.synthesise(make_batch(9).only(["T1"]), ["T2"])["T2"][1])
    torch.testing.assert_close(mixed[0], model.synthesise(make_batch(9).only(["CT", "T1"]), ["T2"])["T2"][0])


def test_linear_falls_back_to_the_mean_where_no_case_has_both() -> None:
    model = MODELS["linear"](MODELS["linear"].Config(), SHAPES)
    without_ct = [make_batch(1, ("CT",)), make_batch(2, ("T2",))]
    model.fit(without_ct)
    made = model.synthesise(BATCHES[0].only(["CT"]), ["T2"])["T2"]
    assert made.unique().tolist() == pytest.approx([masked("T2", without_ct[:1]).mean()], abs=1e-5)


def test_linear_refuses_more_modalities_than_it_can_keep_patterns_of() -> None:
    with pytest.raises(InvalidConfigError, match="at most"):
        MODELS["linear"](MODELS["linear"].Config(), Shapes(tuple("abcdefghijk"), (4, 5), 2))


def test_a_second_fit_forgets_the_first() -> None:
    for name in ("constant", "mean_image", "linear"):
        model = fitted(name)
        before = {key: value.clone() for key, value in model.state_dict().items()}
        model.fit(iter(BATCHES))
        for key, value in model.state_dict().items():
            torch.testing.assert_close(value, before[key])
