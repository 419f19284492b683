"""Which places of the given images move a number that a model computes, and by how much.

Integrated gradients follow the network's slopes (Sundararajan et al. 2017, arXiv:1703.01365); occlusion covers one
block after the other and looks what changes (Zeiler & Fergus 2014, arXiv:1311.2901), with any model. Both compare with
a blank: the same images, each filled evenly with its own mean inside the mask, and 0 outside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.batches import take
from core.models.base import Batch
from core.models.formulas import rows_like
from core.progress import Progress, silent

Value = Callable[[Batch], Tensor]  # one number for each row, (B,)
Images = dict[str, Tensor]
STEPS = (16, 32, 64, 128)  # points along the way from the blank to the image, until what they add up to is right
TOLERANCE = 0.03  # of the whole change; what is still missing then is told
LEAST_CHANGE = 1e-4  # smaller ones are nothing to explain
AT_ONCE = 8  # rows of a forward pass


def blank_of(batch: Batch) -> Images:
    """Each image filled with its own mean inside the mask, 0 outside: it shows where the head is, and nothing of it."""
    blank = {}
    for m, x in batch.x.items():
        inside = batch.mask.expand_as(x)
        sums, counts = (torch.where(inside, t, 0.0).flatten(1).sum(1) for t in (x, torch.ones_like(x)))
        mean = (sums / counts.clamp(min=1)).view(-1, *[1] * (x.ndim - 1))
        blank[m] = torch.where(inside, mean, 0.0)
    return blank


def integrated_gradients(value: Value, batch: Batch, blank: Mapping[str, Tensor], n_steps: int) -> Images:
    """(x - blank) times the mean slope on the straight way between them, by Gauss-Legendre points; one row.

    What is absent gets 0, and so does all where the value does not depend on the images.
    """
    points, weights = np.polynomial.legendre.leggauss(n_steps)
    shares = torch.tensor((points + 1) / 2, dtype=torch.float32, device=batch.mask.device)
    counts = torch.tensor(weights / 2, dtype=torch.float32, device=batch.mask.device)
    slopes = {m: torch.zeros_like(x[0]) for m, x in batch.x.items()}
    for share, count in zip(torch.split(shares, AT_ONCE), torch.split(counts, AT_ONCE), strict=True):
        rows = take(batch, torch.zeros(len(share), dtype=torch.long, device=share.device))
        ways = {m: blank[m] + rows_like(share, x) * (x - blank[m]) for m, x in rows.x.items()}
        x = {m: way.detach().requires_grad_() for m, way in ways.items()}
        with torch.enable_grad():
            answers = value(replace(rows, x=x))
            if not answers.requires_grad:  # the same whatever is given
                continue
            found = torch.autograd.grad((answers * count).sum(), list(x.values()), allow_unused=True)
        for m, slope in zip(x, found, strict=True):
            if slope is not None:
                slopes[m] += slope.sum(0)
    zero = torch.zeros((), device=batch.mask.device)
    return {
        m: torch.where(rows_like(batch.present[m], x), (x - blank[m]) * slopes[m], zero) for m, x in batch.x.items()
    }


def followed(value: Value, batch: Batch, blank: Images, change: float, progress: Progress) -> tuple[Images, float]:
    """Integrated gradients with as many points as it takes, and the part of the change that they still lack.

    Args:
        change: the value of the images less that of the blank.
    """
    gap, found = 0.0, {m: torch.zeros_like(x) for m, x in batch.x.items()}
    for number, n_steps in enumerate(STEPS):
        progress(number, len(STEPS), f"{n_steps} steps from a blank to the image")
        found = integrated_gradients(value, batch, blank, n_steps)
        missing = change - sum(float(image.double().sum()) for image in found.values())
        gap = missing / change if abs(change) > LEAST_CHANGE else 0.0
        if abs(gap) <= TOLERANCE:
            break
    progress(len(STEPS), len(STEPS))
    return found, gap


@torch.no_grad()
def occlusion(
    value: Value, batch: Batch, blank: Mapping[str, Tensor], block: Sequence[int], progress: Progress = silent
) -> Images:
    """Value less what it is with one block of one image covered, at every pixel of that block; one row.

    Args:
        block: sides in voxels; blocks outside the mask are left alone and get 0.
    """
    whole = float(value(batch))
    boxes = _boxes(batch, block)
    covers = [(m, box) for m in batch.x if bool(batch.present[m].all()) for box in boxes]
    found = {m: torch.zeros_like(x) for m, x in batch.x.items()}
    for start in range(0, len(covers), AT_ONCE):
        progress(start, len(covers), "Covering one place after the other")
        chosen = covers[start : start + AT_ONCE]
        rows = take(batch, torch.zeros(len(chosen), dtype=torch.long, device=batch.mask.device))
        x = {m: image.clone() for m, image in rows.x.items()}
        for row, (m, box) in enumerate(chosen):
            x[m][_at(row, box)] = blank[m][_at(0, box)]
        for (m, box), answer in zip(chosen, value(replace(rows, x=x)).tolist(), strict=True):
            found[m][_at(0, box)] = whole - answer
    progress(1, 1)
    return found


def _at(row: int, box: tuple[slice, ...]) -> Any:
    """All channels of a block of a row."""
    return (row, slice(None), *box)


def _boxes(batch: Batch, block: Sequence[int]) -> list[tuple[slice, ...]]:
    """Blocks beside each other that reach into the mask."""
    mask = batch.mask[0, 0]
    ways = [range(0, length, side) for length, side in zip(mask.shape, block, strict=False)]
    boxes = [tuple(slice(at, at + side) for at, side in zip(corner, block, strict=False)) for corner in product(*ways)]
    return [box for box in boxes if bool(mask[box].any())]
