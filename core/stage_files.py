"""What every step did to one image, kept in a job's folder for the page to look at, memory-mapped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.prepare import Stage
from core.preprocess.grids import Mask
from core.preprocess.steps import STEPS
from core.types import Volume
from core.workspace import read_json, write_json

INDEX = "stages.json"


@dataclass(frozen=True, eq=False)
class View:
    """One image after one step ("" as imported), the mask so far (empty before there is one), and the time it took."""

    step: str
    volume: Volume
    mask: Mask
    seconds: float


def views_of(stages: Sequence[Stage], modality: str) -> list[View]:
    """The stages of a case as views of one of its images."""
    return [View(s.step, s.piece.volumes[modality], s.piece.mask, s.seconds) for s in stages]


def is_left_out(views: Sequence[View]) -> bool:
    """Whether the image did not come through all steps, because it shows nothing of what is judged."""
    return views[-1].step != list(STEPS)[-1]


def save_views(views: Sequence[View], folder: Path) -> None:
    """Write arrays and an index; the index comes last, so that what is found is whole."""
    rows = []
    for n, view in enumerate(views):
        np.save(folder / f"stage-{n}.npy", view.volume.data)
        np.save(folder / f"mask-{n}.npy", view.mask)
        volume = view.volume
        facts = {"affine": volume.affine.tolist(), "modality": volume.modality, "unit": volume.unit}
        rows.append({"step": view.step, "seconds": view.seconds, **facts})
    write_json(folder / INDEX, rows)


def has_views(folder: Path) -> bool:
    """Whether `save_views` has come to its end there."""
    return (folder / INDEX).exists()


def load_views(folder: Path) -> list[View]:
    """What `save_views` wrote; [] where there is nothing yet."""
    if not has_views(folder):
        return []
    views = []
    for n, row in enumerate(read_json(folder / INDEX)):
        data = np.load(folder / f"stage-{n}.npy", mmap_mode="r", allow_pickle=False)
        mask = np.load(folder / f"mask-{n}.npy", mmap_mode="r", allow_pickle=False)
        volume = Volume(data, np.asarray(row["affine"], float), row["modality"], row["unit"])
        views.append(View(row["step"], volume, mask, row["seconds"]))
    return views
