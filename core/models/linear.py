"""Baseline: one least-squares plane of the target on the given intensities, over all masked training voxels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from core.config import Settings
from core.errors import InvalidConfigError
from core.models.base import Batch, Shapes
from core.models.baseline import Baseline
from core.models.blocks import visible

MAX_MODALITIES = 10  # one matrix is kept for each of the 2^M patterns of presence


class Linear(Baseline):
    """Keeps sums of products, so that the plane for any given set is solved when it is asked for.

    `gram[p]` is the sum over voxels of the rows whose presence pattern is p of v v^T, v = (1, x_1, ..., x_M).
    """

    title = "Linear (baseline)"
    summary = "One straight line from the given intensities to the target. Tells what needs no anatomy."

    def __init__(self, config: Settings, shapes: Shapes) -> None:
        super().__init__(config, shapes)
        n = len(shapes.modalities)
        if n > MAX_MODALITIES:
            raise InvalidConfigError(f"The linear baseline takes {MAX_MODALITIES} modalities at most; choose some.")
        self.gram: Tensor
        self.register_buffer("gram", torch.zeros(2**n, n + 1, n + 1, dtype=torch.float64))

    def fit(self, batches: Iterable[Batch]) -> None:
        self.gram.zero_()
        for batch in batches:
            images = [visible(batch, m) for m in self.shapes.modalities]
            values = torch.stack([torch.ones_like(images[0]), *images], -1)
            patterns = self._patterns(batch)
            for pattern in torch.unique(patterns).tolist():
                rows = patterns == pattern
                v = values[rows][batch.mask[rows].expand_as(images[0][rows])].double()
                self.gram[pattern] += v.T @ v

    def _patterns(self, batch: Batch) -> Tensor:
        """(B,) the set of present modalities as a binary number."""
        bits = [2**i * batch.present[m].long() for i, m in enumerate(self.shapes.modalities) if m in batch.present]
        return torch.stack([torch.zeros_like(batch.position), *bits]).sum(0)

    def _plane(self, pattern: int, target: int) -> Tensor:
        """(M + 1,): intercept, then a slope for each modality, 0 for those that are not in the pattern.

        Where no training case has the given and the target together, the target's mean.
        """
        n = len(self.shapes.modalities)
        given = [i for i in range(n) if pattern >> i & 1]
        plane = self.gram.new_zeros(n + 1)
        for used in (given, []):
            needed = sum(2**i for i in used) | 2**target
            total = self.gram[[p for p in range(2**n) if p & needed == needed]].sum(0)
            if total[0, 0] > 0:
                columns = [0, *(i + 1 for i in used)]
                plane[columns] = torch.linalg.pinv(total[columns][:, columns]) @ total[columns, target + 1]
                break
        return plane

    def synthesise(self, batch: Batch, targets: Sequence[str]) -> dict[str, Tensor]:
        shape = (batch.size, self.shapes.channels, *self.shapes.size)
        blank = self.gram.new_zeros(shape, dtype=torch.float32)
        images = [visible(batch, m) if m in batch.x else blank for m in self.shapes.modalities]
        patterns = self._patterns(batch)
        outputs = {m: blank.clone() for m in targets}
        for pattern in torch.unique(patterns).tolist():
            rows = patterns == pattern
            for m in targets:
                intercept, *slopes = self._plane(pattern, self.shapes.modalities.index(m)).tolist()
                terms = [slope * image[rows] for slope, image in zip(slopes, images, strict=True) if slope]
                outputs[m][rows] = torch.stack([blank[rows] + intercept, *terms]).sum(0)
        return outputs
