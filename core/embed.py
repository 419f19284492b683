"""The codes of a run: every informative slice in every modality alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from core.batches import informative_rows, make_batch
from core.errors import InvalidConfigError
from core.latent import FIELDS, Embedding
from core.progress import Progress, silent
from core.synthesis import BATCH_SIZE, LoadedRun, to_device
from core.types import Array


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
    rows = informative_rows(dataset, [case_id])
    parts: dict[str, list[Array]] = {m: [] for m in used}
    for start in range(0, len(rows) if used else 0, BATCH_SIZE):
        batch = to_device(loaded, make_batch(dataset, rows[start : start + BATCH_SIZE], used))
        for m in used:
            parts[m].append(model.embed(batch.only((m,))).float().cpu().numpy())
    codes = [np.concatenate(slices) for slices in parts.values() if slices]
    z = np.concatenate(codes) if codes else np.zeros((0, 1), np.float32)
    positions = np.tile(np.array([k for _, k in rows], np.int64), len(codes))
    return Embedding(z, np.full(len(z), case_id), np.repeat(np.array(used, str), len(rows)), positions)


def _concatenate(parts: Sequence[Embedding]) -> Embedding:
    return Embedding(*(np.concatenate([getattr(part, name) for part in parts]) for name in FIELDS))
