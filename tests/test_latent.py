"""Codes, their maps and their distances."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.batches import informative_rows, make_batch
from core.embed import embed
from core.errors import InvalidConfigError, NotFoundError, UnreadableImageError
from core.latent import (
    PROJECTIONS,
    WHOLE_CASE,
    Embedding,
    by_case,
    cached_projection,
    find_projection,
    load_embedding,
    map_quality,
    neighbours,
    pair_distances,
    project,
    save_embedding,
)
from core.models import MODELS
from tests.tiny_run import Blend, load_tiny, make_dataset, tiny

__all__ = ["tiny"]


def cloud(n: int = 60, dim: int = 6, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(0, 1, (n, dim)) * np.linspace(3, 0.2, dim) + 5).astype(np.float32)


def by_hand() -> Embedding:
    """Two cases, two slices, two modalities, on a line; the pair of case b, slice 4 is torn."""
    keys = [(c, m, k) for c in "ab" for m in ("T1", "T2") for k in (3, 4)]
    places = [0.0, 1.0, 0.1, 1.1, 10.0, 11.0, 10.1, 13.0]
    case, modality, position = (np.array(column) for column in zip(*keys, strict=True))
    return Embedding(np.array([[x, 1.0] for x in places], np.float32), case, modality, position)


def test_every_informative_slice_is_embedded_in_every_modality_alone(tiny):
    embedding = embed(tiny)
    expected = {
        (case_id, m, k)
        for case_id, k in informative_rows(tiny.dataset, tiny.dataset.case_ids)
        for m in tiny.dataset.record(case_id)["modalities"]
    }
    found = list(zip(embedding.case.tolist(), embedding.modality.tolist(), embedding.slice.tolist(), strict=True))
    assert len(found) == len(set(found))
    assert set(found) == expected
    assert ("case-3", "T2", 3) not in expected


def test_a_code_is_that_of_its_own_slice_and_modality(tiny):
    embedding = embed(tiny, ["case-1"])
    row = int(np.flatnonzero((embedding.modality == "T2") & (embedding.slice == 3))[0])
    batch = make_batch(tiny.dataset, [("case-1", 3)], tiny.model.shapes.only(["T2"]))
    np.testing.assert_allclose(embedding.z[row], tiny.model.embed(batch)[0].detach().numpy(), rtol=1e-5)


def test_a_model_without_codes_says_so(workspace, monkeypatch):
    monkeypatch.setitem(MODELS, "blend", Blend)
    monkeypatch.setattr(Blend, "embed", MODELS["constant"].embed)
    with pytest.raises(InvalidConfigError, match="no code"):
        embed(load_tiny(workspace, make_dataset(workspace)))


def test_an_embedding_comes_back_as_it_was_saved(tmp_path):
    embedding = by_hand()
    with pytest.raises(NotFoundError, match="not been computed"):
        load_embedding(tmp_path / "embedding.npz")
    save_embedding(embedding, tmp_path / "embedding.npz")
    back = load_embedding(tmp_path / "embedding.npz")
    for name in ("z", "case", "modality", "slice"):
        np.testing.assert_array_equal(getattr(back, name), getattr(embedding, name))
    (tmp_path / "embedding.npz").write_bytes((tmp_path / "embedding.npz").read_bytes()[:200])
    with pytest.raises(UnreadableImageError, match="damaged"):
        load_embedding(tmp_path / "embedding.npz")


def test_a_whole_case_is_the_mean_of_its_slices():
    whole = by_case(by_hand())
    assert list(zip(whole.case.tolist(), whole.modality.tolist(), strict=True)) == [
        ("a", "T1"),
        ("a", "T2"),
        ("b", "T1"),
        ("b", "T2"),
    ]
    np.testing.assert_allclose(whole.z[:, 0], [0.5, 0.6, 10.5, 11.55], rtol=1e-6)
    assert set(whole.slice.tolist()) == {WHOLE_CASE}


@pytest.mark.parametrize("n_components", [2, 3])
def test_pca_is_the_singular_vectors_projection(n_components):
    z = cloud()
    centred = z - z.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    expected = centred @ axes[:n_components].T
    found = project(z, "pca", n_components=n_components)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-3)


def test_a_code_of_one_number_still_has_a_map():
    assert project(cloud(dim=1), "pca").shape == (60, 2)


@pytest.mark.slow
@pytest.mark.parametrize("n", [5, 12, 200])
def test_umap_is_the_same_for_the_same_seed(n):
    z = cloud(n)
    first = project(z, "umap", seed=3)
    assert first.shape == (n, 2)
    np.testing.assert_array_equal(first, project(z, "umap", seed=3))


def test_what_cannot_be_drawn_is_a_sentence():
    with pytest.raises(InvalidConfigError, match="Known: pca, umap"):
        project(cloud(), "tsne")
    with pytest.raises(InvalidConfigError, match="at least 4"):
        project(cloud(3), "pca")
    with pytest.raises(InvalidConfigError, match="2 or 3"):
        project(cloud(), "pca", n_components=4)


def test_a_map_that_keeps_every_neighbour_is_perfect_and_a_random_one_is_not():
    z = cloud(dim=2)
    assert map_quality(z, z * 2 + 1) == {"trustworthiness": 1.0, "continuity": 1.0}
    poor = map_quality(z, cloud(dim=2, seed=9))
    assert max(poor.values()) < 0.7


def test_trust_and_continuity_are_not_the_same_fault():
    line = np.linspace(0, 1, 200)[:, None].astype(np.float32)
    ring = np.concatenate([np.cos(6 * line), np.sin(6 * line)], 1)
    folded = np.abs(line - 0.5)  # both halves on one another: false neighbours, none torn away
    quality = map_quality(line, folded)
    assert quality["trustworthiness"] < quality["continuity"]
    assert min(map_quality(line, ring).values()) > 0.95


def test_a_projection_is_computed_once(tmp_path, monkeypatch):
    embedding = by_hand()
    assert find_projection(tmp_path, embedding, "pca") is None
    first = cached_projection(tmp_path, embedding, "pca")
    monkeypatch.setitem(PROJECTIONS, "pca", None)
    again = cached_projection(tmp_path, embedding, "pca")
    np.testing.assert_array_equal(first.xy, again.xy)
    assert again.quality == first.quality
    assert find_projection(tmp_path, embedding, "pca", seed=1) is None
    assert find_projection(tmp_path, embedding, "pca", level="case") is None
    assert find_projection(tmp_path, replace(embedding, z=embedding.z + 1), "pca") is None


def test_a_map_of_cases_has_one_point_for_each(tmp_path):
    assert cached_projection(tmp_path, by_hand(), "pca", level="case").xy.shape == (4, 2)


def test_neighbours_are_the_nearest_codes_and_never_itself():
    rows, distances = neighbours(by_hand(), 1, k=3)
    assert rows.tolist() == [3, 2, 0]
    np.testing.assert_allclose(distances, [0.1, 0.9, 1.0], atol=1e-6)


def test_the_torn_pair_comes_first():
    table = pair_distances(by_hand())
    assert len(table["case"]) == 4
    first = {name: column[0].item() for name, column in table.items()}
    assert (first["case"], first["slice"], first["first"], first["second"]) == ("b", 4, "T1", "T2")
    assert first["euclidean"] == pytest.approx(2)
    assert first["relative"] == pytest.approx(2 / 0.1, rel=1e-4)
    a, b = np.array([11.0, 1.0]), np.array([13.0, 1.0])
    cosine = 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert first["cosine"] == pytest.approx(cosine, abs=1e-6)


def test_a_case_with_one_modality_has_no_pair():
    embedding = by_hand()
    assert len(pair_distances(embedding.take(embedding.modality == "T1"))["case"]) == 0
