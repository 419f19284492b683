"""Error bars that keep their word: how wide they must be is learnt on calibration cases, by case.

A score is |truth - synthesis| / expected error of one voxel. Two guarantees, named apart and never mixed up:

VOXEL  of the voxels of new cases, each case weighing the same, a share LEVEL lies inside its bar
CASE   of new cases, a share LEVEL have at least the share LEVEL of their voxels inside their bars

Source:
    Papadopoulos et al. 2002, doi:10.1007/3-540-36755-1_29 (scores relative to an expected error); Dunn, Wasserman and
    Ramdas 2022, arXiv:1809.07441 (scores that come in groups).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidConfigError

LEVEL = 0.9
FEW = "FEW-CALIBRATION"
N_BINS = 4096
EDGES = np.geomspace(1e-5, 1e5, N_BINS)  # upper ends of the bins: each 0.6 % above the one before
ROUNDING = 1e-9
Numbers = NDArray[np.floating]


@dataclass
class Pool:
    """Scores of several cases, each case weighing the same: bins, so that memory grows neither with voxels nor cases.

    Attributes:
        shares: (N_BINS,) sum over cases of the share of scores in each bin.
        n: cases.
    """

    shares: NDArray[np.float64] = field(default_factory=lambda: np.zeros(N_BINS))
    n: int = 0

    def add(self, scores: Numbers) -> None:
        """The scores of one more case; at least one."""
        places = np.minimum(np.searchsorted(EDGES, scores), N_BINS - 1)
        self.shares += np.bincount(places, minlength=N_BINS) / len(scores)
        self.n += 1

    def bound(self, level: float = LEVEL) -> float:
        """The smallest end of a bin that a share `level` of the scores does not pass: for the VOXEL guarantee."""
        reached = np.cumsum(self.shares) / self.n
        return float(EDGES[min(int(np.searchsorted(reached, level - ROUNDING)), N_BINS - 1)])


def bound_within(scores: Numbers, level: float = LEVEL) -> float:
    """The smallest of a case's scores that a share `level` of them does not pass."""
    place = max(0, math.ceil(level * len(scores) - ROUNDING) - 1)
    return float(np.partition(scores, place)[place])


def bound_over_cases(bounds: Sequence[float], level: float = LEVEL) -> float:
    """The ceil((n + 1) level)-th smallest of what `bound_within` says of n calibration cases: for the CASE guarantee.

    Raises:
        InvalidConfigError: With so few cases no finite bound holds it (FEW-CALIBRATION).
    """
    n = len(bounds)
    if n < cases_needed(level):
        raise InvalidConfigError(few_words(n, level), FEW)
    return float(sorted(bounds)[math.ceil((n + 1) * level - ROUNDING) - 1])


def few_words(n: int, level: float = LEVEL) -> str:
    """Why so few calibration cases give no bound over cases."""
    return (
        f"An error bar that holds for {100 * level:.0f} % of cases needs {cases_needed(level)} calibration cases; "
        f"there are {n}. Hold out more cases."
    )


def cases_needed(level: float = LEVEL) -> int:
    """The fewest calibration cases for a finite bound over cases: 9 for 90 %."""
    return math.ceil(level / (1 - level) - ROUNDING)


def share_within(scores: Numbers, bound: float | Numbers) -> float:
    """The share of scores that do not pass their bound."""
    return float(np.mean(scores <= bound))


def split_for_calibration(
    cases: Sequence[str], seed: int, same: Sequence[tuple[str, str]] = (), level: float = LEVEL
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Divide held-out cases, by patient and seed, into those that calibrate and those that test.

    Two fifths calibrate, but as many as a bound over cases needs where a third as many remain to test on; of fewer
    cases, half.

    Args:
        same: pairs of cases that are of one patient; they stay together.

    Raises:
        InvalidConfigError: Under two patients (FEW-HELD-OUT).
    """
    groups = _patients(cases, same)
    if len(groups) < 2:
        raise InvalidConfigError(
            "Error bars need at least 2 held-out patients: one to calibrate on, one to test on. Hold out more.",
            "FEW-HELD-OUT",
        )
    needed, n = cases_needed(level), len(cases)
    wanted = max(needed, round(0.4 * n)) if n >= needed + needed // 3 else n // 2
    calibration: list[str] = []
    for place in np.random.default_rng([seed, 17]).permutation(len(groups)):
        is_last = len(calibration) + len(groups[place]) >= n
        if len(calibration) < wanted and not is_last:
            calibration += groups[place]
    return tuple(sorted(calibration)), tuple(sorted(set(cases) - set(calibration)))


def _patients(cases: Sequence[str], same: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Cases of one patient together, in the order of their ids."""
    group = {case: [case] for case in sorted(cases)}
    for first, second in same:
        if first in group and second in group and group[first] is not group[second]:
            joined = sorted(group[first] + group[second])
            group.update(dict.fromkeys(joined, joined))
    return list({members[0]: members for members in group.values()}.values())
