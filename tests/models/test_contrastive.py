"""Similarity learning, against hand calculations and scikit-learn's neighbours."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from core.errors import InvalidConfigError
from core.models import MODELS
from core.models.base import Batch, Shapes
from core.models.terms import far_apart
from tests.models.test_contract import SHAPES, build, make_batch


def two_cases(n_slices: int = 4) -> Batch:
    """Neighbouring slices of two cases, all modalities there."""
    batch = make_batch(2 * n_slices)
    for m in batch.x:
        batch.present[m][:] = True
    batch.case_index[:] = torch.arange(2 * n_slices) // n_slices
    batch.position[:] = torch.arange(2 * n_slices) % n_slices
    return batch


def infonce_by_hand(u: torch.Tensor, v: torch.Tensor, negatives: torch.Tensor, temperature: float) -> float:
    n, total = len(u), 0.0
    for i in range(n):
        for a, b in ((u, v), (v, u)):
            rivals = [math.exp(float(a[i] @ b[j]) / temperature) for j in range(n) if j == i or negatives[i, j]]
            total -= math.log(math.exp(float(a[i] @ b[i]) / temperature) / sum(rivals))
    return total / (2 * n)


def test_the_loss_is_the_sum_over_pairs_of_infonce_by_hand() -> None:
    model, batch = build("contrastive", temperature=0.2, near=1), two_cases()
    units = {m: u.detach() for m, u in model.units(batch).items()}  # type: ignore[operator]
    negatives = far_apart(batch, near=1)
    pairs = [("CT", "T1"), ("CT", "T2"), ("T1", "T2")]
    expected = sum(infonce_by_hand(units[a], units[b], negatives, 0.2) for a, b in pairs)
    losses = model.loss(batch, "model", 0)
    assert float(losses["total"].detach()) == pytest.approx(expected, rel=1e-4)
    assert float(losses["temperature"]) == pytest.approx(0.2, rel=1e-5)


def test_a_pair_counts_the_rows_that_have_both() -> None:
    model, batch = build("contrastive"), make_batch()
    kept = [0, 1, 3, 4, 5]  # row 2 lacks CT
    both = Batch(
        {m: batch.x[m][kept] for m in ("CT", "T1")},
        {m: batch.present[m][kept] for m in ("CT", "T1")},
        batch.mask[kept],
        batch.case_index[kept],
        batch.position[kept],
    )
    torch.testing.assert_close(model.loss(batch.only(("CT", "T1")), "model", 0), model.loss(both, "model", 0))


def test_neighbouring_slices_are_pushed_apart_only_where_near_is_0() -> None:
    batch = two_cases(2)  # the only other slice of a case is its neighbour
    batch.case_index[:] = 0
    batch.position[:] = torch.tensor([0, 1, 0, 1])
    lenient = build("contrastive", near=1).loss(batch, "model", 0)["total"]
    strict = build("contrastive", near=0).loss(batch, "model", 0)["total"]
    assert float(lenient.detach()) == pytest.approx(0, abs=1e-6)
    assert float(strict.detach()) > 0.1


def test_the_temperature_is_learnt_and_stops_at_its_coldest() -> None:
    model, batch = build("contrastive"), make_batch()
    model.loss(batch, "model", 0)["total"].backward()
    sharpness = model.get_parameter("log_sharpness")
    assert sharpness.grad is not None
    assert float(sharpness.grad.abs()) > 0
    sharpness.data.fill_(99.0)
    assert float(model.loss(batch, "model", 0)["temperature"]) == pytest.approx(0.01)


def test_codes_are_unit_vectors_and_several_point_to_their_middle() -> None:
    model, batch = build("contrastive"), two_cases()
    codes = {m: model.embed(batch.only([m])) for m in SHAPES.modalities}
    for code in codes.values():
        torch.testing.assert_close(code.norm(dim=1), torch.ones(len(code)))
    torch.testing.assert_close(model.embed(batch.only(["CT", "T2"])), F.normalize(codes["CT"] + codes["T2"]))


@pytest.mark.parametrize("objective", ["infonce", "triplet"])
def test_training_makes_a_slice_find_itself_in_another_modality(objective: str) -> None:
    model, batch = build("contrastive", objective=objective, width=8, near=0), two_cases(6)
    for m in ("T1", "T2"):  # the same anatomy in another contrast
        batch.x[m] = 1 - batch.x["CT"] * (0.5 if m == "T1" else 1.0)
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)

    def n_found() -> int:
        with torch.no_grad():
            found = model.embed(batch.only(["CT"])) @ model.embed(batch.only(["T1"])).T
        return int((found.argmax(1) == torch.arange(12)).sum())

    before = n_found()
    for step in range(60):
        loss = model.loss(batch, "model", step)["total"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert n_found() > max(before, 9)


def test_one_modality_has_nothing_to_be_compared_with() -> None:
    kind = MODELS["contrastive"]
    with pytest.raises(InvalidConfigError, match="two at least"):
        kind(kind.Config(), Shapes(("T1",), (16, 24), 4))
