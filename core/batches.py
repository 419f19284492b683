"""Prepared cases -> batches of slices. Reads memory-mapped arrays slice by slice; nothing grows with the cohort."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from core.config import RunConfig, Task, TrainConfig
from core.dataset import Dataset
from core.errors import InvalidConfigError
from core.models.base import Batch, Shapes
from core.tasks import answer_of
from core.windows import cut_image, cut_mask, moved, patch_places, slice_position

HELD_BYTES = 256 * 2**20  # training slices that fit in this are read once and held
MAP_BYTES = 8  # of a pixel of a label map
MIN_FRACTION = 0.05
Row = tuple[str, int]  # a case id and a window's place


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


def shapes_of(
    dataset: Dataset, modalities: Sequence[str], train: TrainConfig | None = None, tasks: tuple[Task, ...] = ()
) -> Shapes:
    """What a model for this dataset is built for: slices, unless the training's settings ask for something else."""
    i, j, k = dataset.shape
    if train is None or train.input == "slices":
        return Shapes(tuple(modalities), (i, j), k, tasks=tasks)
    if train.input == "stacks":
        return Shapes(tuple(modalities), (i, j), k, train.stack, tasks)
    return Shapes(tuple(modalities), tuple(min(train.patch, length) for length in dataset.shape), k, tasks=tasks)


def informative_patches(dataset: Dataset, case_ids: Sequence[str], shapes: Shapes, overlap: float = 0.5) -> list[Row]:
    """Patches worth learning from: at least a twentieth of the fullest one's share lies in the mask."""
    places = patch_places(dataset.shape, shapes.size, overlap)
    rows: list[Row] = []
    for case_id in case_ids:
        mask = dataset.mask(case_id)
        counts = np.array([np.count_nonzero(cut_mask(mask, place, shapes)) for place in places])
        rows += [(case_id, places[n]) for n in np.flatnonzero(counts > MIN_FRACTION * counts.max())]
    return rows


def informative_rows(
    dataset: Dataset, case_ids: Sequence[str], shapes: Shapes | None = None, min_fraction: float = MIN_FRACTION
) -> list[Row]:
    """The slices worth learning from: their mask has at least `min_fraction` of the case's largest slice's.

    Args:
        shapes: where they are of patches, those are chosen instead.
    """
    if shapes and shapes.spatial_dims == 3:
        return informative_patches(dataset, case_ids, shapes)
    rows: list[Row] = []
    for case_id in case_ids:
        areas = dataset.mask(case_id).sum(axis=(0, 1))
        rows += [(case_id, int(k)) for k in np.flatnonzero(areas > min_fraction * areas.max())]
    return rows


def is_seen(dataset: Dataset, row: Row, modality: str, shapes: Shapes) -> bool:
    """Whether a window holds some of what an image shows of its case: not all lies beside a narrow field of view."""
    case_id, place = row
    record = dataset.record(case_id)
    if modality not in record["modalities"]:
        return False
    if f"{modality}_fov" not in record["label_maps"]:
        return True
    judged = cut_mask(dataset.mask(case_id), place, shapes)
    seen = judged & (cut_mask(dataset.label_map(case_id, f"{modality}_fov"), place, shapes) > 0)
    return bool(np.count_nonzero(seen) > MIN_FRACTION * np.count_nonzero(judged))


def make_batch(dataset: Dataset, rows: Sequence[Row], shapes: Shapes, to_learn: bool = False) -> Batch:
    """Windows of these shapes, one above the other; what a case lacks is zero and marked absent.

    Args:
        to_learn: what a window does not show of a narrow image is absent too, so that nobody learns to make blanks.
    """
    modalities = shapes.modalities
    x = {m: torch.zeros(len(rows), shapes.channels, *shapes.size) for m in modalities}
    present = {m: torch.zeros(len(rows), dtype=torch.bool) for m in modalities}
    mask = torch.zeros(len(rows), 1, *shapes.size, dtype=torch.bool)
    by_case: dict[str, list[tuple[int, int]]] = {}
    for row, (case_id, k) in enumerate(rows):
        by_case.setdefault(case_id, []).append((row, k))
    for case_id, places in by_case.items():
        has = dataset.record(case_id)["modalities"]
        slices, judged = dataset.slices(case_id), dataset.mask(case_id)
        for row, place in places:
            mask[row] = torch.from_numpy(cut_mask(judged, place, shapes))
            for m in set(modalities) & set(has):
                if to_learn and not is_seen(dataset, (case_id, place), m, shapes):
                    continue
                x[m][row] = torch.from_numpy(cut_image(slices, has.index(m), place, shapes))
                present[m][row] = True
    case_index = torch.tensor([dataset.numbers[case_id] for case_id, _ in rows], dtype=torch.long)
    positions = [slice_position(place, dataset.shape, shapes) for _, place in rows]
    answers = _answers(dataset, rows, shapes)
    return Batch(x, present, mask, case_index, torch.tensor(positions, dtype=torch.long), answers)


def _answers(dataset: Dataset, rows: Sequence[Row], shapes: Shapes) -> dict[str, Tensor]:
    """What the heads of the tasks should say of each row."""
    answers = {}
    for task in shapes.tasks:
        if task.kind == "map":
            answers[task.name] = _map_rows(dataset, rows, shapes, task.name)
            continue
        values = torch.tensor([answer_of(dataset, case_id, task) for case_id, _ in rows])
        answers[task.name] = values if task.kind == "number" else values.nan_to_num(-1).long()
    return answers


def _map_rows(dataset: Dataset, rows: Sequence[Row], shapes: Shapes, name: str) -> Tensor:
    """(B, *size) classes; -1 where a case has no such map."""
    classes = torch.full((len(rows), *shapes.size), -1, dtype=torch.long)
    for row, (case_id, place) in enumerate(rows):
        if name in dataset.record(case_id)["label_maps"]:
            classes[row] = torch.from_numpy(cut_mask(dataset.label_map(case_id, name), place, shapes)[0]).long()
    return classes


def take(batch: Batch, rows: Tensor) -> Batch:
    """The rows of a batch with these numbers, as a batch of its own."""
    x = {m: t[rows] for m, t in batch.x.items()}
    present = {m: t[rows] for m, t in batch.present.items()}
    answers = {name: t[rows] for name, t in batch.answers.items()}
    return Batch(x, present, batch.mask[rows], batch.case_index[rows], batch.position[rows], answers)


class Slices:
    """Rows of a dataset to draw batches from: held in memory where they fit, else read again each time.

    Patches are moved a little each time they are drawn, so that voxels are not always seen from the same place.

    Unpaired, each modality of a row is a slice of its own, drawn from all that have the modality; mask, case and
    position are then those of the first modality.
    """

    def __init__(self, dataset: Dataset, rows: Sequence[Row], shapes: Shapes, paired: bool = True) -> None:
        kept = [row for row in rows if any(is_seen(dataset, row, m, shapes) for m in shapes.modalities)]
        self.dataset, self.rows, self.shapes, self.paired = dataset, kept, shapes, paired
        n_maps = sum(task.kind == "map" for task in shapes.tasks)
        n_bytes = (
            len(self.rows)
            * math.prod(shapes.size)
            * (shapes.channels * 4 * len(shapes.modalities) + n_maps * MAP_BYTES)
        )
        fits = shapes.spatial_dims == 2 and n_bytes <= HELD_BYTES
        self._held = make_batch(dataset, self.rows, shapes, to_learn=True) if fits else None

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, numbers: Sequence[int], rng: np.random.Generator) -> Batch:
        """The rows with these numbers, stacked."""
        if self._held is not None:
            return take(self._held, torch.tensor(numbers, dtype=torch.long))
        rows, shapes = [self.rows[n] for n in numbers], self.shapes
        if shapes.spatial_dims == 3:
            rows = [(case_id, moved(place, self.dataset.shape, shapes.size, rng)) for case_id, place in rows]
        return make_batch(self.dataset, rows, shapes, to_learn=True)

    def epoch(self, batch_size: int, rng: np.random.Generator) -> Iterator[Batch]:
        """All rows once, in random order, the last batch smaller; unpaired, in another order for each modality."""
        orders = self._orders(rng)
        for start in range(0, len(self), batch_size):
            yield self._joined({m: order[start : start + batch_size] for m, order in orders.items()}, rng)

    def _orders(self, rng: np.random.Generator) -> dict[str, list[int]]:
        """Row numbers, in one order for all modalities or one for each; what fewer rows have comes round again."""
        n = len(self.rows)
        if self.paired:
            return {"all": rng.permutation(n).tolist()}
        order = self.shapes.modalities
        having = {m: [k for k, (case_id, _) in enumerate(self.rows) if self._has(case_id, m)] for m in order}
        return {m: np.resize(rng.permutation(rows or n), n).tolist() for m, rows in having.items()}

    def _joined(self, numbers: Mapping[str, Sequence[int]], rng: np.random.Generator) -> Batch:
        parts = {m: self.batch(rows, rng) for m, rows in numbers.items()}
        first = next(iter(parts.values()))
        if self.paired:
            return first
        x, present = ({m: getattr(part, name)[m] for m, part in parts.items()} for name in ("x", "present"))
        return replace(first, x=x, present=present)

    def _has(self, case_id: str, modality: str) -> bool:
        return modality in self.dataset.record(case_id)["modalities"]


def case_batches(
    dataset: Dataset, case_id: str, shapes: Shapes, batch_size: int = 32, to_learn: bool = False
) -> Iterator[Batch]:
    """All slices (or stacks around them) of one case, in order; `to_learn` as for `make_batch`."""
    rows = [(case_id, k) for k in range(dataset.shape[2])]
    for start in range(0, len(rows), batch_size):
        yield make_batch(dataset, rows[start : start + batch_size], shapes, to_learn)


def crop(images: Tensor, dataset: Dataset) -> Tensor:
    """(..., H, W) -> (..., I, J): what a network may have added at the ends is cut off."""
    i, j, _ = dataset.shape
    return images[..., :i, :j]
