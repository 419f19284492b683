"""What speaks against a synthesis without the truth: the way back misses the source, the code is a strange one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from core.batches import case_batches
from core.models.base import Batch
from core.synthesis import BATCH_SIZE, LoadedRun, synthesise_batches, to_device
from core.types import Array
from core.windows import cut_image


def cycle_error(loaded: LoadedRun, case_id: str, given: Sequence[str], target: str, synthesis: Array) -> Array | None:
    """(I, J, K) mean over the given modalities of |made back from the synthesis - given|.

    None where the model does not go that way, or works on blocks.
    """
    back = [m for m in given if loaded.model.supports((target,), m)]
    if not back or loaded.model.shapes.spatial_dims == 3:
        return None
    shapes = loaded.model.shapes.only((target,))
    slices = np.ascontiguousarray(synthesis.transpose(2, 0, 1))[:, None]

    def batches() -> Iterator[Batch]:
        for batch in case_batches(loaded.dataset, case_id, shapes, BATCH_SIZE):
            made = [cut_image(slices, 0, int(place), shapes) for place in batch.position]
            x = batch.x[target].clone()
            for row, image in enumerate(made):
                x[row, :, : image.shape[1], : image.shape[2]] = torch.from_numpy(image)
            shown = replace(batch, x={target: x}, present={target: torch.ones_like(batch.present[target])})
            yield to_device(loaded, shown)

    again = synthesise_batches(loaded, batches(), (target,), back)
    apart = [np.abs(again[m] - np.asarray(loaded.dataset.volume(case_id, m))) for m in back]
    return np.asarray(np.mean(apart, axis=0), np.float32)


@dataclass(frozen=True, eq=False)
class CodeRange:
    """What is usual among the codes of training cases: each channel's mean and deviation over slices and places."""

    mean: NDArray[np.float64]
    sd: NDArray[np.float64]

    def distance(self, loaded: LoadedRun, case_id: str, given: Sequence[str]) -> Array | None:
        """(I, J, K) root mean square of the channels' standard scores; None where there are no codes."""
        if not len(self.mean):
            return None
        i, j, _ = loaded.dataset.shape
        parts = []
        for z in _codes(loaded, case_id, given):
            like = (1, -1, *[1] * (z.ndim - 2))
            mean, sd = (torch.from_numpy(values).float().view(like) for values in (self.mean, self.sd))
            far = (((z - mean) / sd) ** 2).mean(1, keepdim=True).sqrt()
            flat = far if far.ndim == 4 else far[:, :, None, None]
            parts.append(F.interpolate(flat, size=(i, j), mode="nearest")[:, 0].numpy())
        return np.concatenate(parts).transpose(1, 2, 0)

    def to_json(self) -> dict[str, Any]:
        return {name: [float(f"{v:.5g}") for v in getattr(self, name)] for name in ("mean", "sd")}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> CodeRange:
        return CodeRange(np.array(values["mean"], float), np.array(values["sd"], float))


class KnownCodes:
    """Adds up the codes of training cases."""

    def __init__(self) -> None:
        self.n, self.total, self.squares = 0, np.zeros(0), np.zeros(0)

    def add(self, loaded: LoadedRun, case_id: str, given: Sequence[str]) -> None:
        for z in _codes(loaded, case_id, given):
            flat = z.transpose(0, 1).flatten(1).double().numpy()
            sums, squares = flat.sum(1), (flat**2).sum(1)
            self.total, self.squares = (self.total + sums, self.squares + squares) if self.n else (sums, squares)
            self.n += flat.shape[1]

    @property
    def range(self) -> CodeRange:
        mean = self.total / max(1, self.n)
        return CodeRange(mean, np.sqrt(np.maximum(self.squares / max(1, self.n) - mean**2, 1e-8)))


@torch.inference_mode()
def _codes(loaded: LoadedRun, case_id: str, given: Sequence[str]) -> Iterator[Tensor]:
    """The posterior's mean, batch by batch of slices; nothing of a model without a code, or one of blocks."""
    model = loaded.model
    if not model.can_embed or model.shapes.spatial_dims == 3:
        return
    for batch in case_batches(loaded.dataset, case_id, model.shapes.only(given), BATCH_SIZE):
        mean = model.encode(to_device(loaded, batch)).mean
        yield (mean[0] if isinstance(mean, tuple) else mean).float().cpu()
