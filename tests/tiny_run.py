"""A small dataset and a run of a real but tiny model, for the tests of all that comes after training."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from pydantic import Field
from safetensors.torch import save
from torch import Tensor, nn

from core.config import RunConfig, Settings, TrainConfig
from core.dataset import Dataset
from core.dataset_writer import DatasetWriter, PreparedCase
from core.models import MODELS
from core.models.base import Batch, Model, Shapes
from core.models.formulas import Point
from core.progress import Paused, Progress
from core.runs import Run
from core.synthesis import LoadedRun, load_run
from core.workspace import Workspace

torch.set_num_threads(1)  # small tensors, and test processes side by side
SHAPE = (18, 21, 7)
HU = (4000.0, -1000.0)  # scale and offset
OBLIQUE = np.array([[1.0, -0.4, 0.1, -11], [0.3, 1.9, -0.5, -24], [0.0, 0.6, 2.9, 39], [0, 0, 0, 1]])


class Blend(Model):
    """Each target is its gain times the mean of what is given, plus its offset: every answer is known beforehand."""

    title = "Blend"
    summary = "For tests."

    class Config(Settings):
        gain: float = Field(1.0, description="First value of all gains")

    def __init__(self, config: Settings, shapes: Shapes) -> None:
        super().__init__(config, shapes)
        self.gain = nn.Parameter(torch.full((len(shapes.modalities),), float(self.config.gain)))
        self.offset = nn.Parameter(torch.zeros(len(shapes.modalities)))

    def loss(self, batch: Batch, part: str, step: int) -> dict[str, Tensor]:
        raise NotImplementedError

    def encode(self, batch: Batch) -> Point:
        return Point(torch.stack(list(batch.x.values())).mean(0))

    def decode(self, z: Tensor, targets: Sequence[str]) -> dict[str, Tensor]:
        places = {m: self.shapes.modalities.index(m) for m in targets}
        return {m: self.gain[n] * z + self.offset[n] for m, n in places.items()}


def prepared_case(
    case_id: str, seed: int, modalities: Sequence[str] = ("CT", "T1", "T2"), affine: np.ndarray = OBLIQUE
) -> PreparedCase:
    """T2 is half of T1; CT is 1 - T1 with noise; the mask is a lopsided ellipsoid, the CT's field its upper part."""
    rng = np.random.default_rng(seed)
    grid = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    mask = (grid[0] + 0.1) ** 2 + (grid[1] / 0.8) ** 2 + (grid[2] / 0.9) ** 2 < 1
    t1 = rng.uniform(0.1, 0.9, SHAPE).astype(np.float32)
    images = {"T1": t1, "T2": t1 / 2, "CT": 1 - t1 + rng.normal(0, 0.02, SHAPE).astype(np.float32)}
    return PreparedCase(
        id=case_id,
        images={m: images[m] for m in modalities},
        scales={m: HU if m == "CT" else (1.0, 0.0) for m in modalities},
        units={m: "HU" if m == "CT" else "a.u." for m in modalities},
        mask=mask,
        affine=affine,
        label_maps={"T1_fov": (grid[0] > -0.5).astype(np.uint8)},
    )


def make_dataset(workspace: Workspace, name: str = "tiny", n_cases: int = 5, affine: np.ndarray = OBLIQUE) -> Dataset:
    """Every fourth case lacks T2."""
    writer = DatasetWriter(workspace, name)
    for n in range(n_cases):
        modalities = ("CT", "T1") if n % 4 == 3 else ("CT", "T1", "T2")
        writer.add(prepared_case(f"case-{n}", n, modalities, affine))
    return writer.finish("tiny", {"by hand": {}}, simulated=True)


def pause_at(step: int) -> Progress:
    """Pauses a training after that step."""

    def progress(done: float, total: float, message: str = "") -> None:
        if done == step:
            raise Paused

    return progress


def save_weights(run: Run, model: Model) -> None:
    content = save({name: value.contiguous() for name, value in model.state_dict().items()})
    run.weights_path.write_bytes(content)
    run.weights_path.with_suffix(".sha256").write_text(hashlib.sha256(content).hexdigest())


def make_run(
    workspace: Workspace,
    dataset: Dataset,
    model: str = "blend",
    modalities: Sequence[str] = (),
    fold: int | None = None,
    n_folds: int | None = None,
) -> Run:
    """A run without weights."""
    config = RunConfig(
        dataset=dataset.name,
        dataset_fingerprint=dataset.fingerprint,
        model=model,
        train=TrainConfig(modalities=tuple(modalities)),
        fold=fold,
        n_folds=n_folds,
    )
    return Run.new(workspace, config)


def load_tiny(workspace: Workspace, dataset: Dataset, **settings: object) -> LoadedRun:
    """A loaded run of `Blend`, every gain 1 and every offset 0."""
    run = make_run(workspace, dataset, **settings)  # type: ignore[arg-type]
    n = len(run.config.train.modalities or dataset.modalities)
    save_weights(run, Blend(Blend.Config(), Shapes(tuple("ABCDEFG"[:n]), (32, 32), SHAPE[2])))
    return load_run(workspace, run)


@pytest.fixture
def tiny(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> LoadedRun:
    """A trained run over five small cases, leaving the seeded fifth out."""
    monkeypatch.setitem(MODELS, "blend", Blend)
    return load_tiny(workspace, make_dataset(workspace))
