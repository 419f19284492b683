"""A dataset whose syntheses have errors of a known size, for the tests of error bars."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from core.config import HoldOut, RunConfig, TrainConfig
from core.dataset import Dataset
from core.dataset_writer import DatasetWriter
from core.models.base import Shapes
from core.runs import Run
from core.synthesis import LoadedRun, load_run
from core.uncertainty import UncertaintyConfig
from core.workspace import Workspace
from tests.tiny_run import Blend, prepared_case, save_weights

N_LEARN, N_HELD_OUT = 4, 12  # 9 calibrate, 3 test
PAIR = (("T1",), "T2")
FEW = UncertaintyConfig(learn_from=4, draws=2)


def known_dataset(workspace: Workspace, spoilt: tuple[str, ...] = (), n_cases: int = N_LEARN + N_HELD_OUT) -> Dataset:
    """T2 is T1 with normal errors whose deviation is 0.01 + 0.1 T1; in spoilt cases it is nonsense.

    Tissues are the halves of T1; two cubes are lesions.
    """
    writer = DatasetWriter(workspace, "known")
    for n in range(n_cases):
        case = prepared_case(f"case-{n:02d}", n, ("T1", "T2"))
        t1 = case.images["T1"]
        errors = np.random.default_rng([n, 1]).normal(0, 0.01 + 0.1 * t1).astype(np.float32)
        lesion = np.zeros(t1.shape, np.uint8)
        lesion[5:8, 5:8, 2:5] = lesion[10:13, 10:14, 2:5] = 1
        maps = {"tissue": np.where(t1 < 0.5, 2, 3).astype(np.uint8), "lesion": lesion}
        t2 = np.full_like(t1, 50) if case.id in spoilt else t1 + errors
        writer.add(replace(case, images={"T1": t1, "T2": t2}, label_maps=maps))
    return writer.finish("known", {"by hand": {}}, simulated=True)


def known_run(workspace: Workspace, dataset: Dataset) -> LoadedRun:
    """A loaded run of `Blend` (which has to be in MODELS) that learnt from the first cases; T2 is made as T1."""
    config = RunConfig(
        dataset=dataset.name,
        dataset_fingerprint=dataset.fingerprint,
        model="blend",
        train=TrainConfig(),
        hold_out=HoldOut(judged=dataset.case_ids[N_LEARN:]),
    )
    run = Run.new(workspace, config)
    i, j, k = dataset.shape
    save_weights(run, Blend(Blend.Config(), Shapes(dataset.modalities, (i, j), k)))
    return load_run(workspace, run)
