"""What PLS and CCA share: directions of each modality whose scores agree, one after the other, for two sets or more.

Each modality is reduced to its first principal components. Of all directions u_m the next ones are those with the
largest sum over pairs of u_a' C_ab u_b; then each set loses what its own scores explain. For two sets and a `ridge` of
1 this is PLS in canonical mode, towards 0 CCA (Tenenhaus & Tenenhaus 2011, doi:10.1007/s11336-011-9206-8).
From the scores to a shared code as in probabilistic CCA (Bach & Jordan 2005): s_m = share_m z + rest, z ~ N(0, 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from core.errors import InvalidConfigError
from core.models.base import Batch, Shapes
from core.models.formulas import Gaussian, product_of_experts
from core.models.linear_code import LinearCode, LinearSettings, Matrix, Sample
from core.models.shared_vae import shares_by_name

LEAST, MOST = 1e-3, 0.999  # of a share: a score is never known to be free of the code, nor to be the code itself


class SetSettings(LinearSettings):
    """What PLS and CCA have in common."""

    components: int = Field(32, ge=1, le=512, description="Numbers in the code")
    kept: int = Field(64, ge=1, le=512, description="Principal components of each modality that are compared")


class LinearSets(LinearCode):
    """Each modality's scores are an expert on the code; several are multiplied, with the prior."""

    multiplies_experts = True
    ridge: float

    def __init__(self, config: SetSettings, shapes: Shapes) -> None:
        if len(shapes.modalities) < 2:
            raise InvalidConfigError(f"{self.title} compares modalities: it needs two at least.", "ONE-MODALITY")
        super().__init__(config, shapes)
        self.projection: Tensor
        self.share: Tensor
        self.register_buffer("projection", torch.zeros_like(self.loading))
        self.register_buffer("share", torch.full((len(shapes.modalities), config.components), LEAST))

    def learn(self, sample: Sample) -> None:
        pairs = list(zip(sample.x, sample.present, strict=True))
        reduced = [reduce(x[rows].astype(np.float64), self.config.kept, self.ridge) for x, rows in pairs]
        sets = [scattered(r.scores, rows) for r, (_, rows) in zip(reduced, pairs, strict=True)]
        found = agreeing(sets, sample.present, self.config.components)
        share = shares(found.scores, sample.present)
        for buffer in (self.loading, self.projection):
            buffer.zero_()
        self.share.fill_(LEAST)
        k = share.shape[1]
        self.share[:, :k].copy_(torch.from_numpy(share))
        for at, r in enumerate(reduced):
            self.mean[at].copy_(torch.from_numpy(r.mean))
            self.projection[at, :, :k].copy_(torch.from_numpy(r.into @ found.rotations[at]))
            self.loading[at, :, :k].copy_(torch.from_numpy(r.back @ found.loadings[at] * share[at]))

    def experts(self, batch: Batch) -> dict[str, Gaussian]:
        """What each modality's scores say of z: the mean is s / share, the variance 1 / share^2 - 1."""
        found = {}
        for m, at in self._places(batch.x).items():
            share = self.share[at]
            scores = self.centred(batch, m) @ self.projection[at]
            log_var = torch.log1p(-(share**2)) - 2 * share.abs().log()
            found[m] = Gaussian(scores / share, log_var.expand_as(scores))
        return found

    def encode(self, batch: Batch) -> Gaussian:
        experts = self.experts(batch)
        if not experts:
            nothing = self.share.new_zeros(batch.size, self.share.shape[1])
            return Gaussian(nothing, nothing)
        return product_of_experts(list(experts.values()), [batch.present[m] for m in experts])

    def precision_shares(self, batch: Batch) -> dict[str, Tensor]:
        experts = self.experts(batch)
        return shares_by_name(experts, batch, prior=True) if experts else {}


@dataclass(frozen=True, eq=False)
class Reduced:
    """One modality's principal components, scaled: scores (n, r); into, back (P, r) between them and pixels."""

    mean: Matrix
    scores: Matrix
    into: Matrix
    back: Matrix


def reduce(x: Matrix, kept: int, ridge: float) -> Reduced:
    """Scores divided by the root of (1 - ridge) times their own variance plus `ridge` times the mean one.

    Args:
        x: (n, P); under two rows have no components.
    """
    from sklearn.decomposition import PCA

    r = min(kept, len(x) - 1, x.shape[1])
    if r < 1:
        nothing = np.zeros((x.shape[1], 0))
        return Reduced(x.mean(0) if len(x) else np.zeros(x.shape[1]), np.zeros((len(x), 0)), nothing, nothing)
    found = PCA(r, random_state=0).fit(x)
    variance = np.maximum(found.explained_variance_, 1e-12 * max(float(found.explained_variance_[0]), 1e-300))
    scale = np.sqrt((1 - ridge) * variance + ridge * variance.mean())
    into, back = found.components_.T / scale, found.components_.T * scale
    return Reduced(found.mean_, (x - found.mean_) @ into, into, back)


def scattered(scores: Matrix, rows: NDArray[np.bool_]) -> Matrix:
    """(n, r): the scores where the rows are, zeros elsewhere."""
    out = np.zeros((len(rows), scores.shape[1]))
    out[rows] = scores
    return out


@dataclass(frozen=True, eq=False)
class Agreement:
    """Components of every set: scores (M, n, K) of variance 1, zero where absent.

    Attributes:
        rotations: per set (r, K), from its columns to the scores.
        loadings: per set (r, K), what the scores explain of its columns.
    """

    scores: Matrix
    rotations: list[Matrix]
    loadings: list[Matrix]


def agreeing(sets: list[Matrix], present: NDArray[np.bool_], n_components: int) -> Agreement:
    """One direction of each set after the other, as in the head of this file.

    Args:
        sets: (n, r_m) each, columns of mean 0, zero where absent.
        present: (M, n).
    """
    left = [x.copy() for x in sets]
    weights: list[list[Matrix]] = [[] for _ in sets]
    loads: list[list[Matrix]] = [[] for _ in sets]
    first = 0.0
    for _ in range(min(n_components, max(x.shape[1] for x in sets))):
        strength, directions = next_directions(left, present)
        first = first or strength
        if strength <= 1e-9 * first or first <= 0:
            break
        for at, u in enumerate(directions):
            score = left[at] @ u
            load = left[at].T @ score / max(float(score @ score), 1e-300)
            left[at] -= np.outer(score, load)
            weights[at].append(u)
            loads[at].append(load)
    return _standardised(sets, present, weights, loads)


def next_directions(sets: list[Matrix], present: NDArray[np.bool_]) -> tuple[float, list[Matrix]]:
    """The largest sum of covariances between sets, and unit vectors (r_m,) that reach it."""
    from scipy.linalg import eigh

    together = np.maximum(present.astype(float) @ present.T, 1)
    blocks = [[a.T @ b / together[i, j] * (i != j) for j, b in enumerate(sets)] for i, a in enumerate(sets)]
    between = np.block(blocks)
    last = len(between) - 1
    strength, vectors = eigh(between, subset_by_index=[last, last])
    ends = np.cumsum([x.shape[1] for x in sets])[:-1]
    parts = np.split(vectors[:, 0], ends)
    return float(strength[0]), [u / max(float(np.linalg.norm(u)), 1e-9) for u in parts]


def _standardised(
    sets: list[Matrix], present: NDArray[np.bool_], weights: list[list[Matrix]], loads: list[list[Matrix]]
) -> Agreement:
    rotations, loadings, scores = [], [], []
    for x, rows, u, p in zip(sets, present, weights, loads, strict=True):
        w, load = (np.array(part).reshape(len(part), -1).T for part in (u, p))
        rotation = w @ np.linalg.pinv(load.T @ w) if w.size else w
        score = x @ rotation
        spread = np.sqrt((score**2).sum(0) / max(int(rows.sum()) - 1, 1))
        safe = np.where(spread > 0, spread, 1.0)
        rotations.append(rotation / safe)
        loadings.append(load * spread)
        scores.append(score / safe)
    return Agreement(np.stack(scores), rotations, loadings)


def shares(scores: Matrix, present: NDArray[np.bool_]) -> Matrix:
    """(M, K): how strongly each set's score depends on what all have in common.

    For each component the correlations of the scores are taken to be share_a * share_b (one common factor, found by
    principal axes); for two sets each share is the root of their correlation.
    """
    both = present[:, None] & present[None]
    found = np.zeros((scores.shape[2], len(scores)))
    for k, s in enumerate(np.moveaxis(scores, 2, 0)):
        squares = np.where(both, s[:, None] ** 2, 0).sum(2)
        sizes = np.sqrt(squares * squares.T)
        known = (sizes > 0) & ~np.eye(len(s), dtype=bool)
        correlations = np.divide(s @ s.T, sizes, out=np.zeros_like(sizes), where=known)
        found[k] = _common_factor(correlations, known)
    sign = np.where(found < 0, -1.0, 1.0)
    clipped: Matrix = sign * np.clip(np.abs(found), LEAST, MOST)
    return clipped.T


def _common_factor(correlations: Matrix, known: NDArray[np.bool_], rounds: int = 50) -> Matrix:
    """(M,) whose products are nearest to the known correlations."""
    share = np.sqrt(np.abs(np.where(known, correlations, 0)).max(1))
    for _ in range(rounds):
        guess = np.where(known, correlations, np.outer(share, share))
        values, vectors = np.linalg.eigh(guess)
        share = np.clip(np.sqrt(max(float(values[-1]), 0.0)) * vectors[:, -1], -MOST, MOST)
        share *= 1.0 if share.sum() >= 0 else -1.0
    return np.asarray(share)
