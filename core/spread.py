"""What a model itself doubts: images of draws from its posterior, and of each given modality alone, lie apart."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from core.batches import informative_rows, make_batch
from core.models.base import Batch, Model, Posterior
from core.models.formulas import Point
from core.synthesis import LoadedRun, supported_targets, synthesise_case, to_device
from core.types import Array

SAMPLING, SUBSETS = "sampling", "subsets"
SPREAD_WORDS = {
    SAMPLING: "draws from the posterior",
    SUBSETS: "disagreement of the given modalities",
}


class Drawn(Model):
    """A model that decodes a draw from its posterior in place of the posterior's mean."""

    title = "Draws of a model"
    summary = "For error bars."

    def __init__(self, model: Model, seed: int, device: torch.device) -> None:
        super().__init__(model.config, model.shapes)
        self.model = model
        self.generator = torch.Generator(device).manual_seed(seed)

    def loss(self, batch: Batch, part: str, step: int) -> dict[str, Tensor]:
        return self.model.loss(batch, part, step)

    def encode(self, batch: Batch) -> Posterior:
        return self.model.encode(batch)

    def decode(self, z: Tensor, targets: Sequence[str]) -> dict[str, Tensor]:
        return self.model.decode(z, targets)

    def supports(self, given: Sequence[str], target: str) -> bool:
        return self.model.supports(given, target)

    def synthesise(self, batch: Batch, targets: Sequence[str]) -> dict[str, Tensor]:
        return self.model.decode(self.model.encode(batch).sample(self.generator), targets)


@dataclass
class Running:
    """Standard deviation of images that come one after another (Welford 1962, doi:10.1080/00401706.1962.10490022)."""

    n: int = 0
    mean: Array = field(default_factory=lambda: np.zeros(1, np.float32))
    squares: Array = field(default_factory=lambda: np.zeros(1, np.float32))

    def add(self, image: Array) -> None:
        self.n += 1
        apart = image - self.mean
        self.mean = self.mean + apart / np.float32(self.n)
        self.squares = self.squares + apart * (image - self.mean)

    @property
    def sd(self) -> Array:
        return np.asarray(np.sqrt(self.squares / np.float32(max(1, self.n - 1))), np.float32)


@torch.inference_mode()
def has_doubt(loaded: LoadedRun, given: Sequence[str]) -> bool:
    """Whether the model's posterior is more than one point."""
    model = loaded.model
    if not (model.can_decode and model.can_embed):
        return False
    case = next(c for c in loaded.split.train if set(given) <= set(loaded.dataset.record(c)["modalities"]))
    shapes = model.shapes.only(given)
    rows = informative_rows(loaded.dataset, [case], shapes)[:1]
    batch = to_device(loaded, make_batch(loaded.dataset, rows, shapes))
    return not isinstance(model.encode(batch), Point)


def spreads_of(
    loaded: LoadedRun, case_id: str, given: Sequence[str], images: Mapping[str, Array], n_draws: int
) -> dict[str, dict[str, Array]]:
    """Target -> kind of spread -> (I, J, K) standard deviation; a kind that the model or the subset lacks is absent.

    Args:
        images: target -> its synthesis from all that is given.
        n_draws: 0 where the posterior is a point.
    """
    found: dict[str, dict[str, Array]] = {target: {} for target in images}
    if n_draws:
        for target, sd in _sampling(loaded, case_id, given, tuple(images), n_draws).items():
            found[target][SAMPLING] = sd
    if len(given) > 1:
        for target, sd in _disagreement(loaded, case_id, given, images).items():
            found[target][SUBSETS] = sd
    return found


def _sampling(
    loaded: LoadedRun, case_id: str, given: Sequence[str], targets: Sequence[str], n_draws: int
) -> dict[str, Array]:
    """The same draws whenever a case is asked for."""
    drawn = replace(loaded, model=Drawn(loaded.model, zlib.crc32(case_id.encode()), loaded.device).eval())
    running = {target: Running() for target in targets}
    for _ in range(n_draws):
        for target, image in synthesise_case(drawn, case_id, given, targets).items():
            running[target].add(image)
    return {target: one.sd for target, one in running.items()}


def _disagreement(
    loaded: LoadedRun, case_id: str, given: Sequence[str], images: Mapping[str, Array]
) -> dict[str, Array]:
    """Of the image from all and those from each alone, for the targets that each can make."""
    makes = {m: [t for t in images if t in supported_targets(loaded, (m,)) and t != m] for m in given}
    running: dict[str, Running] = {}
    for target, image in images.items():
        if sum(target in made for made in makes.values()):
            running[target] = Running()
            running[target].add(image)
    for m, targets in makes.items():
        if targets:
            for target, image in synthesise_case(loaded, case_id, (m,), targets).items():
                running[target].add(image)
    return {target: one.sd for target, one in running.items()}
