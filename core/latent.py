"""The shared representation, looked at: codes of every slice in every modality alone, their map, their distances.

To add a projection: a function (z, seed, n_components) -> (N, n_components), and a line in PROJECTIONS.
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidConfigError, NotFoundError, UnreadableImageError
from core.types import Array
from core.workspace import atomic_write

Level = Literal["slice", "case"]
FIELDS = ("z", "case", "modality", "slice")  # of an Embedding, and the keys of its file
Columns = dict[str, NDArray[Any]]
Key = tuple[str, str, int]  # case, modality, slice (WHOLE_CASE where there is none)
WHOLE_CASE = -1  # slice number of a code that is the mean over a case's slices
MIN_POINTS = 4  # fewer have no neighbourhoods to keep
QUALITY_POINTS = 2000  # the measure compares all pairs
N_NEIGHBOURS = 15
_umap_lock = threading.Lock()  # two threads that fit at once can abort the process


@dataclass(frozen=True, eq=False)
class Embedding:
    """One row per code: z (N, D) float32; case, modality (N,) text; slice (N,) position, -1 for a whole case."""

    z: Array
    case: NDArray[np.str_]
    modality: NDArray[np.str_]
    slice: NDArray[np.int64]

    @cached_property
    def keys(self) -> list[Key]:
        return list(zip(self.case.tolist(), self.modality.tolist(), self.slice.tolist(), strict=True))

    @cached_property
    def key_table(self) -> NDArray[np.object_]:
        """(N, 3): the keys as a chart takes them."""
        table = np.empty((len(self.z), 3), object)
        table[:] = self.keys
        return table

    @cached_property
    def row_of(self) -> dict[Key, int]:
        return {key: row for row, key in enumerate(self.keys)}

    def take(self, index: NDArray[Any]) -> Embedding:
        """Some of the rows."""
        return Embedding(self.z[index], self.case[index], self.modality[index], self.slice[index])


@dataclass(frozen=True, eq=False)
class Projection:
    """A map of codes: xy (N, 2 or 3) float32, and how far it keeps neighbourhoods."""

    xy: Array
    quality: dict[str, float]


def by_case(embedding: Embedding) -> Embedding:
    """One code per case and modality: the mean over its slices."""
    keys = np.char.add(np.char.add(embedding.case, "\n"), embedding.modality)
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    sums = np.zeros((len(first), embedding.z.shape[1]))
    np.add.at(sums, group, embedding.z)
    means = (sums / np.bincount(group)[:, None]).astype(np.float32)
    return replace(embedding.take(first), z=means, slice=np.full(len(first), WHOLE_CASE, np.int64))


def save_embedding(embedding: Embedding, path: Path) -> None:
    """Write an .npz with the keys z, case, modality, slice; no objects in it."""
    _save_arrays(path, {name: getattr(embedding, name) for name in FIELDS})


def _save_arrays(path: Path, arrays: dict[str, Any]) -> None:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    atomic_write(path, stream.getvalue())


def load_embedding(path: Path) -> Embedding:
    """What `save_embedding` wrote.

    Raises:
        NotFoundError: Nothing has been written yet.
        UnreadableImageError: The file is damaged.
    """
    if not path.exists():
        raise NotFoundError("The codes of this run have not been computed yet. Start the embedding first.")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Embedding(*(arrays[name] for name in FIELDS))
    except (ValueError, KeyError, EOFError, BadZipFile) as error:
        raise UnreadableImageError("The stored codes of this run are damaged. Compute them again.", "CODES") from error


def project_pca(z: Array, seed: int, n_components: int) -> Array:
    """Principal components: straight shadows, distances keep their meaning."""
    from sklearn.decomposition import PCA

    n_kept = min(n_components, *z.shape)
    xy = PCA(n_kept, svd_solver="full").fit_transform(z.astype(np.float64))
    padded: Array = np.pad(xy, ((0, 0), (0, n_components - n_kept))).astype(np.float32)
    return padded


def project_umap(z: Array, seed: int, n_components: int) -> Array:
    """UMAP (arXiv:1802.03426): neighbours stay neighbours; the first call compiles for 20 to 30 s."""
    with _umap_lock:
        from umap import UMAP

        n = len(z)
        start = "spectral" if n > 4 * N_NEIGHBOURS else "random"  # a spectral start needs a graph larger than that
        n_neighbours = min(N_NEIGHBOURS, n - 1)
        reducer = UMAP(n_neighbors=n_neighbours, n_components=n_components, init=start, random_state=seed, n_jobs=1)
        xy: Array = np.asarray(reducer.fit_transform(z), np.float32)
        return xy


PROJECTIONS: dict[str, Callable[[Array, int, int], Array]] = {  # to add one: write its function above, list it here
    "pca": project_pca,
    "umap": project_umap,
}


def project(z: Array, method: str, seed: int = 0, n_components: int = 2) -> Array:
    """A map (N, n_components) of codes (N, D).

    Raises:
        InvalidConfigError: There is no such projection, or too few codes to draw.
    """
    if method not in PROJECTIONS:
        raise InvalidConfigError(f"There is no projection of that name. Known: {', '.join(PROJECTIONS)}.")
    if n_components not in (2, 3):
        raise InvalidConfigError("A map has 2 or 3 axes.")
    if len(z) < MIN_POINTS:
        raise InvalidConfigError(f"A map needs at least {MIN_POINTS} points; there are {len(z)}.", "TOO-FEW-POINTS")
    return PROJECTIONS[method](z, seed, n_components)


def map_quality(z: Array, xy: Array, k: int = N_NEIGHBOURS) -> dict[str, float]:
    """Share of neighbourhoods kept, 1 is all: trustworthiness (no false neighbours), continuity (none torn away).

    Source:
        Venna & Kaski 2001; on at most QUALITY_POINTS seeded points.
    """
    from sklearn.manifold import trustworthiness

    if len(z) > QUALITY_POINTS:
        chosen = np.random.default_rng(0).choice(len(z), QUALITY_POINTS, replace=False)
        z, xy = z[chosen], xy[chosen]
    k = max(1, min(k, (len(z) - 1) // 2))
    return {
        "trustworthiness": float(trustworthiness(z, xy, n_neighbors=k)),
        "continuity": float(trustworthiness(xy, z, n_neighbors=k)),
    }


def cached_projection(
    run_folder: Path,
    embedding: Embedding,
    method: str,
    seed: int = 0,
    n_components: int = 2,
    level: Level = "slice",
) -> Projection:
    """The map of an embedding (of `by_case(embedding)` at the case level), kept in the run's folder once computed."""
    known = find_projection(run_folder, embedding, method, seed, n_components, level)
    if known is not None:
        return known
    codes = embedding if level == "slice" else by_case(embedding)
    xy = project(codes.z, method, seed, n_components)
    result = Projection(xy, map_quality(codes.z, xy))
    path = _projection_path(run_folder, embedding, method, seed, n_components, level)
    _save_arrays(path, {"xy": xy, **result.quality})
    return result


def find_projection(
    run_folder: Path,
    embedding: Embedding,
    method: str,
    seed: int = 0,
    n_components: int = 2,
    level: Level = "slice",
) -> Projection | None:
    """The same, if it is there already; never computes."""
    path = _projection_path(run_folder, embedding, method, seed, n_components, level)
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as arrays:
        return Projection(arrays["xy"], {name: float(arrays[name]) for name in arrays.files if name != "xy"})


def _projection_path(*parts: Any) -> Path:
    run_folder, embedding, method, *settings = parts
    key = hashlib.sha256(repr(settings).encode())
    for name in FIELDS:
        key.update(np.ascontiguousarray(getattr(embedding, name)).tobytes())
    return Path(run_folder) / "projections" / f"{method}-{key.hexdigest()[:16]}.npz"


def neighbours(embedding: Embedding, index: int, k: int = 8) -> tuple[NDArray[np.int64], Array]:
    """The k codes nearest to row `index` in the latent space, itself left out: (rows, Euclidean distances)."""
    distance = np.linalg.norm(embedding.z - embedding.z[index], axis=1)
    distance[index] = np.inf
    order = np.argsort(distance, kind="stable")[: min(k, len(distance) - 1)]
    return order, distance[order]


def pair_distances(embedding: Embedding) -> Columns:
    """How far apart the modalities of the same case and slice lie, torn pairs first; `by_case` first for whole cases.

    Returns:
        Columns of one length: case, slice, first, second (modalities), euclidean, cosine (distance, 0 to 2), and
        relative: euclidean over the median of that pair of modalities, so 1 is usual and a torn pair is far above.
    """
    places: dict[tuple[str, int], dict[str, int]] = {}
    for row, key in enumerate(zip(embedding.case.tolist(), embedding.slice.tolist(), strict=True)):
        places.setdefault(key, {})[str(embedding.modality[row])] = row
    pairs = [
        (*names, here[names[0]], here[names[1]]) for here in places.values() for names in combinations(sorted(here), 2)
    ]
    first, second = (np.array([pair[n] for pair in pairs], str) for n in (0, 1))
    a, b = (np.array([pair[n] for pair in pairs], np.int64) for n in (2, 3))
    euclidean = np.linalg.norm(embedding.z[a] - embedding.z[b], axis=1)
    relative = np.ones(len(pairs))
    for names in {pair[:2] for pair in pairs}:
        same = (first == names[0]) & (second == names[1])
        relative[same] = euclidean[same] / max(float(np.median(euclidean[same])), 1e-12)
    columns = {"case": embedding.case[a], "slice": embedding.slice[a], "first": first, "second": second}
    measures = {"euclidean": euclidean, "cosine": _cosine(embedding.z[a], embedding.z[b]), "relative": relative}
    order = np.argsort(-relative, kind="stable")
    return {name: column[order] for name, column in {**columns, **measures}.items()}


def _cosine(a: Array, b: Array) -> NDArray[Any]:
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    distance: NDArray[Any] = 1 - (a * b).sum(1) / np.maximum(lengths, 1e-12)
    return distance
