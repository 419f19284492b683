"""The measurement of what codes know, on codes whose knowledge is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.factors import FACTORS, _in_parts, read, table
from core.phantom import build_head, draw_person, labels_of


def test_a_number_that_is_in_the_code_is_read_as_far_as_its_noise_lets() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(5, 2, 400)
    codes = rng.normal(0, 1, (400, 6))
    codes[:, 2] = 3 * truth + rng.normal(0, 3, 400)  # a quarter of its variance of 36 is noise: R^2 0.8
    assert read(codes, truth) == pytest.approx(0.8, abs=0.04)


def test_what_is_not_in_the_code_is_not_read() -> None:
    rng = np.random.default_rng(1)
    codes = rng.normal(0, 1, (200, 20))
    assert read(codes, rng.normal(0, 1, 200)) < 0.05
    assert read(codes, rng.random(200) > 0.6) == pytest.approx(0.5, abs=0.12)


def test_yes_or_no_is_read_by_rank() -> None:
    rng = np.random.default_rng(2)
    truth = rng.random(300) > 0.7
    codes = rng.normal(0, 1, (300, 5))
    codes[:, 0] += 2 * truth  # two normal distributions 2 deviations apart: area 0.921
    assert read(codes, truth) == pytest.approx(0.921, abs=0.03)


def test_few_cases_are_read_in_fewer_folds_and_too_few_not_at_all() -> None:
    codes = np.random.default_rng(3).normal(0, 1, (8, 4))
    assert read(codes, np.arange(8) < 3) is not None
    assert read(codes, np.arange(8) < 1) is None
    assert read(codes, np.arange(8) < 0) is None
    assert read(codes[:5], np.arange(5.0)) is not None
    assert read(codes[:3], np.arange(3.0)) is None


def test_a_map_is_averaged_over_its_quarters_and_a_vector_kept() -> None:
    z = torch.arange(16.0).view(1, 1, 4, 4)
    assert _in_parts(z).tolist() == [[2.5, 4.5, 10.5, 12.5]]
    assert _in_parts(z[:, :, 0, 0]).shape == (1, 1)


def test_every_factor_is_a_label_of_the_generated_people() -> None:
    ill = next(n for n in range(4) if draw_person(0, n, "medium").lesion)
    labels = labels_of(build_head(draw_person(0, ill, "medium")))
    assert {factor.label for factor in FACTORS.values()} <= set(labels)


def test_the_table_has_a_line_for_each_code() -> None:
    said = table({"dmvae.pet_focus": 0.55, "dmvae.pet_focus.private": 0.91, "pca.pet_focus": 0.6})
    lines = said.splitlines()
    assert lines[0].split() == ["dmvae", "pca"]
    assert lines[1].split()[-2:] == ["0.55", "0.60"]
    assert lines[2].split()[-1] == "0.91"
