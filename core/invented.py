"""Structures that a model invents: in the synthesis, and not in the target. Flagged by what can be known without it.

Evidence, each its mean over a structure: the given modalities alone disagree; draws from the posterior differ; the
given images made back from the synthesis (the cycle) miss the given ones; the code is far from those of training cases;
the expected error is large. A logistic regression over training cases joins them. A lesion that only the target shows
leaves nothing in the synthesis that could be flagged: that is a miss, and counted apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.error_bars import Learnt, Looked, look
from core.evidence import CodeRange, cycle_error
from core.expected_error import LEAST
from core.regions import LEAST_VOXELS, LESION
from core.statistics import MIN_CASES, auroc
from core.structures import Structure, structures_of
from core.synthesis import LoadedRun
from core.types import Array

KEPT = 0.5  # of a structure's contrast: with less of it in the target, or in the synthesis, it is not there
SENSITIVITY = 0.8
RIDGE = 1.0
ROUNDS = 30
N_RESAMPLES = 2000
EXPECTED, CYCLE, FAR = "expected error", "cycle", "code"
Row = dict[str, Any]
Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Flagger:
    """How likely a structure is invented, from its evidence; what a case lacks of it counts as usual."""

    names: tuple[str, ...]
    mean: Numbers
    sd: Numbers
    weights: Numbers
    bias: float

    def probability(self, evidence: Mapping[str, float]) -> float:
        x = np.array([evidence[name] for name in self.names])
        return float(1 / (1 + np.exp(-(self.bias + self.weights @ ((x - self.mean) / self.sd)))))

    def to_json(self) -> dict[str, Any]:
        told = {name: getattr(self, name).tolist() for name in ("mean", "sd", "weights")}
        return {"names": list(self.names), **told, "bias": self.bias}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Flagger:
        mean, sd, weights = (np.array(values[name], float) for name in ("mean", "sd", "weights"))
        return Flagger(tuple(values["names"]), mean, sd, weights, float(values["bias"]))


def fit_flagger(evidence: Sequence[Mapping[str, float]], is_invented: Sequence[bool]) -> Flagger | None:
    """Ridge logistic regression by Newton's method, both kinds weighing the same; None where one kind is lacking."""
    truth = np.array(is_invented, float)
    if not 0 < truth.sum() < len(truth):
        return None
    names = tuple(evidence[0])
    raw = np.array([[one[name] for name in names] for one in evidence])
    mean, sd = raw.mean(0), np.maximum(raw.std(0), 1e-6)
    x = np.concatenate([(raw - mean) / sd, np.ones((len(raw), 1))], 1)
    rows = np.where(truth == 1, 0.5 / truth.mean(), 0.5 / (1 - truth.mean()))
    penalty = RIDGE * np.diag([*np.ones(len(names)), 0.0])
    w = np.zeros(x.shape[1])
    for _ in range(ROUNDS):
        p = 1 / (1 + np.exp(-x @ w))
        slope = x.T @ (rows * (truth - p)) - penalty @ w
        curve = (x * (rows * p * (1 - p))[:, None]).T @ x + penalty + 1e-9 * np.eye(len(w))
        w += np.linalg.solve(curve, slope)
    return Flagger(names, mean, sd, w[:-1], float(w[-1]))


@dataclass(frozen=True, eq=False)
class Watcher:
    """Looks at the syntheses of one pair, never at the truth."""

    loaded: LoadedRun
    given: tuple[str, ...]
    target: str
    learnt: Learnt
    codes: CodeRange

    def seen(self, looked: Looked) -> list[tuple[Structure, dict[str, float]]]:
        """Every structure of a synthesis with its evidence."""
        maps = self._maps(looked)
        found = structures_of(looked.synthesis, looked.mask, self.loaded.dataset.spacing_mm)
        return [
            (one, {name: float(values.ravel()[one.voxels].mean()) for name, values in maps.items()}) for one in found
        ]

    def _maps(self, looked: Looked) -> dict[str, Array]:
        """Logarithms, since all of them are scales."""
        expected = np.zeros(looked.mask.shape, np.float32)
        expected[looked.mask] = self.learnt.expected(looked)
        found = {**looked.spreads, EXPECTED: expected}
        cycle = cycle_error(self.loaded, looked.case_id, self.given, self.target, looked.synthesis)
        far = self.codes.distance(self.loaded, looked.case_id, self.given)
        found |= {name: one for name, one in ((CYCLE, cycle), (FAR, far)) if one is not None}
        return {name: np.log(np.maximum(values, LEAST)) for name, values in found.items()}


@dataclass
class Inventions:
    """Of one pair: structures of training cases to learn from, then those of held-out cases to be judged on."""

    watcher: Watcher
    taught: list[tuple[dict[str, float], bool]] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    flagger: Flagger | None = None

    def teach(self, looked: Looked) -> None:
        truth = self._truth(looked)
        for structure, evidence in self.watcher.seen(looked):
            self.taught.append((evidence, is_lacking(structure, looked.synthesis, truth)))

    def learn(self) -> None:
        self.flagger = fit_flagger(*zip(*self.taught, strict=True)) if self.taught else None

    def judge(self, looked: Looked) -> None:
        """One row for a held-out case: its structures, and its misses."""
        if self.flagger is None:
            return
        truth = self._truth(looked)
        seen = [
            {
                "invented": is_lacking(structure, looked.synthesis, truth),
                "probability": self.flagger.probability(evidence),
                "evidence": evidence,
            }
            for structure, evidence in self.watcher.seen(looked)
        ]
        self.rows.append({"case": looked.case_id, "structures": seen, **self._lesions(looked, truth)})

    def to_json(self) -> dict[str, Any] | None:
        """None where the training cases showed nothing invented, or nothing else."""
        if self.flagger is None or not self.rows:
            return None
        return summarised(self.rows, self.flagger) | {"codes": self.watcher.codes.to_json()}

    def _truth(self, looked: Looked) -> Array:
        return np.asarray(self.watcher.loaded.dataset.volume(looked.case_id, self.watcher.target))

    def _lesions(self, looked: Looked, truth: Array) -> Row:
        """Lesions that the target shows, and how many of them the synthesis lacks."""
        dataset = self.watcher.loaded.dataset
        if LESION not in dataset.record(looked.case_id)["label_maps"]:
            return {"lesions": 0, "missed": 0}
        lesion = (np.asarray(dataset.label_map(looked.case_id, LESION)) > 0) & looked.mask
        labels, n = ndimage.label(lesion)
        shown = [s for k in range(1, n + 1) if (s := _marked(labels == k, looked.mask & ~lesion, truth)) is not None]
        return {"lesions": len(shown), "missed": sum(is_lacking(one, truth, looked.synthesis) for one in shown)}


def flags(loaded: LoadedRun, case_id: str, pair: Mapping[str, Any]) -> Array:
    """(I, J, K) how likely a flagged structure is invented; 0 in all that is not flagged.

    Args:
        pair: an entry of `uncertainty.json`.
    """
    given, target, found = tuple(pair["given"]), str(pair["target"]), pair["invented"]
    looked = look(loaded, case_id, given, (target,), pair["draws"])[target]
    watcher = Watcher(loaded, given, target, Learnt.from_json(pair["learnt"]), CodeRange.from_json(found["codes"]))
    flagger = Flagger.from_json(found["flagger"])
    shown = np.zeros(looked.mask.shape, np.float32)
    for structure, evidence in watcher.seen(looked):
        probability = flagger.probability(evidence)
        if found["threshold"] is not None and probability >= found["threshold"]:
            shown.ravel()[structure.voxels] = probability
    return shown


def _marked(part: NDArray[np.bool_], around: NDArray[np.bool_], image: Array) -> Structure | None:
    """A marked lesion as a structure of an image; None where it is tiny or nothing surrounds it."""
    shell = ndimage.binary_dilation(part, iterations=2) & around
    if part.sum() < LEAST_VOXELS or not shell.any():
        return None
    places = Structure(np.flatnonzero(part), np.flatnonzero(shell), 1)
    sign = 1 if places.contrast(image) >= 0 else -1
    return Structure(places.voxels, places.shell, sign)


def is_lacking(structure: Structure, shown: Array, other: Array) -> bool:
    """Whether another image has less than half of a structure's contrast, or none."""
    return structure.contrast(other) < KEPT * structure.contrast(shown)


def summarised(rows: Sequence[Row], flagger: Flagger) -> dict[str, Any]:
    """How well flags tell what is invented, with an interval over cases; false alarms; misses beside."""
    scores, truth, owner = _table(rows)
    threshold = float(np.quantile(scores[truth], 1 - SENSITIVITY, method="lower")) if truth.any() else None
    flagged = scores >= threshold if threshold is not None else np.zeros(len(scores), bool)
    alone = {name: _auroc_of(rows, name) for name in flagger.names}
    return {
        "flagger": flagger.to_json(),
        "n_cases": len(rows),
        "structures": len(scores),
        "invented": int(truth.sum()),
        "auroc": _with_interval(scores, truth, owner, len(rows)),
        "auroc_alone": alone,
        "threshold": threshold,
        "sensitivity": SENSITIVITY,
        "false_alarms": float((flagged & ~truth).sum() / max(1, len(rows))),
        "lesions": sum(row["lesions"] for row in rows),
        "missed": sum(row["missed"] for row in rows),
    }


def _table(rows: Sequence[Row], name: str = "") -> tuple[Numbers, NDArray[np.bool_], NDArray[np.intp]]:
    """Scores (the probability, or one kind of evidence), truth and the number of the case of every structure."""
    seen = [(n, one) for n, row in enumerate(rows) for one in row["structures"]]
    scores = np.array([one["evidence"][name] if name else one["probability"] for _, one in seen], float)
    return scores, np.array([one["invented"] for _, one in seen], bool), np.array([n for n, _ in seen], np.intp)


def _auroc_of(rows: Sequence[Row], name: str) -> float | None:
    scores, truth, _ = _table(rows, name)
    return _known(auroc(scores, truth))


def _with_interval(
    scores: Numbers, truth: NDArray[np.bool_], owner: NDArray[np.intp], n_cases: int
) -> dict[str, float | None]:
    """95 % percentile bootstrap: whole cases are drawn, since structures of one case are alike."""
    members = [np.flatnonzero(owner == n) for n in range(n_cases)]
    rng = np.random.default_rng(0)
    found = []
    for _ in range(N_RESAMPLES if n_cases >= MIN_CASES else 0):
        drawn = np.concatenate([members[n] for n in rng.integers(0, n_cases, n_cases)])
        found.append(auroc(scores[drawn], truth[drawn]))
    known = [value for value in found if np.isfinite(value)]
    low, high = (float(q) for q in np.quantile(known, [0.025, 0.975])) if known else (None, None)
    return {"value": _known(auroc(scores, truth)), "low": low, "high": high}


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None
