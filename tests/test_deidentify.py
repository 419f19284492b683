"""What may be shown of a name, and the check for burned-in text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from core.deidentify import MAX_LABEL, clean_label, clean_path_label, looks_like_text


@given(st.text())
def test_a_label_is_short_and_has_one_visible_line(text):
    label = clean_label(text)
    assert 1 <= len(label) <= MAX_LABEL
    assert label == clean_label(label)
    assert not any(c in label for c in "\n\r\t\x00\u202e\u2066\u200b\x1b")


def test_direction_marks_and_escapes_are_removed():
    assert clean_label("T1\u202egpj.exe\x1b[31m") == "T1gpj.exe[31m"


def test_a_path_too_long_to_show_is_told_by_its_last_part():
    assert clean_path_label(("a" * 50, "b" * 50, "T1.nii.gz")) == "T1.nii.gz"
    assert clean_path_label(("P1", "T1.nii.gz")) == "P1/T1.nii.gz"


def with_text(text: str, corner: tuple[int, int]) -> np.ndarray:
    rng = np.random.default_rng(1)
    image = rng.normal(300, 60, (128, 160)).astype(np.float32)
    picture = Image.new("L", (160, 128))
    ImageDraw.Draw(picture).text(corner, text, fill=255)
    image[np.asarray(picture) > 128] = 4095
    return image


@pytest.mark.parametrize("text", ["SMITH^JOHN", "19610203 MRN 4711"])
@pytest.mark.parametrize("corner", [(4, 4), (30, 110)])
def test_burned_in_text_is_seen(text, corner):
    assert looks_like_text(with_text(text, corner))


def test_noise_and_smooth_shapes_are_not_taken_for_text():
    rng = np.random.default_rng(2)
    y, x = np.mgrid[:128, :160]
    disc = np.where((x - 80) ** 2 + (y - 60) ** 2 < 900, 1000.0, 10.0)
    assert not looks_like_text(rng.normal(300, 60, (128, 160)).astype(np.float32))
    assert not looks_like_text((disc + rng.normal(0, 5, disc.shape)).astype(np.float32))
    assert not looks_like_text(disc.astype(np.float32))
    assert not looks_like_text(np.zeros((5, 5), np.float32))
