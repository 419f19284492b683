"""Prepared cases -> batches of slices. Reads memory-mapped arrays slice by slice; nothing grows with the cohort."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from core.config import RunConfig
from core.dataset import Dataset
from core.errors import InvalidConfigError
from core.models.base import Batch, Shapes

MULTIPLE = 16  # images are padded (at the end, with background) so that networks may halve them four times
Row = tuple[str, int]  # a case id and a slice position


def shapes_of(dataset: Dataset, modalities: Sequence[str]) -> Shapes:
    """What a model for this dataset is built for."""
    i, j, k = dataset.shape
    return Shapes(tuple(modalities), (_padded(i), _padded(j)), k)


def modalities_of(config: RunConfig, dataset: Dataset) -> tuple[str, ...]:
    """The modalities that a run learns from, in the dataset's order.

    Raises:
        InvalidConfigError: One of them is not in the dataset.
    """
    unknown = [m for m in config.train.modalities if m not in dataset.modalities]
    if unknown:
        raise InvalidConfigError(f"The dataset has no {unknown[0]}. It has {', '.join(dataset.modalities)}.")
    return tuple(m for m in dataset.modalities if m in (config.train.modalities or dataset.modalities))


def informative_rows(dataset: Dataset, case_ids: Sequence[str], min_fraction: float = 0.05) -> list[Row]:
    """The slices worth learning from: their mask has at least `min_fraction` of the case's largest slice's."""
    rows: list[Row] = []
    for case_id in case_ids:
        areas = dataset.mask(case_id).sum(axis=(0, 1))
        rows += [(case_id, int(k)) for k in np.flatnonzero(areas > min_fraction * areas.max())]
    return rows


def make_batch(dataset: Dataset, rows: Sequence[Row], modalities: Sequence[str]) -> Batch:
    """Stack slices; what a case lacks is zero and marked absent."""
    i, j, _ = dataset.shape
    size = (_padded(i), _padded(j))
    x = {m: torch.zeros(len(rows), 1, *size) for m in modalities}
    present = {m: torch.zeros(len(rows), dtype=torch.bool) for m in modalities}
    mask = torch.zeros(len(rows), 1, *size, dtype=torch.bool)
    numbers = {case_id: number for number, case_id in enumerate(dataset.case_ids)}
    for case_id in dict.fromkeys(case_id for case_id, _ in rows):
        has = dataset.record(case_id)["modalities"]
        slices, judged = dataset.slices(case_id), dataset.mask(case_id)
        for row, k in [(row, k) for row, (c, k) in enumerate(rows) if c == case_id]:
            mask[row, 0, :i, :j] = torch.from_numpy(np.ascontiguousarray(judged[:, :, k]))
            for m in set(modalities) & set(has):
                x[m][row, 0, :i, :j] = torch.from_numpy(np.array(slices[k, has.index(m)]))
                present[m][row] = True
    case_index = torch.tensor([numbers[case_id] for case_id, _ in rows])
    return Batch(x, present, mask, case_index, torch.tensor([k for _, k in rows]))


def epoch(
    dataset: Dataset, rows: Sequence[Row], modalities: Sequence[str], batch_size: int, rng: np.random.Generator
) -> Iterator[Batch]:
    """All rows once, in random order, the last batch smaller."""
    order = rng.permutation(len(rows))
    for start in range(0, len(rows), batch_size):
        yield make_batch(dataset, [rows[n] for n in order[start : start + batch_size]], modalities)


def case_batches(dataset: Dataset, case_id: str, modalities: Sequence[str], batch_size: int = 32) -> Iterator[Batch]:
    """All slices of one case, in order."""
    rows = [(case_id, k) for k in range(dataset.shape[2])]
    for start in range(0, len(rows), batch_size):
        yield make_batch(dataset, rows[start : start + batch_size], modalities)


def crop(images: Tensor, dataset: Dataset) -> Tensor:
    """Undo the padding: (..., H, W) -> (..., I, J)."""
    i, j, _ = dataset.shape
    return images[..., :i, :j]


def _padded(length: int) -> int:
    return -(-length // MULTIPLE) * MULTIPLE
