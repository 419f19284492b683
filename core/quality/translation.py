"""What an imprint would be in another modality: learnt point by point from cases that have both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.quality.imprints import OUTSIDE, STEPS, Levels, ranked
from core.quality.twins import BAND, pattern_of
from core.types import Array

POINTS = 30_000  # that are learnt from
TREES = 80
SMOOTHINGS = (1.0, 2.0)  # points


class Translation:
    """From the surroundings of a point in one modality to what stands out there in another."""

    def __init__(self, firsts: Sequence[Levels], seconds: Sequence[Levels]) -> None:
        """Both of the same cases, at the same points: (I, J, K) int8 each."""
        from sklearn.ensemble import HistGradientBoostingRegressor

        inputs, answers = [], []
        for first, second in zip(firsts, seconds, strict=True):
            pattern, seen = pattern_of(second, BAND)
            both = seen & (first != OUTSIDE)
            inputs.append(_surroundings(first)[both])
            answers.append(pattern[both])
        x, y = np.concatenate(inputs), np.concatenate(answers)
        some = np.random.default_rng(0).permutation(len(x))[:POINTS]
        self._trees: Any = HistGradientBoostingRegressor(max_iter=TREES, early_stopping=False, random_state=0)
        self._trees.fit(x[some], y[some])

    def of(self, levels: Levels) -> Levels:
        """Ranks of what is expected; OUTSIDE where the imprint is."""
        seen = levels != OUTSIDE
        expected = np.zeros(levels.shape, np.float32)
        if seen.any():
            expected[seen] = self._trees.predict(_surroundings(levels)[seen])
        return ranked(expected, seen)


def _surroundings(levels: Levels) -> NDArray[np.float32]:
    """(I, J, K, n): a point, those beside it, means around it, and what stands out there."""
    values: Array = np.where(levels == OUTSIDE, -STEPS, levels).astype(np.float32)
    axes = [axis for axis, n in enumerate(levels.shape) if n > 1]
    beside = [np.roll(values, step, axis) for axis in axes for step in (-1, 1)]
    sigmas = [[sigma if n > 1 else 0.0 for n in levels.shape] for sigma in SMOOTHINGS]
    smooth = [ndimage.gaussian_filter(values, sigma) for sigma in sigmas]
    return np.stack([values, *beside, *smooth, pattern_of(levels, BAND)[0]], -1).astype(np.float32, copy=False)
