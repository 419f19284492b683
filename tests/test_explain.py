"""Explanations of trained runs: what is known beforehand of linear models, of what is absent, of covered places."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from core.attribution import TOLERANCE, blank_of, followed, integrated_gradients, occlusion
from core.batches import make_batch
from core.errors import InvalidConfigError, NotFoundError
from core.explain import Question, explain, grown, precision_maps, region_of
from core.models import MODELS
from core.models.base import PRIOR, Batch, Shapes
from core.models.formulas import Gaussian, precision_shares, product_of_experts
from core.progress import silent
from tests.models.test_contract import SHAPES, build
from tests.models.test_contract import make_batch as phantom_batch
from tests.tiny_run import Blend, tiny

__all__ = ["tiny"]
PLACE = (6, 12, 3)
ASKED = Question("case-0", ("T1", "T2"), "CT", PLACE, side_mm=5.0)


def one_row(batch: Batch, row: int = 0) -> Batch:
    from core.batches import take

    return take(batch, torch.tensor([row]))


def own_blank(dataset, case_id: str, modality: str, k: int) -> np.ndarray:
    """Found anew, in numpy: even inside the mask, 0 outside."""
    image, inside = dataset.volume(case_id, modality)[:, :, k], dataset.mask(case_id)[:, :, k]
    return np.where(inside, image[inside].mean(), 0)


def test_of_a_linear_model_every_pixel_gets_its_weight_times_its_distance_from_the_blank(tiny):
    found = explain(tiny, ASKED)
    region = found.region
    for m in ("T1", "T2"):
        image = np.asarray(tiny.dataset.volume("case-0", m)[:, :, 3])
        weight = np.where(region, 0.5 / region.sum(), 0)  # the mean of two given images, the mean over the region
        expected = weight * (image - own_blank(tiny.dataset, "case-0", m, 3))
        np.testing.assert_allclose(found.maps[m], expected, atol=1e-7)
    assert found.gap == pytest.approx(0, abs=1e-4)


def test_the_value_is_the_mean_of_the_synthesis_in_the_region(tiny):
    found = explain(tiny, ASKED)
    both = [np.asarray(tiny.dataset.volume("case-0", m)[:, :, 3]) for m in ("T1", "T2")]
    assert found.value == pytest.approx(np.mean(both, axis=0)[found.region].mean(), abs=1e-6)
    assert sum(found.shares.values()) == pytest.approx(1)


@pytest.mark.parametrize("name", ["mvae", "unet", "linear", "mhvae", "mean_image"])
def test_attributions_add_up_to_the_change_from_the_blank(name):
    model, batch = build(name), one_row(phantom_batch(n=3)).only(("CT", "T1"))
    target = "T2" if model.supports(("CT", "T1"), "T2") else "CT"
    weight = torch.zeros(SHAPES.size)
    weight[4:9, 10:13] = 1 / 15

    def value(rows: Batch) -> torch.Tensor:
        return (model.synthesise(rows, [target])[target][:, 0] * weight).flatten(1).sum(1)

    blank = blank_of(batch)
    with torch.no_grad():
        change = float(value(batch) - value(replace(batch, x=blank)))
    found, gap = followed(value, batch, blank, change, silent)
    added = sum(float(image.sum()) for image in found.values())
    assert abs(gap) <= TOLERANCE
    assert added == pytest.approx(change, rel=TOLERANCE, abs=2e-4)


def test_what_is_absent_gets_nothing():
    model, batch = build("mvae"), one_row(phantom_batch(), 1)  # has no T2
    rubbish = replace(batch, x={m: torch.where(batch.present[m].view(-1, 1, 1, 1), x, 9.0) for m, x in batch.x.items()})

    def value(rows: Batch) -> torch.Tensor:
        return model.synthesise(rows, ["T2"])["T2"].flatten(1).mean(1)

    for found in (
        integrated_gradients(value, rubbish, blank_of(rubbish), 4),
        occlusion(value, rubbish, blank_of(rubbish), [6, 6]),
    ):
        assert not found["T2"].any()
        assert found["T1"].any()


def test_covering_finds_the_one_block_that_counts():
    batch = one_row(phantom_batch())
    batch = replace(batch, mask=torch.ones_like(batch.mask))

    def value(rows: Batch) -> torch.Tensor:
        return rows.x["CT"][:, 0, 7, 9]

    found = occlusion(value, batch, blank_of(batch), [4, 5])
    marked = np.argwhere(found["CT"][0, 0].numpy())
    assert (marked.min(0).tolist(), marked.max(0).tolist()) == ([4, 5], [7, 9])
    expected = float(batch.x["CT"][0, 0, 7, 9] - batch.x["CT"].mean())
    np.testing.assert_allclose(found["CT"][0, 0, 4:8, 5:10], expected, atol=1e-6)
    assert not found["T1"].any()


def test_covering_agrees_with_the_slopes_of_a_linear_model(tiny):
    whole = replace(ASKED, side_mm=200)
    slopes, covered = explain(tiny, whole), explain(tiny, replace(whole, method="occlusion"))
    sides = [max(1, round(12 / mm)) for mm in tiny.dataset.spacing_mm[:2]]
    i, j = (at // side * side for at, side in zip(PLACE, sides, strict=False))
    block = slopes.maps["T1"][i : i + sides[0], j : j + sides[1]].sum()
    assert covered.maps["T1"][PLACE[:2]] == pytest.approx(block, abs=1e-6)


def test_a_number_of_the_code_is_traced_too(tiny):
    found = explain(tiny, replace(ASKED, dimension=0))
    assert found.region is None
    means = [np.asarray(tiny.dataset.volume("case-0", m)[:, :, 3]).mean() for m in ("T1", "T2")]
    assert found.value == pytest.approx(np.mean(means), abs=1e-6)
    with pytest.raises(InvalidConfigError, match="from 1 to 1"):
        explain(tiny, replace(ASKED, dimension=1))


def test_the_square_is_measured_in_millimetres_and_stays_inside(tiny):
    dataset = tiny.dataset
    region = region_of(tiny, replace(ASKED, side_mm=10.0))
    reach = [int(5 / mm) for mm in dataset.spacing_mm[:2]]
    assert np.argwhere(region).min(0).tolist() == [6 - reach[0], 12 - reach[1]]
    assert region.sum() == (2 * reach[0] + 1) * (2 * reach[1] + 1)
    assert region_of(tiny, replace(ASKED, side_mm=0.5)).sum() == 1
    assert region_of(tiny, replace(ASKED, position=(0, 0, 0), side_mm=8)).sum() > 1
    with pytest.raises(InvalidConfigError, match="outside"):
        region_of(tiny, replace(ASKED, position=(0, 99, 0)))


def test_a_marked_region_is_its_voxels_in_the_slice(tiny):
    asked = replace(ASKED, region="T1_fov")
    marked = np.asarray(tiny.dataset.label_map("case-0", "T1_fov")[:, :, 3]) > 0
    np.testing.assert_array_equal(region_of(tiny, asked), marked)
    with pytest.raises(NotFoundError):
        region_of(tiny, replace(ASKED, region="lesion"))


def test_shares_of_the_precision_are_what_they_are_by_hand():
    first, second = (
        Gaussian(torch.zeros(1, 1), torch.log(torch.tensor([[0.5]]))),
        Gaussian(torch.ones(1, 1), torch.zeros(1, 1)),
    )
    yes, no = torch.tensor([True]), torch.tensor([False])
    parts, prior = precision_shares([first, second], [yes, yes])
    assert [float(part) for part in (*parts, prior)] == pytest.approx([0.5, 0.25, 0.25])
    parts, prior = precision_shares([first, second], [yes, no], prior=False)
    assert [float(part) for part in (*parts, prior)] == pytest.approx([1, 0, 0])
    assert float(product_of_experts([first, second], [yes, yes]).mean) == pytest.approx(0.25)


@pytest.mark.parametrize(
    "name", [name for name, kind in MODELS.items() if kind.multiplies_experts and not kind.is_fitted]
)
def test_shares_are_one_together_and_none_of_what_is_absent(name):
    model, batch = build(name), phantom_batch().only(("T1", "T2"))
    with torch.no_grad():
        found = model.precision_shares(batch)
        code = model.encode(batch).mean
    torch.testing.assert_close(sum(found.values()), torch.ones_like(code))
    assert set(found) - {PRIOR} == {"T1", "T2"}
    assert not found["T2"][1].any()
    assert found["T2"][0].any()


def test_models_without_a_product_of_experts_have_no_shares():
    others = [name for name, kind in MODELS.items() if kind.makes_images and not kind.multiplies_experts]
    assert {"mmvae", "unet", "hemis"} <= set(others)
    for name in ("mmvae", "mmvae_plus", "unet", "hemis"):
        assert build(name).precision_shares(phantom_batch()) == {}


def test_a_place_of_the_code_covers_the_pixels_that_it_was_halved_from():
    share = torch.arange(15.0).view(1, 3, 5)
    wide = grown(share, Shapes(("A",), (11, 18), 5))[0, 0]
    assert wide.shape == (11, 18)
    for i, j in ((0, 0), (4, 3), (10, 17), (7, 8)):
        assert wide[i, j] == share[0, i // 4, j // 4]
    assert grown(torch.tensor([0.25]), Shapes(("A",), (3, 4), 5)).shape == (1, 1, 3, 4)


def test_a_run_without_experts_shows_no_shares_and_one_with_them_a_map(tiny, workspace, monkeypatch):
    assert precision_maps(tiny, ASKED) == {}
    kind = MODELS["mvae"]
    torch.manual_seed(0)
    model = kind(kind.Config(width=4, latent_dim=3), tiny.model.shapes).eval()
    loaded = replace(tiny, model=model)
    found = precision_maps(loaded, ASKED)
    assert {m: image.shape for m, image in found.items()} == dict.fromkeys(("T1", "T2", PRIOR), tiny.dataset.shape[:2])
    np.testing.assert_allclose(sum(found.values()), 1, atol=1e-5)
    batch = make_batch(tiny.dataset, [("case-0", 3)], model.shapes.only(("T1", "T2")))
    experts = model.experts(batch)
    precision = {m: torch.exp(-e.log_var.double()) for m, e in experts.items()}
    by_hand = (precision["T1"] / (1 + precision["T1"] + precision["T2"])).mean(1)[0].detach()
    np.testing.assert_allclose(found["T1"][5, 9], by_hand[2, 4], rtol=1e-4)


def test_stacks_and_patches_are_traced_back_completely(tiny, monkeypatch):
    stack = Shapes(tiny.modalities, tiny.dataset.shape[:2], tiny.dataset.shape[2], channels=3)
    patch = Shapes(tiny.modalities, (9, 8, 5), tiny.dataset.shape[2])
    for shapes in (stack, patch):
        loaded = replace(tiny, model=Blend(Blend.Config(), shapes))
        found = explain(loaded, ASKED)
        added = sum(image.sum() for image in found.maps.values())
        assert added == pytest.approx(found.value - found.blank, abs=1e-6)
        assert all(image.shape == tiny.dataset.shape[:2] for image in found.maps.values())
        assert found.value == pytest.approx(explain(tiny, ASKED).value, abs=1e-6)
