"""Added terms, against hand calculations."""

from __future__ import annotations

import math

import pytest
import torch

from core.config import TrainConfig
from core.errors import InvalidConfigError
from core.models.terms import added_terms, far_apart, info_nce, triplet
from tests.models.test_contract import build, make_batch

U = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
V = torch.tensor([[0.6, 0.8], [0.0, 1.0]])
ALL = ~torch.eye(2, dtype=torch.bool)


def test_infonce_is_what_a_hand_finds() -> None:
    e = math.exp  # u.v / 0.5 = [[1.2, 0], [1.6, 2]]
    logs = [e(1.2) / (e(1.2) + 1), e(2) / (e(1.6) + e(2)), e(1.2) / (e(1.2) + e(1.6)), e(2) / (1 + e(2))]
    expected = -sum(math.log(value) for value in logs) / 4
    assert float(info_nce(U, V, ALL, 0.5)) == pytest.approx(expected, rel=1e-5)


def test_without_negatives_nothing_is_lost() -> None:
    none = torch.zeros_like(ALL)
    assert float(info_nce(U, V, none)) == 0
    assert float(triplet(U, V, none)) == 0


def test_triplet_is_what_a_hand_finds() -> None:
    near, far, cross = math.sqrt(0.8), math.sqrt(2), math.sqrt(0.4)  # d(u0, v0), d(u0, v1), d(u1, v0)
    hinges = [near - far + 0.7, near - cross + 0.7, 0 - cross + 0.7, 0 - far + 0.7]
    expected = sum(max(0.0, hinge) for hinge in hinges) / 4
    assert float(triplet(U, V, ALL, 0.7)) == pytest.approx(expected, rel=1e-5)


def test_neighbouring_slices_of_one_case_do_not_push_each_other_away() -> None:
    batch = make_batch(4)
    batch.case_index[:] = torch.tensor([0, 0, 0, 1])
    batch.position[:] = torch.tensor([0, 2, 3, 0])
    expected = [[0, 0, 1, 1], [0, 0, 0, 1], [1, 0, 0, 1], [1, 1, 1, 0]]
    assert far_apart(batch).int().tolist() == expected


@pytest.mark.parametrize("term", ["infonce", "triplet"])
def test_an_absent_modality_sends_no_gradient_through_a_term(term: str) -> None:
    batch = make_batch()
    batch.x["T2"].requires_grad_()
    found = added_terms(build("mvae"), batch, TrainConfig.model_validate({f"{term}_weight": 2}))
    assert list(found) == [term]
    found[term].backward()
    assert batch.x["T2"].grad is not None
    assert batch.x["T2"].grad[1].abs().max() == 0
    assert batch.x["T2"].grad[0].abs().max() > 0


def test_nothing_is_added_by_default() -> None:
    assert added_terms(build("mvae"), make_batch(), TrainConfig()) == {}


def test_a_model_without_a_shared_code_refuses_a_term() -> None:
    with pytest.raises(InvalidConfigError, match="share no code"):
        added_terms(build("vae"), make_batch(), TrainConfig(infonce_weight=1))


def test_a_model_that_learns_without_pairs_refuses_a_term(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("ae")
    monkeypatch.setattr(type(model), "paired", False)
    with pytest.raises(InvalidConfigError) as error:
        added_terms(model, make_batch(), TrainConfig(triplet_weight=1.0))
    assert error.value.code == "NO-PAIRS"
