"""Scores of error bars: calibration cases settle how wide they are, test cases say whether they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.conformal import LEVEL, Pool, bound_over_cases, bound_within, share_within
from core.error_bars import Bounds, Learnt, Looked, errors_of
from core.errors import InvalidConfigError
from core.regions import LEAST_VOXELS, LESION, regions_of
from core.sparsification import LEFT_OUT, sparsify
from core.statistics import exact_interval, mean_interval
from core.synthesis import LoadedRun
from core.types import Array

Row = dict[str, Any]
HEAD = "expected error"


@dataclass(frozen=True)
class Calibrated:
    """What calibration settled.

    Attributes:
        n: cases that calibrated.
        refused: code of why there is no bound for cases; empty where there is one.
    """

    bounds: Bounds
    n: int
    refused: str

    def to_json(self) -> dict[str, Any]:
        return {"bounds": asdict(self.bounds), "n_calibration": self.n, "case_refused": self.refused}


@dataclass
class BarScores:
    """Of one pair. Calibration cases are pooled and forgotten; of a test case a row of numbers stays."""

    loaded: LoadedRun
    target: str
    learnt: Learnt
    all_voxels: Pool = field(default_factory=Pool)
    tissues: dict[str, Pool] = field(default_factory=dict)
    case_bounds: list[float] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    def calibrate(self, looked: Looked) -> None:
        """Pool the scores of one calibration case."""
        if not looked.mask.any():
            return
        scores = errors_of(self.loaded, looked, self.target) / self.learnt.expected(looked)
        classes = self.learnt.classes(looked)
        self.all_voxels.add(scores)
        self.case_bounds.append(bound_within(scores))
        for n, name in enumerate(self.learnt.tissues.names):
            if (classes == n).sum() >= LEAST_VOXELS:
                self.tissues.setdefault(name, Pool()).add(scores[classes == n])

    def test(self, looked: Looked, bounds: Bounds) -> None:
        """What the bars are worth on one test case."""
        if not looked.mask.any():
            return
        names = self.learnt.tissues.names
        errors, expected = errors_of(self.loaded, looked, self.target), self.learnt.expected(looked)
        classes = self.learnt.classes(looked)
        factors = bounds.factors("voxel", classes, names)
        inside = errors <= factors * expected
        unit = self.loaded.dataset.unit_scale(self.target, looked.case_id)
        case = bounds.case
        self.rows.append(
            {
                "case": looked.case_id,
                "voxel": float(inside.mean()),
                "case_rule": None if case is None else share_within(errors / expected, case),
                "width": float((factors * expected).mean()) * unit,
                "case_width": None if case is None else float(expected.mean()) * case * unit,
                "tissues": _shares(inside, {name: classes == n for n, name in enumerate(names)}),
                "regions": _shares(inside, self._regions(looked)),
                "lesions": self._lesions(looked, inside),
                **_sparsified(errors, expected, looked),
            }
        )

    def _regions(self, looked: Looked) -> dict[str, NDArray[np.bool_]]:
        """The truth's, for judging."""
        found = regions_of(self.loaded.dataset, looked.case_id, looked.mask)
        return {name: part[looked.mask] for name, part in found.items()}

    def _lesions(self, looked: Looked, inside: NDArray[np.bool_]) -> list[Row]:
        """Each lesion by itself, without the margin around it."""
        if LESION not in self.loaded.dataset.record(looked.case_id)["label_maps"]:
            return []
        parts, n = ndimage.label(np.asarray(self.loaded.dataset.label_map(looked.case_id, LESION)) > 0)
        at = parts[looked.mask]
        sizes = {k: int((at == k).sum()) for k in range(1, n + 1)}
        return [
            {"voxels": size, "covered": float(inside[at == k].mean())}
            for k, size in sizes.items()
            if size >= LEAST_VOXELS
        ]


def calibrated(scores: BarScores) -> Calibrated:
    """The bounds; a tissue that fewer than half of the cases show takes that of all voxels."""
    n, refused, case = scores.all_voxels.n, "", None
    try:
        case = bound_over_cases(scores.case_bounds)
    except InvalidConfigError as error:
        refused = error.code
    tissues = {name: pool.bound() for name, pool in scores.tissues.items() if pool.n >= max(2, n / 2)}
    return Calibrated(Bounds(scores.all_voxels.bound(), tissues, case), n, refused)


def summarised(rows: Sequence[Row], names: Sequence[str]) -> dict[str, Any]:
    """Means over test cases with their intervals; the share of cases that hold, with its exact one."""
    regions = list(dict.fromkeys(name for row in rows for name in row["regions"]))
    return {
        "n_test": len(rows),
        "voxel": _interval([row["voxel"] for row in rows]),
        "tissues": {
            name: _interval([row["tissues"][name] for row in rows if name in row["tissues"]]) for name in names
        },
        "regions": {name: _interval([r["regions"][name] for r in rows if name in r["regions"]]) for name in regions},
        "case": _held([row["case_rule"] for row in rows]),
        "width": _interval([row["width"] for row in rows]),
        "case_width": _interval([row["case_width"] for row in rows if row["case_width"] is not None]),
        "sparsification": _curves(rows),
        "rows": [{name: value for name, value in row.items() if name not in ("doubt", "oracle")} for row in rows],
    }


def _interval(values: Sequence[float]) -> dict[str, Any] | None:
    return asdict(mean_interval(values)) if values else None


def _held(shares: Sequence[float | None]) -> dict[str, Any] | None:
    """Of how many cases the CASE guarantee held."""
    known = [share for share in shares if share is not None]
    if not known:
        return None
    n_held = sum(share >= LEVEL for share in known)
    low, high = exact_interval(n_held, len(known))
    return {"held": n_held, "n": len(known), "share": n_held / len(known), "low": low, "high": high}


def _shares(inside: NDArray[np.bool_], parts: Mapping[str, NDArray[np.bool_]]) -> dict[str, float]:
    return {name: float(inside[part].mean()) for name, part in parts.items() if part.sum() >= LEAST_VOXELS}


def _sparsified(errors: Array, expected: Array, looked: Looked) -> Row:
    """Curves of the bars, and the area that each kind of spread would have by itself."""
    own = sparsify(errors, expected)
    alone = {kind: sparsify(errors, spread[looked.mask]).ause for kind, spread in looked.spreads.items()}
    return {"doubt": own.doubt, "oracle": own.oracle, "ause": {HEAD: own.ause, **alone}}


def _curves(rows: Sequence[Row]) -> dict[str, Any]:
    if not rows:
        return {}
    kinds = list(rows[0]["ause"])
    return {
        "left_out": LEFT_OUT.tolist(),
        "doubt": np.mean([row["doubt"] for row in rows], axis=0).tolist(),
        "oracle": np.mean([row["oracle"] for row in rows], axis=0).tolist(),
        "ause": {kind: _interval([row["ause"][kind] for row in rows]) for kind in kinds},
    }
