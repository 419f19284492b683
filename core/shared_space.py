"""How far a code is shared: whether modalities of one slice are found in each other, lie together, and tell the same.

Measured on held-out cases alone. Codes are compared by direction (unit vectors), as similarity learning compares them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from core.latent import Embedding, by_case
from core.types import Array, Label

LEAST_ITEMS = 50  # fewer are found again too often by chance
MOST_ITEMS = 1500  # all pairs are compared
RANKS = (1, 5, 10)
N_VOTERS = 5
Codes = NDArray[np.float64]


@dataclass(frozen=True)
class Retrieval:
    """One modality's code looks for the same slice among the codes of another.

    Attributes:
        recall: k -> share of items whose own partner is among the k nearest; a tie counts against it.
        median_rank: of the own partner, 1 is the nearest.
        n: items; chance is k / n, and (n + 1) / 2 for the rank.
    """

    recall: Mapping[int, float]
    median_rank: float
    n: int

    @property
    def chance(self) -> dict[int, float]:
        return {k: min(1.0, k / self.n) for k in self.recall}

    @property
    def chance_rank(self) -> float:
        return (self.n + 1) / 2


@dataclass(frozen=True)
class SharedSpace:
    """Two modalities of held-out cases.

    Attributes:
        retrieval: mean of both ways; None under LEAST_ITEMS items.
        cka: 1 where both codes tell the same up to rotation and scale; unbiased, so about 0 where they share nothing.
        gap: distance of the two modalities' mean directions, 0 to 2.
        alignment: mean squared distance of partners, 0 to 4; low is good.
        uniformity: how evenly directions are spread; the lower, the more evenly.
    """

    first: str
    second: str
    n: int
    retrieval: Retrieval | None
    cka: float | None
    gap: float
    alignment: float
    uniformity: float


@dataclass(frozen=True)
class Transfer:
    """A label told by its neighbours' labels in another modality.

    Attributes:
        accuracy: of held-out cases in the modality `asked`, by training cases in the modality `known`.
        chance: of always saying the label that is most frequent in the training.
    """

    label: str
    known: str
    asked: str
    accuracy: float
    chance: float
    n: int


def measure_space(embedding: Embedding, held_out: Collection[str], seed: int = 0) -> list[SharedSpace]:
    """Every pair of modalities that some held-out slices have both of."""
    codes = embedding.take(np.flatnonzero(np.isin(embedding.case, list(held_out))))
    found = []
    for first, second in combinations(sorted(set(codes.modality.tolist())), 2):
        a, b = _partners(codes, first, second, seed)
        if len(a):
            found.append(compare_codes(first, second, a, b))
    return found


def compare_codes(first: str, second: str, a: Array, b: Array) -> SharedSpace:
    """The measures of two modalities' codes (n, D), row by row of the same slice."""
    u, v = _unit(a), _unit(b)
    return SharedSpace(
        first,
        second,
        len(u),
        retrieve(u, v) if len(u) >= LEAST_ITEMS else None,
        debiased_cka(a, b) if len(a) > 3 else None,
        float(np.linalg.norm(u.mean(0) - v.mean(0))),
        float(((u - v) ** 2).sum(1).mean()),
        float(np.mean([uniformity(u), uniformity(v)])) if len(u) > 1 else 0.0,
    )


def retrieve(u: Codes, v: Codes) -> Retrieval:
    """Both ways, u looking among v and v among u; unit vectors (n, D)."""
    likeness = u @ v.T
    own = likeness.diagonal()
    ranks = np.concatenate([(likeness >= own[:, None]).sum(1), (likeness >= own[None, :]).sum(0)])
    return Retrieval({k: float((ranks <= k).mean()) for k in RANKS}, float(np.median(ranks)), len(u))


def debiased_cka(a: Array, b: Array) -> float:
    """Linear centred kernel alignment with the unbiased HSIC.

    Source:
        Kornblith et al. 2019, arXiv:1905.00414; Song et al. 2012, Feature selection via dependence maximization, JMLR.
    """
    k, m = (x.astype(np.float64) @ x.T.astype(np.float64) for x in (a - a.mean(0), b - b.mean(0)))
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    spread = _hsic(k, k) * _hsic(m, m)
    return float(_hsic(k, m) / np.sqrt(spread)) if spread > 0 else 0.0


def _hsic(k: Codes, m: Codes) -> float:
    """Of kernel matrices with zeros on their diagonals."""
    n = len(k)
    sums, others = k.sum(0), m.sum(0)
    total = (k * m).sum() + sums.sum() * others.sum() / ((n - 1) * (n - 2)) - 2 * (sums @ others) / (n - 2)
    return float(total / (n * (n - 3)))


def uniformity(u: Codes) -> float:
    """Log of the mean Gaussian potential of all pairs of unit vectors.

    Source:
        Wang & Isola 2020, arXiv:2005.10242, which also defines alignment.
    """
    squares = 2 - 2 * (u @ u.T)
    potential = np.exp(-2 * squares[np.triu_indices(len(u), 1)])
    return float(np.log(potential.mean()))


def transfer_labels(
    embedding: Embedding, labels: Mapping[str, Mapping[str, Label]], training: Sequence[str], held_out: Sequence[str]
) -> list[Transfer]:
    """Every label with few classes: known of training cases in one modality, asked of held-out cases in another."""
    codes = by_case(embedding)
    names = sorted({name for facts in labels.values() for name in facts})
    found = []
    for name in names:
        said = {case: str(facts[name]) for case, facts in labels.items() if name in facts}
        if 2 <= len(set(said.values())) <= max(2, len(said) // N_VOTERS):
            modalities = sorted(set(codes.modality.tolist()))
            for known in modalities:
                for asked in modalities:
                    result = _transfer(codes, said, (known, training), (asked, held_out)) if known != asked else None
                    if result is not None:
                        found.append(Transfer(name, known, asked, *result))
    return found


def _transfer(
    codes: Embedding, said: Mapping[str, str], known: tuple[str, Sequence[str]], asked: tuple[str, Sequence[str]]
) -> tuple[float, float, int] | None:
    """Accuracy of a vote of the nearest, of the usual answer, and of how many cases."""
    (x, own), (y, truth) = (_labelled(codes, said, *side) for side in (known, asked))
    if len(own) < N_VOTERS or not len(truth):
        return None
    classes = sorted(set(own))
    nearest = np.argsort(-(y @ x.T), axis=1, kind="stable")[:, :N_VOTERS]
    votes = np.array([[(own[row] == c).sum() for c in classes] for row in nearest])
    told = np.array(classes)[votes.argmax(1)]
    usual = max(classes, key=lambda c: int((own == c).sum()))
    return float((told == truth).mean()), float((truth == usual).mean()), len(truth)


def _labelled(
    codes: Embedding, said: Mapping[str, str], modality: str, cases: Sequence[str]
) -> tuple[Codes, NDArray[np.str_]]:
    kept = [n for n, case in enumerate(codes.case.tolist()) if codes.modality[n] == modality and case in cases]
    rows = np.array([n for n in kept if str(codes.case[n]) in said], np.int64)
    return _unit(codes.z[rows]), np.array([said[str(codes.case[n])] for n in rows], str)


def _partners(codes: Embedding, first: str, second: str, seed: int) -> tuple[Array, Array]:
    """Codes of the same case and slice, row by row."""
    rows: dict[str, dict[tuple[str, int], int]] = {first: {}, second: {}}
    for n, key in enumerate(zip(codes.case.tolist(), codes.slice.tolist(), strict=True)):
        if codes.modality[n] in rows:
            rows[str(codes.modality[n])][key] = n
    both = sorted(set(rows[first]) & set(rows[second]))
    if len(both) > MOST_ITEMS:
        chosen = np.random.default_rng(seed).choice(len(both), MOST_ITEMS, replace=False)
        both = [both[n] for n in sorted(chosen)]
    a, b = (codes.z[[rows[m][key] for key in both]] if both else codes.z[:0] for m in (first, second))
    return a, b


def _unit(z: Array) -> Codes:
    values = z.astype(np.float64)
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12))
