"""Sample reconstructions of a training under way, one file per look."""

from __future__ import annotations

import io

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.batches import informative_rows, make_batch
from core.dataset import Dataset, Split
from core.models.base import Model, Shapes
from core.runs import Run
from core.windows import middle
from core.workspace import atomic_write


@torch.inference_mode()
def write_preview(run: Run, dataset: Dataset, model: Model, split: Split, step: int) -> None:
    """previews/STEP.npz: one slice, "T1__T2" made from T1 alone, "source__T1" and "target__T2" as they are."""
    rows = informative_rows(dataset, (split.val or split.train)[:1], model.shapes)
    batch = make_batch(dataset, [rows[len(rows) // 2]], model.shapes)
    batch = batch.to(next(iter(model.state_dict().values())).device)
    has = [m for m in batch.x if bool(batch.present[m])]
    images: dict[str, Tensor] = {}
    for m in has:
        images[f"source__{m}"] = images[f"target__{m}"] = batch.x[m]
        targets = [target for target in has if model.supports((m,), target)]
        made = model.synthesise(batch.only([m]), targets) if targets else {}
        images |= {f"{m}__{target}": image for target, image in made.items()}
    arrays = {key: _one_slice(image[0], model.shapes) for key, image in images.items()}
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
    atomic_write(run.folder / "previews" / f"{step:06d}.npz", stream.getvalue())


def _one_slice(image: Tensor, shapes: Shapes) -> NDArray[np.float16]:
    """(C, *size) -> (H, W): the middle of a stack, the middle slice of a patch."""
    own = image[middle(shapes)]
    if shapes.spatial_dims == 3:
        own = own[:, :, shapes.size[2] // 2]
    return own.cpu().numpy().astype(np.float16)
