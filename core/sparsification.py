"""Does doubt point at errors? Leave out what is doubted most, and see how the error of the rest falls.

Source:
    Ilg et al. 2018, arXiv:1802.07095: sparsification error, and the area under it (AUSE).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

N_STEPS = 20
LEFT_OUT = np.arange(N_STEPS) / N_STEPS  # 0, 5, ... 95 % of the voxels
Curve = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sparsification:
    """Of one case, relative to the error of all its voxels, so that leaving out at random is a line at 1.

    Attributes:
        doubt, oracle: (N_STEPS,) mean error of what remains, the most doubted or the worst voxels left out first.
    """

    doubt: Curve
    oracle: Curve

    @property
    def ause(self) -> float:
        """Area between the two: 0 where doubt ranks voxels as their errors do."""
        return float(np.trapezoid(self.doubt - self.oracle, LEFT_OUT))


def sparsify(errors: NDArray[np.floating], doubt: NDArray[np.floating]) -> Sparsification:
    """(n,) absolute errors, and what was doubted of them; equal doubts keep their order."""
    whole = float(errors.mean(dtype=np.float64)) or 1.0
    return Sparsification(_remaining(errors, doubt) / whole, _remaining(errors, errors) / whole)


def _remaining(errors: NDArray[np.floating], order_by: NDArray[np.floating]) -> Curve:
    kept_first = errors[np.argsort(order_by, kind="stable")]
    sums = np.cumsum(kept_first, dtype=np.float64)
    kept = np.maximum(1, np.rint((1 - LEFT_OUT) * len(errors)).astype(int))
    return np.asarray(sums[kept - 1] / kept)
