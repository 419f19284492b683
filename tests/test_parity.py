"""The pieces of the comparison with the library multivae; and the comparison of losses, where that library is there."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from benchmarks import meets
from benchmarks.multivae_env import MISSING, VARIABLE, find_python
from benchmarks.parity_digits import MODALITIES, Judge, cross_modal, make_digits, paired_interval
from benchmarks.parity_networks import Design, EvenScales, gradients_of, make_networks, set_weights, weights_of


def test_a_row_of_digits_shows_one_digit_by_three_hands() -> None:
    parts = make_digits()
    images, digits = parts["test"]
    judge = Judge(*parts["train"])
    assert all(judge.accuracy(m, images[m], digits) > 95 for m in MODALITIES)
    turned = np.rot90(1 - images["negative"], -1, axes=(1, 2))
    off = np.abs(images["plain"][:, None] - turned[None]).mean((2, 3))  # 0.05 and more between hands
    same_hand = off[np.arange(len(digits)), np.arange(len(digits))] <= off.min(1)
    assert same_hand.mean() < 0.2 and min(x.min() for x in images.values()) >= 0


def test_no_hand_of_the_test_digits_was_learnt_from() -> None:
    parts = make_digits()
    learnt = {x.tobytes() for x in parts["train"][0]["plain"]}
    assert not any(x.tobytes() in learnt for x in parts["test"][0]["plain"])


def test_coherence_counts_the_given_digit_in_the_target() -> None:
    parts = make_digits()
    images, digits = parts["test"]
    judge = Judge(*parts["train"])
    right = {"negative__plain": images["plain"], "plain__negative": images["negative"]}
    wrong = {key: np.roll(x, 1, axis=0) for key, x in right.items()}
    coherence, error = cross_modal(right, images, digits, judge)
    assert coherence > 95 and error == 0
    of_wrong = cross_modal(wrong, images, digits, judge)
    assert abs(of_wrong[0] - 100 * float((np.roll(digits, 1) == digits).mean())) < 5 and of_wrong[1] > 0.02


def test_a_paired_interval_is_students() -> None:
    # differences 1..5: mean 3, deviation sqrt(2.5), t of 0.95 with 4 degrees of freedom 2.1318
    mean, low, high = paired_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (
        mean == 3
        and high - 3 == pytest.approx(2.1318 * math.sqrt(2.5 / 5), rel=1e-4)
        and 3 - low == pytest.approx(high - 3)
    )


def test_weights_go_from_one_set_of_networks_into_another() -> None:
    design = Design(MODALITIES, private=3, joint=True)
    one, other = make_networks(design, 1), make_networks(design, 2)
    x = torch.rand(4, 1, 8, 8)
    assert not torch.equal(one["encoder.plain"](x), other["encoder.plain"](x))
    set_weights(other, weights_of(one))
    torch.testing.assert_close(one["encoder.plain"](x), other["encoder.plain"](x))
    one["private.plain"](x).sum().backward()
    moved = {key for key, value in gradients_of(one).items() if np.abs(value).max() > 0}
    assert moved and all(key.startswith("private.plain.") for key in moved)


def test_even_scales_have_the_mean_one() -> None:
    raw = torch.randn(6, 10)
    mean, log_var = EvenScales()(raw).chunk(2, 1)
    torch.testing.assert_close(mean, raw[:, :5])
    torch.testing.assert_close((0.5 * log_var).exp().mean(1), torch.ones(6), atol=2e-6, rtol=0)


def test_where_the_library_is_missing_one_sentence_says_what_builds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.parity import measure_parity

    monkeypatch.setenv(VARIABLE, "/nowhere/python")
    with pytest.raises(SystemExit, match="make multivae-env"):
        measure_parity()


@pytest.mark.slow
@pytest.mark.skipif(find_python() is None, reason=MISSING)
def test_losses_and_gradients_are_the_librarys() -> None:
    from benchmarks.parity import TARGETS, measure_parity

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARITY_PARTS", "losses")
        figures = measure_parity()
    wanted = {key: target for key, target in TARGETS.items() if key.startswith("loss.")}
    assert len(wanted) > 15
    assert not {key: figures[key] for key, target in wanted.items() if not meets(figures[key], target)}
