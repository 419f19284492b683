"""What the Latent page draws: codes with their place on the map, and what they can be coloured by. No widgets here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from core.dataset import Dataset, Split
from core.errors import UserError
from core.remembered import remembered
from core.runs import Run
from core.workspace import Workspace

if TYPE_CHECKING:
    from core.latent import Embedding, Key, Projection

DRAWN = 20_000  # more points make a browser slow
TORN = 2.0  # a pair this many times as far apart as usual
MAX_LINES = 3_000
MANY_VALUES = 8  # numbers with more values than this are a scale, not a set
SPLIT_WORDS = {"train": "training", "val": "watched in training", "test": "held out"}
LATENT = "Latent "
REMEMBERED = 8  # embeddings, of which the same thing is not worked out for each page anew


@dataclass(frozen=True, eq=False)
class Points:
    """The codes of a run, one per slice or one per case.

    Attributes:
        codes: in the order of the map.
        dataset, split: None where the dataset is gone.
        middles: (case, modality) -> a slice to show for a whole case.
    """

    codes: Embedding
    dataset: Dataset | None
    split: Split | None
    middles: Mapping[tuple[str, str], int]

    @property
    def n(self) -> int:
        return len(self.codes.z)

    @property
    def is_by_case(self) -> bool:
        return bool(self.n) and int(self.codes.slice[0]) < 0

    @property
    def keys(self) -> list[Key]:
        return self.codes.keys

    @property
    def row_of(self) -> dict[Key, int]:
        return self.codes.row_of

    def rows(self, keys: Iterable[Key]) -> list[int]:
        """Those that are here."""
        return [self.row_of[key] for key in keys if key in self.row_of]

    def colour_names(self) -> list[str]:
        """What the points can be coloured by."""
        labels = sorted({name for facts in self._labels.values() for name in facts})
        position = [] if self.is_by_case else ["Slice position"]
        split = ["Split"] if self.split else []
        dims = [f"{LATENT}{dim + 1}" for dim in range(self.codes.z.shape[1])]
        return ["Modality", "Case", *split, *position, *(_spoken(name) for name in labels), *dims]

    def colour_values(self, name: str) -> NDArray[Any]:
        """One value per point: numbers for a scale, text for a set."""
        if name == "Modality":
            return self.codes.modality
        if name == "Case":
            return self.codes.case
        if name == "Slice position":
            return self.codes.slice
        if name == "Split":
            return self._per_case(self.split_words)
        if name.startswith(LATENT):
            return self.codes.z[:, int(name.removeprefix(LATENT)) - 1]
        label = {case: {_spoken(key): value for key, value in facts.items()} for case, facts in self._labels.items()}
        return self._per_case({case: facts.get(name) for case, facts in label.items()})

    @cached_property
    def split_words(self) -> dict[str, str]:
        if self.split is None:
            return {}
        return {case: words for part, words in SPLIT_WORDS.items() for case in getattr(self.split, part)}

    @cached_property
    def _labels(self) -> dict[str, Mapping[str, Any]]:
        if self.dataset is None:
            return {}
        known = set(self.codes.case.tolist())
        return {case: self.dataset.record(case)["labels"] for case in self.dataset.case_ids if case in known}

    def _per_case(self, value_of: Mapping[str, Any]) -> NDArray[Any]:
        values = [value_of.get(case) for case in self.codes.case.tolist()]
        found = {value for value in values if value is not None}
        is_scale = len(found) > MANY_VALUES and all(isinstance(value, int | float) for value in found)
        if is_scale:
            return np.array([np.nan if value is None else float(value) for value in values])
        return np.array(["not known" if value is None else _plain(value) for value in values])

    def slice_of(self, key: Key) -> int:
        """The slice that stands for a point."""
        return key[2] if key[2] >= 0 else self.middles.get(key[:2], 0)


def _spoken(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def read_codes(run: Run) -> Embedding | None:
    """What the run's embedding file holds; None before it is computed."""
    path = run.embedding_path
    return _read(path) if path.exists() else None


@remembered(at_most=REMEMBERED)
def _read(path: Path) -> Embedding:
    from core.latent import load_embedding

    return load_embedding(path)


@lru_cache(maxsize=REMEMBERED)
def _whole_cases(codes: Embedding) -> Embedding:
    from core.latent import by_case

    return by_case(codes)


def read_points(place: Workspace, run: Run, codes: Embedding, level: str) -> Points:
    """The codes of every slice, or their mean per case, with what is known of the cases."""
    dataset, split = _data_of(place, run)
    middles: dict[tuple[str, str], int] = {}
    if level == "case":
        found: dict[tuple[str, str], list[int]] = {}
        for case, modality, k in codes.keys:
            found.setdefault((case, modality), []).append(k)
        middles = {key: sorted(slices)[len(slices) // 2] for key, slices in found.items()}
    return Points(_whole_cases(codes) if level == "case" else codes, dataset, split, middles)


def _data_of(place: Workspace, run: Run) -> tuple[Dataset | None, Split | None]:
    """None, None where the dataset is gone or is another one by now."""
    config = run.config
    try:
        dataset = Dataset.open(place, config.dataset)
    except UserError:
        return None, None
    if dataset.fingerprint != config.dataset_fingerprint:
        return None, None
    return dataset, dataset.split_of(config)


def known_map(run: Run, codes: Embedding, method: str, n_axes: int, level: str) -> Projection | None:
    """The map, if it was computed; this never computes one."""
    from core.latent import find_projection

    return find_projection(run.folder, codes, method, n_components=n_axes, level="case" if level == "case" else "slice")


@dataclass(frozen=True, eq=False)
class Pairs:
    """Distances between the modalities of one case (and slice), torn pairs first; one entry each per pair.

    Attributes:
        first, second: rows of the points.
        distance: in the latent space.
        relative: over what is usual between these two modalities.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    distance: NDArray[np.float64]
    relative: NDArray[np.float64]

    @property
    def n_torn(self) -> int:
        return int((self.relative >= TORN).sum())


def pairs_of_points(points: Points) -> Pairs:
    """See `core.latent.pair_distances`."""
    return _pairs_of(points.codes)


@lru_cache(maxsize=REMEMBERED)
def _pairs_of(codes: Embedding) -> Pairs:
    from core.latent import pair_distances

    found = pair_distances(codes)
    ends = []
    for side in ("first", "second"):
        keys = zip(found["case"].tolist(), found[side].tolist(), found["slice"].tolist(), strict=True)
        ends.append(np.array([codes.row_of[key] for key in keys], np.int64))
    return Pairs(ends[0], ends[1], found["euclidean"], found["relative"])


def lines_to_draw(points: Points, pairs: Pairs, which: str, focus: Sequence[int]) -> list[int]:
    """Indices of the pairs that get a line: "torn" ones or "all"; of the cases in focus only, where there are any."""
    chosen = np.arange(len(pairs.first))
    if which == "torn":
        chosen = chosen[: pairs.n_torn]
    if len(focus):
        cases = set(points.codes.case[list(focus)].tolist())
        chosen = chosen[np.isin(points.codes.case[pairs.first[chosen]], list(cases))]
    return [int(n) for n in chosen[:MAX_LINES]]


def drawn_rows(n: int) -> NDArray[np.int64]:
    """All rows, or a seeded sample of `DRAWN`."""
    if n <= DRAWN:
        return np.arange(n)
    return np.sort(np.random.default_rng(0).choice(n, DRAWN, replace=False))


def keys_of_event(event: Mapping[str, Any]) -> list[Key]:
    """The points that a lasso, a box or a click caught, from their custom data, each once."""
    points = event["selection"]["points"] if "selection" in event else []
    found: dict[Key, None] = {}
    for point in points:
        data = point.get("customdata")
        if data and len(data) == 3:
            found[str(data[0]), str(data[1]), int(data[2])] = None
    return list(found)
