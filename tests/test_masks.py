"""Tissues of generated heads, whose anatomy is known, in both contrasts and in CT."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.masks import _tissues, dice, table
from core.phantom import Head, build_head, draw_person, volumes_of
from core.preprocess.masks import make_mask
from core.types import Volume


@pytest.fixture(scope="module")
def head() -> Head:
    return build_head(draw_person(0, 1, "medium"))


@pytest.fixture(scope="module")
def images(head: Head) -> dict[str, Volume]:
    return volumes_of(head)


@pytest.mark.parametrize(("modality", "least"), [("T1", 0.9), ("T2", 0.84)])
def test_three_tissues_are_found_in_a_head_with_partial_volumes(
    head: Head, images: dict[str, Volume], modality: str, least: float
) -> None:
    found = dict(_tissues(head, images[modality], head.envelope_mm < 0))
    assert set(found) == {"CSF", "grey", "white"} and min(found.values()) > least


def test_air_soft_tissue_and_bone_are_told_apart_in_ct(head: Head, images: dict[str, Volume]) -> None:
    found = dict(_tissues(head, images["CT"], make_mask(images["CT"], "foreground")[0]))
    assert found["soft"] > 0.95 and min(found.values()) > 0.85


def test_dice_is_1_for_the_same_and_counts_both_sides() -> None:
    first, second = np.array([True, True, False, False]), np.array([True, False, True, False])
    assert dice(first, first) == 1 and dice(first, second) == 0.5 and dice(first, ~first) == 0


def test_the_table_has_a_line_for_each_thing_and_image() -> None:
    text = table({"bone.CT.median": 0.9, "bone.CT.min": 0.8123})
    assert text.splitlines()[1].split() == ["bone", "CT", "0.9000", "0.8123"]
