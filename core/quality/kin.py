"""Kin: two cases without a common modality that show one person, known by where the edges of their images lie.

Edges are compared as twins are (core/quality/twins.py): at the best place, mirrored or not. How alike two modalities of
one person are, and of two people, is learnt from the cases that have both; where those cannot be told apart, nothing is
said, and that is told.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.dataset import Dataset
from core.progress import Progress, silent
from core.quality.imprints import OUTSIDE, ImprintGrid, Imprints, Levels, imprints_of, ranked
from core.quality.twins import Finder

EXAMPLES = 12  # cases of one person in both modalities, and as many pairs of strangers
LEAST_EXAMPLES = 3
APART = 4.0  # deviations of strangers' likeness that one person's must be above it


@dataclass(frozen=True)
class Kin:
    """A case of one modality and a case of another that show one person."""

    first: str
    second: str
    modalities: tuple[str, str]
    likeness: float
    limit: float


@dataclass(frozen=True)
class KinReport:
    """What was found, and which pairs of modalities could not be judged."""

    kin: tuple[Kin, ...]
    n_pairs: int
    untold: tuple[tuple[str, str], ...]


def kin_of(
    dataset: Dataset, held_out: Collection[str], learnt: Collection[str], progress: Progress = silent
) -> KinReport:
    """Pairs of a held-out case and one that was learnt from, without a common modality, that show one person."""
    pairs = _strange_pairs(dataset, held_out, learnt)
    found: list[Kin] = []
    untold = []
    edges: dict[str, dict[str, Levels]] = {}
    for done, (modalities, cases) in enumerate(pairs.items()):
        progress(done, len(pairs), f"Comparing {' with '.join(modalities)}")
        for m in modalities:
            edges.setdefault(m, _edges_of(dataset, m))
        finder = _Pair(edges[modalities[0]], edges[modalities[1]])
        limit = finder.limit()
        if limit is None:
            untold.append(modalities)
            continue
        for a, b in cases:
            likeness = finder.likeness(a, b)
            if likeness >= limit:
                found.append(Kin(a, b, modalities, likeness, limit))
    return KinReport(tuple(found), sum(map(len, pairs.values())), tuple(untold))


def _strange_pairs(
    dataset: Dataset, held_out: Collection[str], learnt: Collection[str]
) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """Two modalities -> (a case with the first, a case with the second), one of them held out."""
    has = {case: set(dataset.record(case)["modalities"]) for case in (*held_out, *learnt)}
    pairs: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for one in held_out:
        for other in learnt:
            if not has[one] & has[other]:
                for m in has[one]:
                    for n in has[other]:
                        key, pair = ((m, n), (one, other)) if m < n else ((n, m), (other, one))
                        pairs.setdefault(key, []).append(pair)
    return pairs


def _edges_of(dataset: Dataset, modality: str) -> dict[str, Levels]:
    imprints: Imprints = imprints_of(dataset, modality, ImprintGrid.of(dataset))
    return {case: _edges(levels) for case, levels in zip(imprints.case_ids, imprints.levels, strict=True)}


def _edges(levels: Levels) -> Levels:
    """Ranks of how steep the image is, whichever way: contrast may be the other way round elsewhere."""
    seen = levels != OUTSIDE
    values = np.where(seen, levels, 0).astype(np.float32)
    steep = np.zeros(levels.shape, np.float32)
    for axis, n in enumerate(levels.shape):
        if n > 2:
            steep += ndimage.sobel(values, axis) ** 2
    size = [3 if n > 2 else 1 for n in levels.shape]
    return ranked(np.sqrt(steep), ndimage.binary_erosion(seen, np.ones(size)))


class _Pair:
    """Two modalities: the likeness of a case in the first and a case in the second."""

    def __init__(self, first: Mapping[str, Levels], second: Mapping[str, Levels]) -> None:
        self.first, self.second = list(first), list(second)
        self._finder = Finder(np.stack([*first.values(), *second.values()]))

    def likeness(self, a: str, b: str) -> float:
        return self._finder.best(self.first.index(a), len(self.first) + self.second.index(b))[0]

    def limit(self) -> float | None:
        """Half-way, on Fisher's scale, from strangers to one person; None where these lie too close or are too few."""
        both = [case for case in self.first if case in self.second][:EXAMPLES]
        if len(both) < LEAST_EXAMPLES:
            return None
        own = _fisher([self.likeness(case, case) for case in both])
        strangers = _fisher([self.likeness(a, b) for a, b in _some_pairs(both)])
        usual = float(np.median(strangers))
        deviation = float(np.std(strangers)) + 0.01
        least = float(np.min(own)) if len(own) < 6 else float(np.quantile(own, 0.1))
        if least < max(usual + APART * deviation, float(strangers.max())):
            return None
        return float(np.tanh((max(usual + APART * deviation, float(strangers.max())) + least) / 2))


def _some_pairs(cases: list[str]) -> list[tuple[str, str]]:
    pairs = list(combinations(cases, 2))
    return pairs[:: max(1, len(pairs) // (2 * EXAMPLES))]


def _fisher(values: list[float]) -> NDArray[np.float64]:
    return np.asarray(np.arctanh(np.clip(values, -0.999, 0.999)))
