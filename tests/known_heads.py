"""Heads, and runs on them whose answers are known beforehand, for the further checks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from core.batches import shapes_of
from core.config import Settings
from core.dataset import Dataset
from core.dataset_writer import DatasetWriter, PreparedCase
from core.models.base import Batch
from core.synthesis import LoadedRun, load_run
from core.workspace import Workspace
from tests.tiny_run import OBLIQUE, SHAPE, Blend, make_run, save_weights

N_CASES = 8


def case_of(case_id: str, seed: int) -> PreparedCase:
    """A lopsided head with a core that lies elsewhere in everyone; T2 is T1 upside down; tissue is core and rest."""
    rng = np.random.default_rng(seed)
    i, j, k = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    mask = (i + 0.1) ** 2 + (j / 0.8) ** 2 + (k / 0.9) ** 2 < 1
    at = rng.uniform(-0.35, 0.35, 2)
    core = ((i - at[0]) / 0.45) ** 2 + ((j - at[1]) / 0.3) ** 2 + k**2 < 1
    tissue = np.where(mask, np.where(core, 2, 1), 0).astype(np.uint8)
    t1 = np.choose(tissue, (0.0, 0.3, 0.8)) + rng.normal(0, 0.02, SHAPE) * mask
    images = {"T1": t1.astype(np.float32), "T2": np.where(mask, 1 - t1, 0).astype(np.float32)}
    scales, units = dict.fromkeys(images, (1.0, 0.0)), dict.fromkeys(images, "a.u.")
    return PreparedCase(case_id, images, scales, units, mask, OBLIQUE, label_maps={"tissue": tissue})


class Knowing(Blend):
    """Makes T2 from T1 as the case has it: by the rule, of another case (`copies`), or nothing at all (`blank`)."""

    class Config(Settings):
        how: str = "rule"

    title = "Knowing"

    def __init__(self, config: Settings, shapes: object) -> None:
        super().__init__(Blend.Config(), shapes)  # type: ignore[arg-type]
        self.config = config

    def synthesise(self, batch: Batch, targets: object) -> dict[str, torch.Tensor]:
        source = next(iter(batch.x.values()))
        if self.config.how == "rule":
            return {m: torch.where(batch.mask, 1 - source, 0.0) for m in targets}  # type: ignore[attr-defined]
        if self.config.how == "blank":
            return {m: torch.full_like(source, 0.5) for m in targets}  # type: ignore[attr-defined]
        shown = torch.stack([SHOWN[m][:, :, int(k)] for m in targets for k in batch.position])  # type: ignore[attr-defined]
        return {m: part[:, None] for m, part in zip(targets, shown.split(batch.size), strict=True)}  # type: ignore


SHOWN: dict[str, torch.Tensor] = {}  # what a copying model remembers


def heads(workspace: Workspace, n_cases: int) -> Dataset:
    writer = DatasetWriter(workspace, "heads")
    for n in range(n_cases):
        writer.add(case_of(f"case-{n}", n))
    return writer.finish("heads", {"by hand": {}}, simulated=True)


def loaded(dataset: Dataset, how: str = "rule") -> LoadedRun:
    """A run that holds out two of the eight cases."""
    place = dataset.workspace
    run = make_run(place, dataset, "knowing")
    model = Knowing(Knowing.Config(), shapes_of(dataset, dataset.modalities))
    save_weights(run, model)
    found = load_run(place, run)
    chosen = Knowing(Knowing.Config(how=how), found.model.shapes).eval()
    return replace(found, model=chosen)


def remember(dataset: Dataset, case_id: str) -> None:
    for m in dataset.modalities:
        SHOWN[m] = torch.from_numpy(np.array(dataset.volume(case_id, m)))
