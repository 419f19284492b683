"""Models that are fitted in one pass over the training slices, without steps."""

from __future__ import annotations

import time
from collections.abc import Iterator

from core.batches import case_batches, informative_rows, make_batch
from core.dataset import Dataset, Split
from core.models.base import Batch, Model, Shapes
from core.previews import write_preview
from core.progress import Progress
from core.resume import start_history
from core.runs import Run
from core.validation import loss_on, sample
from core.weights import save_weights


def fit_once(run: Run, dataset: Dataset, model: Model, split: Split, progress: Progress) -> Model:
    """For models without parts: one pass over all training slices."""
    started = time.monotonic()
    start_history(run)
    device = next(model.buffers()).device

    def batches() -> Iterator[Batch]:
        for number, case_id in enumerate(split.train):
            progress(number, len(split.train), "Reading training cases")
            for batch in _all_windows(dataset, case_id, model.shapes):
                yield batch.to(device)

    model.fit(batches())
    save_weights(run, model)
    for name, part in (("train", split.train), ("val", split.val)):
        if part:
            loss = loss_on(model, sample(dataset, part, model.shapes).to(device), 1)
            run.append_history({"step": 1, "epoch": 1, "split": name, **loss, "seconds": time.monotonic() - started})
    write_preview(run, dataset, model, split, 1)
    progress(len(split.train), len(split.train), "Fitted")
    return model


def _all_windows(dataset: Dataset, case_id: str, shapes: Shapes) -> Iterator[Batch]:
    """Every slice or stack of a case, or the patches worth learning from."""
    if shapes.spatial_dims == 2:
        yield from case_batches(dataset, case_id, shapes, to_learn=True)
        return
    for row in informative_rows(dataset, [case_id], shapes):
        yield make_batch(dataset, [row], shapes, to_learn=True)
