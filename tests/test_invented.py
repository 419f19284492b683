"""Invented structures: found without the truth, told from real ones, judged against it; misses counted apart."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from core.evidence import KnownCodes, cycle_error
from core.invented import Flagger, fit_flagger, is_lacking, summarised
from core.models import MODELS
from core.structures import structures_of
from tests.known_errors import known_dataset, known_run
from tests.tiny_run import Blend

SHAPE, SPACING = (50, 40, 24), (2.0, 3.0, 4.0)
GRID = np.stack(np.meshgrid(*[np.arange(n) * step for n, step in zip(SHAPE, SPACING, strict=True)], indexing="ij"))
BRIGHT_MM, DARK_MM, OUTSIDE_MM = (30, 60, 40), (70, 60, 56), (94, 114, 88)


def ball(centre_mm: tuple[float, ...], radius_mm: float) -> np.ndarray:
    return ((GRID - np.reshape(centre_mm, (3, 1, 1, 1))) ** 2).sum(0) <= radius_mm**2


MASK = ball((50, 60, 46), 44)
BRIGHT, DARK = ball(BRIGHT_MM, 9), ball(DARK_MM, 9)


def scene() -> np.ndarray:
    """A bright and a dark ball in noise, and one outside the mask."""
    image = 0.5 + np.random.default_rng(0).normal(0, 0.01, SHAPE) + 0.3 * BRIGHT - 0.2 * DARK + ball(OUTSIDE_MM, 9)
    return image.astype(np.float32)


def test_balls_are_found_by_sign_place_and_contrast_and_what_lies_outside_is_not():
    found = structures_of(scene(), MASK, SPACING)
    assert [one.sign for one in found] == [1, -1]
    for one, true, contrast in zip(found, (BRIGHT, DARK), (0.3, 0.2), strict=True):
        own = np.zeros(SHAPE, bool)
        own.ravel()[one.voxels] = True
        assert 2 * (own & true).sum() / (own.sum() + true.sum()) > 0.8
        assert one.contrast(scene()) == pytest.approx(contrast * (own & true).sum() / own.sum(), rel=0.05)
        assert not set(one.voxels) & set(one.shell)
        assert MASK.ravel()[one.shell].all()


def test_an_even_image_and_an_empty_mask_have_no_structures():
    assert structures_of(np.ones(SHAPE, np.float32), MASK, SPACING) == []
    assert structures_of(scene(), np.zeros(SHAPE, bool), SPACING) == []


def test_a_structure_is_invented_where_the_target_has_less_than_half_of_it():
    bright = structures_of(scene(), MASK, SPACING)[0]
    for share, lacking in ((0.0, True), (0.4, True), (0.6, False), (1.0, False), (-1.0, True)):
        assert is_lacking(bright, scene(), (0.5 + share * 0.3 * BRIGHT).astype(np.float32)) == lacking


def test_the_regression_is_that_of_an_independent_library_and_survives_json():
    rng = np.random.default_rng(2)
    x = rng.normal(0, 3, (300, 2)) + 7
    truth = rng.random(300) < 1 / (1 + np.exp(-(x[:, 0] - 9)))
    evidence = [{"a": float(a), "b": float(b)} for a, b in x]
    flagger = fit_flagger(evidence, truth.tolist())
    other = LogisticRegression(class_weight="balanced", C=1.0, tol=1e-8).fit((x - x.mean(0)) / x.std(0), truth)
    expected = other.predict_proba((x - x.mean(0)) / x.std(0))[:, 1]
    again = Flagger.from_json(flagger.to_json())
    np.testing.assert_allclose([again.probability(one) for one in evidence], expected, atol=1e-4)
    assert fit_flagger(evidence, [False] * 300) is None


def test_misses_and_false_alarms_are_counted_apart():
    def seen(invented: bool, probability: float) -> dict:
        return {"invented": invented, "probability": probability, "evidence": {"code": probability}}

    flagger = Flagger(("code",), np.zeros(1), np.ones(1), np.ones(1), 0.0)
    rows = [
        {"case": "a", "structures": [seen(True, 0.9), seen(False, 0.2), seen(False, 0.95)], "lesions": 2, "missed": 1},
        {"case": "b", "structures": [seen(True, 0.8), seen(False, 0.1)], "lesions": 0, "missed": 0},
    ]
    found = summarised(rows, flagger)
    assert (found["lesions"], found["missed"]) == (2, 1)
    assert (found["structures"], found["invented"], found["false_alarms"]) == (5, 2, 0.5)
    assert found["auroc"] == {"value": pytest.approx(4 / 6), "low": None, "high": None}


def test_the_way_back_and_the_distance_of_codes_are_those_worked_out_by_hand(workspace, monkeypatch):
    monkeypatch.setitem(MODELS, "blend", Blend)
    loaded = known_run(workspace, known_dataset(workspace))
    loaded.model.offset.data[0] = 0.25  # T1, as made from T2
    case = loaded.split.test[0]
    t1 = np.asarray(loaded.dataset.volume(case, "T1"))
    synthesis = t1 + 0.1
    np.testing.assert_allclose(cycle_error(loaded, case, ("T1",), "T2", synthesis), 0.35, atol=1e-5)
    codes = KnownCodes()
    for other in loaded.split.train:
        codes.add(loaded, other, ("T1",))
    known = np.stack([np.asarray(loaded.dataset.volume(c, "T1")) for c in loaded.split.train])
    far = codes.range.distance(loaded, case, ("T1",))
    i, j, _ = loaded.dataset.shape
    assert far.shape == t1.shape == (i, j, t1.shape[2])
    np.testing.assert_allclose(far, np.abs(t1 - known.mean()) / known.std(), atol=1e-4)
