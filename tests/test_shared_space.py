"""How far a code is shared: each measure against a case whose answer is known, or another way to compute it."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from core.latent import Embedding
from core.shared_space import (
    LEAST_ITEMS,
    compare_codes,
    debiased_cka,
    measure_space,
    retrieve,
    transfer_labels,
    uniformity,
)

N, D = 60, 6


def codes(seed: int = 0, n: int = N) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, D)).astype(np.float32)


def unit(z: np.ndarray) -> np.ndarray:
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def embedding_of(**by_modality: np.ndarray) -> Embedding:
    """Rows 0, 1, ... are slices of cases a (the first half) and b."""
    parts = []
    for m, z in by_modality.items():
        half = len(z) // 2
        case = np.array(["a"] * half + ["b"] * (len(z) - half))
        parts.append((z, case, np.full(len(z), m), np.arange(len(z))))
    return Embedding(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def test_equal_codes_are_found_at_once_and_unrelated_ones_by_chance():
    same = retrieve(unit(codes()), unit(codes()))
    assert (same.recall, same.median_rank, same.n) == ({1: 1, 5: 1, 10: 1}, 1, N)
    assert same.chance == {1: 1 / N, 5: 5 / N, 10: 10 / N} and same.chance_rank == (N + 1) / 2
    n = 1200
    lost = retrieve(unit(codes(1, n)), unit(codes(2, n)))
    assert all(lost.recall[k] == pytest.approx(k / n, abs=4 * np.sqrt(k / n / n)) for k in (1, 5, 10))
    assert lost.median_rank == pytest.approx(n / 2, rel=0.1)


def test_ranks_are_those_of_a_plain_count():
    u, v = unit(codes(3)), unit(codes(3) + 0.8 * codes(4))
    ranks = []
    for one, other in permutations((u, v)):
        ranks += [1 + sum(one[i] @ other[j] >= one[i] @ other[i] for j in range(N) if j != i) for i in range(N)]
    found = retrieve(u, v)
    assert found.recall == {k: np.mean(np.array(ranks) <= k) for k in (1, 5, 10)}
    assert found.median_rank == np.median(ranks)


def test_codes_that_are_all_the_same_count_as_never_found():
    same = np.tile(unit(codes())[:1], (N, 1))
    assert retrieve(same, same).recall == {1: 0, 5: 0, 10: 0}


def test_alignment_is_told_of_rotation_gain_and_shift_by_nothing():
    turn = np.linalg.qr(codes(5, D))[0]
    assert debiased_cka(codes(), 3 * codes() @ turn + 7) == pytest.approx(1, abs=1e-5)


def test_alignment_of_unrelated_codes_is_about_nothing_where_the_biased_one_is_not():
    found, biased = [], []
    for seed in range(30):
        a, b = codes(2 * seed, 12).astype(float), codes(2 * seed + 1, 12).astype(float)
        found.append(debiased_cka(a, b))
        a, b = a - a.mean(0), b - b.mean(0)
        biased.append(np.square(a.T @ b).sum() / np.sqrt(np.square(a.T @ a).sum() * np.square(b.T @ b).sum()))
    assert abs(np.mean(found)) < 0.1 < 0.25 < np.mean(biased)


def test_the_unbiased_measure_is_the_mean_over_four_different_rows():
    """HSIC as a U-statistic, written out: the mean of its kernel over all fours of different rows."""
    n = 7
    a, b = codes(8, n).astype(float), codes(9, n).astype(float)

    def hsic(k, m):
        terms = [k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q]) for i, j, q, r in permutations(range(n), 4)]
        return np.mean(terms)

    k, m = ((x - x.mean(0)) @ (x - x.mean(0)).T for x in (a, b))
    assert debiased_cka(a, b) == pytest.approx(hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m)), abs=1e-9)


def test_a_gap_between_modalities_is_measured_and_hides_no_pairing():
    a = codes() + np.array([4, 0, 0, 0, 0, 0])
    b = codes() + np.array([0, 4, 0, 0, 0, 0])
    found = compare_codes("CT", "T1", a, b)
    assert found.gap == pytest.approx(np.linalg.norm(unit(a).mean(0) - unit(b).mean(0)))
    assert found.gap > 0.9 and found.cka == pytest.approx(1, abs=1e-5)
    assert compare_codes("CT", "T1", a, a).gap == 0


def test_alignment_and_uniformity_are_the_published_formulas():
    a, b = codes(1), codes(2)
    found = compare_codes("CT", "T1", a, b)
    u, v = unit(a), unit(b)
    assert found.alignment == pytest.approx(np.mean([np.sum((x - y) ** 2) for x, y in zip(u, v, strict=True)]))

    def spread(w):
        pairs = [np.exp(-2 * np.sum((w[i] - w[j]) ** 2)) for i in range(N) for j in range(N) if i < j]
        return np.log(np.mean(pairs))

    assert found.uniformity == pytest.approx((spread(u) + spread(v)) / 2, abs=1e-6)
    assert uniformity(unit(codes(3, 400))) < uniformity(unit(codes(3, 400) + 5))


def test_only_held_out_slices_that_both_modalities_have_are_compared():
    z = codes(0, 120)
    embedding = embedding_of(CT=z, T1=np.concatenate([z[:60] + 9, z[60:]]), T2=z[:30])
    (pair,) = [found for found in measure_space(embedding, ["b"]) if (found.first, found.second) == ("CT", "T1")]
    assert (pair.n, pair.alignment) == (60, 0)
    assert pair.retrieval.recall[1] == 1


def test_too_few_items_are_not_retrieved_among():
    few = embedding_of(CT=codes(0, LEAST_ITEMS - 2), T1=codes(0, LEAST_ITEMS - 2))
    (found,) = measure_space(few, ["a", "b"])
    assert found.retrieval is None and found.n == LEAST_ITEMS - 2
    assert found.cka == pytest.approx(1)


@pytest.mark.parametrize("is_shared", [True, False])
def test_a_label_goes_from_one_modality_to_another_where_the_code_is_shared(is_shared):
    rng = np.random.default_rng(0)
    cases = [f"c{n:02d}" for n in range(40)]
    kinds = {case: "b" if n % 3 else "a" for n, case in enumerate(cases)}
    centre = {"a": np.eye(D)[0] * 3, "b": np.eye(D)[1] * 3}
    other = centre if is_shared else {"a": centre["b"], "b": centre["a"]}
    z = {m: [where[kinds[c]] + rng.normal(0, 0.3, D) for c in cases] for m, where in (("CT", centre), ("T1", other))}
    embedding = Embedding(
        np.array(z["CT"] + z["T1"], np.float32), np.array(cases * 2), np.repeat(["CT", "T1"], 40), np.zeros(80, int)
    )
    labels = {case: {"kind": kinds[case], "same": "x", "id": case} for case in cases}
    found = transfer_labels(embedding, labels, cases[:28], cases[28:])
    assert {(one.label, one.known, one.asked) for one in found} == {("kind", "CT", "T1"), ("kind", "T1", "CT")}
    assert all(one.accuracy == (1 if is_shared else 0) and one.n == 12 for one in found)
    assert all(one.chance == np.mean([kinds[c] == "b" for c in cases[28:]]) for one in found)
