"""Prepared cases -> batches of slices. Reads memory-mapped arrays slice by slice; nothing grows with the cohort."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from core.config import RunConfig
from core.dataset import Dataset
from core.errors import InvalidConfigError
from core.models.base import Batch, Shapes

HELD_BYTES = 256 * 2**20  # training slices that fit in this are read once and held
Row = tuple[str, int]  # a case id and a slice position


def modalities_of(config: RunConfig, dataset: Dataset) -> tuple[str, ...]:
    """What a run learns from: the modalities it names, else all there are.

    Raises:
        InvalidConfigError: The dataset lacks one of those named.
    """
    named = tuple(dict.fromkeys(config.train.modalities))
    unknown = [m for m in named if m not in dataset.modalities]
    if unknown:
        known = ", ".join(dataset.modalities)
        raise InvalidConfigError(f"train.modalities: the dataset has no {unknown[0]}. Known here: {known}.")
    return named or dataset.modalities


def shapes_of(dataset: Dataset, modalities: Sequence[str]) -> Shapes:
    """What a model for this dataset is built for."""
    i, j, k = dataset.shape
    return Shapes(tuple(modalities), (i, j), k)


def informative_rows(dataset: Dataset, case_ids: Sequence[str], min_fraction: float = 0.05) -> list[Row]:
    """The slices worth learning from: their mask has at least `min_fraction` of the case's largest slice's."""
    rows: list[Row] = []
    for case_id in case_ids:
        areas = dataset.mask(case_id).sum(axis=(0, 1))
        rows += [(case_id, int(k)) for k in np.flatnonzero(areas > min_fraction * areas.max())]
    return rows


def make_batch(dataset: Dataset, rows: Sequence[Row], modalities: Sequence[str]) -> Batch:
    """Stack slices; what a case lacks is zero and marked absent."""
    size = dataset.shape[:2]
    x = {m: torch.zeros(len(rows), 1, *size) for m in modalities}
    present = {m: torch.zeros(len(rows), dtype=torch.bool) for m in modalities}
    mask = torch.zeros(len(rows), 1, *size, dtype=torch.bool)
    numbers = {case_id: number for number, case_id in enumerate(dataset.case_ids)}
    by_case: dict[str, list[tuple[int, int]]] = {}
    for row, (case_id, k) in enumerate(rows):
        by_case.setdefault(case_id, []).append((row, k))
    for case_id, places in by_case.items():
        has = dataset.record(case_id)["modalities"]
        slices, judged = dataset.slices(case_id), dataset.mask(case_id)
        for row, k in places:
            mask[row, 0] = torch.from_numpy(np.array(judged[:, :, k]))
            for m in set(modalities) & set(has):
                x[m][row, 0] = torch.from_numpy(np.array(slices[k, has.index(m)]))
                present[m][row] = True
    case_index = torch.tensor([numbers[case_id] for case_id, _ in rows], dtype=torch.long)
    return Batch(x, present, mask, case_index, torch.tensor([k for _, k in rows], dtype=torch.long))


def take(batch: Batch, rows: Tensor) -> Batch:
    """The rows of a batch with these numbers, as a batch of its own."""
    x = {m: t[rows] for m, t in batch.x.items()}
    present = {m: t[rows] for m, t in batch.present.items()}
    return Batch(x, present, batch.mask[rows], batch.case_index[rows], batch.position[rows])


class Slices:
    """Rows of a dataset to draw batches from: held in memory where they fit, else read again each time.

    Unpaired, each modality of a row is a slice of its own, drawn from all that have the modality; mask, case and
    position are then those of the first modality.
    """

    def __init__(self, dataset: Dataset, rows: Sequence[Row], modalities: Sequence[str], paired: bool = True) -> None:
        self.dataset, self.rows, self.modalities, self.paired = dataset, list(rows), tuple(modalities), paired
        i, j, _ = dataset.shape
        fits = len(self.rows) * i * j * 4 * len(self.modalities) <= HELD_BYTES
        self._held = make_batch(dataset, self.rows, modalities) if fits else None

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, numbers: Sequence[int]) -> Batch:
        """The rows with these numbers, stacked."""
        if self._held is not None:
            return take(self._held, torch.tensor(numbers, dtype=torch.long))
        return make_batch(self.dataset, [self.rows[n] for n in numbers], self.modalities)

    def epoch(self, batch_size: int, rng: np.random.Generator) -> Iterator[Batch]:
        """All rows once, in random order, the last batch smaller; unpaired, in another order for each modality."""
        orders = self._orders(rng)
        for start in range(0, len(self), batch_size):
            yield self._joined({m: order[start : start + batch_size] for m, order in orders.items()})

    def _orders(self, rng: np.random.Generator) -> dict[str, list[int]]:
        """Row numbers, in one order for all modalities or one for each; what fewer rows have comes round again."""
        n = len(self.rows)
        if self.paired:
            return {"all": rng.permutation(n).tolist()}
        having = {m: [k for k, (case_id, _) in enumerate(self.rows) if self._has(case_id, m)] for m in self.modalities}
        return {m: np.resize(rng.permutation(rows or n), n).tolist() for m, rows in having.items()}

    def _joined(self, numbers: Mapping[str, Sequence[int]]) -> Batch:
        parts = {m: self.batch(rows) for m, rows in numbers.items()}
        first = next(iter(parts.values()))
        if self.paired:
            return first
        x, present = ({m: getattr(part, name)[m] for m, part in parts.items()} for name in ("x", "present"))
        return replace(first, x=x, present=present)

    def _has(self, case_id: str, modality: str) -> bool:
        return modality in self.dataset.record(case_id)["modalities"]


def case_batches(dataset: Dataset, case_id: str, modalities: Sequence[str], batch_size: int = 32) -> Iterator[Batch]:
    """All slices of one case, in order."""
    rows = [(case_id, k) for k in range(dataset.shape[2])]
    for start in range(0, len(rows), batch_size):
        yield make_batch(dataset, rows[start : start + batch_size], modalities)


def crop(images: Tensor, dataset: Dataset) -> Tensor:
    """(..., H, W) -> (..., I, J): what a network may have added at the ends is cut off."""
    i, j, _ = dataset.shape
    return images[..., :i, :j]
