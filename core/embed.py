"""The codes of a run: every informative slice (or level of patches) in every modality alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from core.batches import informative_rows, make_batch
from core.errors import InvalidConfigError
from core.latent import FIELDS, Embedding
from core.progress import Progress, silent
from core.synthesis import BATCH_SIZE, LoadedRun, to_device
from core.types import Array
from core.windows import slice_position


def embed(loaded: LoadedRun, case_ids: Sequence[str] | None = None, progress: Progress = silent) -> Embedding:
    """The code of every informative slice of every case (all of the dataset by default), each modality alone.

    Raises:
        UserError: The model has no latent.
    """
    cases = tuple(loaded.dataset.case_ids if case_ids is None else case_ids)
    found = []
    for done, case_id in enumerate(cases):
        progress(done, len(cases), f"Codes of {case_id}")
        found.append(_embed_case(loaded, case_id))
    progress(len(cases), len(cases))
    if not sum(len(part.z) for part in found):
        raise InvalidConfigError("None of these cases has a modality that this run has learnt.", "NOTHING-TO-EMBED")
    return _concatenate([part for part in found if len(part.z)])


@torch.inference_mode()
def _embed_case(loaded: LoadedRun, case_id: str) -> Embedding:
    dataset, model = loaded.dataset, loaded.model
    has = dataset.record(case_id)["modalities"]
    used = [m for m in loaded.learnt if m in has and model.reads(m)]
    shapes = model.shapes
    rows = informative_rows(dataset, [case_id], shapes)
    parts: dict[str, list[Array]] = {m: [] for m in used}
    for start in range(0, len(rows) if used else 0, BATCH_SIZE):
        batch = to_device(loaded, make_batch(dataset, rows[start : start + BATCH_SIZE], shapes.only(used)))
        for m in used:
            parts[m].append(model.embed(batch.only((m,))).float().cpu().numpy())
    levels, level_of = np.unique(
        [slice_position(place, dataset.shape, shapes) for _, place in rows], return_inverse=True
    )
    codes = [_level_means(np.concatenate(found), level_of) for found in parts.values() if found]
    z = np.concatenate(codes) if codes else np.zeros((0, 1), np.float32)
    positions = np.tile(levels, len(codes))
    return Embedding(z, np.full(len(z), case_id), np.repeat(np.array(used, str), len(levels)), positions)


def _level_means(codes: Array, level_of: NDArray[np.intp]) -> Array:
    """One code a slice position: patches that stand for the same slice are averaged."""
    return np.stack([codes[level_of == level].mean(0) for level in range(level_of.max() + 1)])


def _concatenate(parts: Sequence[Embedding]) -> Embedding:
    return Embedding(*(np.concatenate([getattr(part, name) for part in parts]) for name in FIELDS))
