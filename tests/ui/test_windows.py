"""The window in which an image is shown at first."""

from __future__ import annotations

import numpy as np
import pytest

from core.types import Volume
from ui.windows import default_window


def ct(fat: float) -> Volume:
    """Air all round, bone, and soft tissue of which a share is fat."""
    soft = np.where(np.linspace(0, 1, 120) < fat, -100.0, 40.0)
    data = np.concatenate([np.full(100, -1000.0), soft, np.full(20, 900.0)]).reshape(4, 5, 12)
    return Volume(data.astype(np.float32), np.diag([1.0, 2.0, 3.0, 1.0]), "CT", "HU")


@pytest.mark.parametrize(("fat", "low", "high"), [(0.09, 0, 80), (0.41, -160, 240)])
def test_a_head_is_shown_as_brain_and_a_trunk_as_soft_tissue(fat: float, low: float, high: float) -> None:
    window = default_window(ct(fat))
    assert (window.low, window.high) == (low, high)


def test_a_window_that_a_person_chose_is_kept() -> None:
    assert default_window(ct(0.41), "Brain").high == 80
