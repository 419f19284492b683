"""The error bar of every voxel of a synthesis: expected error x what calibration says for its tissue.

`learn` fits what a pair of given modalities and target needs; the result is plain JSON (`uncertainty.json` of a run).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.conformal import Numbers
from core.expected_error import ErrorHead, features_of, fit_head
from core.judging import judged_mask
from core.predicted_tissue import TissueReader, fit_reader, intensities, map_for
from core.spread import has_doubt, spreads_of
from core.structure import Mask
from core.synthesis import LoadedRun, synthesise_case
from core.types import Array

MAX_VOXELS = 40_000  # learnt from, over all cases
RULES = {"voxel": "of voxels", "case": "of cases"}  # whom the 90 % are of


@dataclass(frozen=True, eq=False)
class Looked:
    """One synthesis and what can be known of it without the truth; images (I, J, K) on the 0-1 scale.

    Attributes:
        spreads: kind -> what the model doubts.
        mask: the voxels that are judged.
    """

    case_id: str
    given: tuple[Array, ...]
    synthesis: Array
    spreads: Mapping[str, Array]
    mask: Mask

    @property
    def features(self) -> Array:
        return features_of(self.synthesis, self.given, list(self.spreads.values()), self.mask)

    @property
    def intensities(self) -> Array:
        return intensities(self.synthesis, self.given, self.mask)


@dataclass(frozen=True, eq=False)
class Learnt:
    """What training cases taught of one pair."""

    head: ErrorHead
    tissues: TissueReader

    def expected(self, looked: Looked) -> Array:
        """(n,) expected absolute error at the mask's voxels."""
        return self.head.expected(looked.features)

    def classes(self, looked: Looked) -> NDArray[np.intp]:
        """(n,) predicted tissue at the mask's voxels."""
        return self.tissues.classes(looked.intensities)

    def to_json(self) -> dict[str, Any]:
        return {"head": self.head.to_json(), "tissues": self.tissues.to_json()}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Learnt:
        return Learnt(ErrorHead.from_json(values["head"]), TissueReader.from_json(values["tissues"]))


def draws_for(loaded: LoadedRun, given: Sequence[str], n_draws: int) -> int:
    """0 where the posterior is a point, whose draws are all the same."""
    return n_draws if has_doubt(loaded, given) else 0


def look(
    loaded: LoadedRun, case_id: str, given: Sequence[str], targets: Sequence[str], n_draws: int
) -> dict[str, Looked]:
    """Target -> its synthesis and what the model doubts of it."""
    images = synthesise_case(loaded, case_id, given, targets)
    spreads = spreads_of(loaded, case_id, given, images, n_draws)
    sources = tuple(np.array(loaded.dataset.volume(case_id, m)) for m in given)
    masks = {target: judged_mask(loaded.dataset, case_id, target) for target in targets}
    return {t: Looked(case_id, sources, images[t], spreads[t], masks[t]) for t in targets}


class Lesson:
    """Collects what one pair's training cases teach: voxels of each case, drawn with equal chance."""

    def __init__(self, loaded: LoadedRun, target: str, cases: Sequence[str]) -> None:
        self.loaded, self.target = loaded, target
        self.map_name = map_for(loaded.dataset, cases, target)
        self.n_each = max(1, MAX_VOXELS // max(1, len(cases)))
        self._parts: list[tuple[Array, Array, Array, Any]] = []

    def add(self, looked: Looked) -> None:
        n = int(looked.mask.sum())
        if n == 0:
            return
        rng = np.random.default_rng(self.loaded.dataset.numbers[looked.case_id])
        drawn = np.sort(rng.choice(n, min(n, self.n_each), replace=False))
        classes = None
        if self.map_name:
            classes = np.asarray(self.loaded.dataset.label_map(looked.case_id, self.map_name))[looked.mask][drawn]
        errors = errors_of(self.loaded, looked, self.target)
        self._parts.append((looked.features[drawn], errors[drawn], looked.intensities[drawn], classes))

    def learn(self) -> Learnt:
        features, errors, images = (np.concatenate([part[n] for part in self._parts]) for n in range(3))
        classes = np.concatenate([part[3] for part in self._parts]) if self.map_name else None
        return Learnt(fit_head(features, errors), fit_reader(images, classes, self.map_name))


def errors_of(loaded: LoadedRun, looked: Looked, target: str) -> Array:
    """(n,) |truth - synthesis| at the mask's voxels."""
    truth = np.asarray(loaded.dataset.volume(looked.case_id, target))[looked.mask]
    return np.asarray(np.abs(truth - looked.synthesis[looked.mask]), np.float32)


@dataclass(frozen=True, eq=False)
class Bounds:
    """How many expected errors wide a bar is on each side.

    Attributes:
        voxel: for the VOXEL guarantee (core.conformal) over all tissues.
        tissues: the same within a predicted tissue; where one was too rare, `voxel` holds.
        case: for the CASE guarantee; None with too few calibration cases.
    """

    voxel: float
    tissues: Mapping[str, float]
    case: float | None

    def factors(self, rule: str, classes: NDArray[np.intp], names: Sequence[str]) -> Numbers:
        """(n,) by what rule a bar holds."""
        if rule == "case":
            return np.full(len(classes), np.nan if self.case is None else self.case)
        return np.asarray([self.tissues.get(name, self.voxel) for name in names])[classes]


def half_width(loaded: LoadedRun, case_id: str, pair: Mapping[str, Any], rule: str = "voxel") -> Array:
    """(I, J, K) half the width of each voxel's bar on the 0-1 scale, 0 outside the mask.

    Args:
        pair: an entry of `uncertainty.json`.
    """
    looked = look(loaded, case_id, pair["given"], (pair["target"],), pair["draws"])[pair["target"]]
    learnt, bounds = Learnt.from_json(pair["learnt"]), Bounds(**pair["bounds"])
    classes = learnt.classes(looked)
    whole = np.zeros(looked.mask.shape, np.float32)
    whole[looked.mask] = learnt.expected(looked) * bounds.factors(rule, classes, learnt.tissues.names)
    return whole
