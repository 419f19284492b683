"""Networks that judge syntheses: trained on real training images alone, then frozen; the same ones for every rival.

Nothing is downloaded and nothing of a rival is used. What was trained once for a dataset and its training cases is kept
in the workspace and read again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn
from torch.nn import functional as F

from core.batches import Slices, informative_rows
from core.config import Task
from core.dataset import Dataset
from core.models.base import Batch, Shapes
from core.models.blocks import ConvSettings, Decoder, Encoder, Trunk, crop_to, to_pixels
from core.models.heads import map_loss
from core.progress import Progress, silent
from core.structure import Mask
from core.types import Array
from core.workspace import atomic_write, digest_of, locked

VERSION = 1  # of what follows; raised when a judge would come out otherwise
WIDTH, FEATURES, PLACES = 12, 12, 6
STEPS, BATCH_SIZE, LR, SEED = 300, 8, 4e-3, 0
AT_ONCE = 32  # slices


class Segmenter(nn.Module):
    """Which class each pixel of one image is of, whatever its modality; (B, n, *size) logits."""

    def __init__(self, shapes: Shapes, task: Task) -> None:
        super().__init__()
        self.shapes, self.task = shapes, task
        self.trunk = Trunk(2, (len(shapes.modalities), WIDTH), WIDTH, 3, level=1)
        self.head = nn.Sequential(*to_pixels(2, WIDTH, task.n_outputs))

    def forward(self, x: Tensor, modality: str) -> Tensor:
        """x: (B, 1, *size), of that modality."""
        return crop_to(self.head(self.trunk(in_its_channel(x, modality, self.shapes))), self.shapes.size)

    def loss(self, batch: Batch, modality: str) -> Tensor:
        x = torch.where(batch.mask, batch.x[modality], 0.0)
        rows, known = map_loss(self(x, modality), batch.answers[self.task.name], batch)
        return torch.where(known & batch.present[modality], rows, 0.0).mean()

    def classes(self, volume: Array, modality: str) -> Array:
        """(I, J, K) the likeliest class of each voxel; the volume as `inside` gives it."""
        found = [self(x, modality).argmax(1) for x in _slices_of(volume, self.shapes)]
        return np.asarray(torch.cat(found).permute(1, 2, 0).cpu().numpy(), np.float32)


class Coder(nn.Module):
    """Maps of features from which a slice of one image can be rebuilt, at a quarter of its resolution."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.shapes = shapes
        settings = ConvSettings(width=WIDTH, latent_dim=FEATURES, halvings=2)
        self.encoder = Encoder(shapes.size, len(shapes.modalities), FEATURES, settings)
        self.decoder = Decoder(shapes.size, FEATURES, len(shapes.modalities), settings)

    def forward(self, x: Tensor, modality: str) -> Tensor:
        """(B, FEATURES, *size / 4) from (B, 1, *size) of that modality."""
        features: Tensor = self.encoder(in_its_channel(x, modality, self.shapes))
        return features

    def loss(self, batch: Batch, modality: str) -> Tensor:
        x = torch.where(batch.mask, batch.x[modality], 0.0)
        at = self.shapes.modalities.index(modality)
        rebuilt = self.decoder(self(x, modality))[:, at : at + 1]
        error = torch.where(batch.mask, (rebuilt - x) ** 2, 0.0).flatten(1).sum(1)
        rows = error / batch.mask.flatten(1).sum(1).clamp(min=1)
        return torch.where(batch.present[modality], rows, 0.0).mean()

    def looks(self, volume: Array, mask: Mask, modality: str) -> Array:
        """(K, 2 FEATURES) of each slice: mean and spread of the features inside the mask: what it looks like.

        Where it lies and which shape it has plays no part. The volume as `inside` gives it.
        """
        found = []
        marks = _slices_of(mask.astype(np.float32), self.shapes)
        for x, mark in zip(_slices_of(volume, self.shapes), marks, strict=True):
            features = self(x, modality)
            weight = F.interpolate(mark, features.shape[2:], mode="area")
            share = weight / weight.sum((2, 3), keepdim=True).clamp(min=1e-6)
            mean = (share * features).sum((2, 3))
            spread = (share * (features - mean[..., None, None]) ** 2).sum((2, 3)).sqrt()
            found.append(torch.cat([mean, spread], 1))
        return np.asarray(torch.cat(found).cpu().numpy(), np.float32)

    def places(self, volume: Array, modality: str) -> Array:
        """(K, FEATURES * PLACES^2) of each slice: means of the features over a coarse grid: what lies where."""
        found = [F.adaptive_avg_pool2d(self(x, modality), PLACES).flatten(1) for x in _slices_of(volume, self.shapes)]
        return np.asarray(torch.cat(found).cpu().numpy(), np.float32)


def inside(dataset: Dataset, case_id: str, image: Array) -> Array:
    """The image with 0 outside the case's mask, as judges learnt to see real and synthesised images alike."""
    return np.where(dataset.mask(case_id), image, np.float32(0)).astype(np.float32, copy=False)


Judge = Segmenter | Coder
J = TypeVar("J", Segmenter, Coder)


def in_its_channel(x: Tensor, modality: str, shapes: Shapes) -> Tensor:
    """(B, M, *size): the image in the channel of its modality, zeros in all others."""
    wide = x.new_zeros(len(x), len(shapes.modalities), *x.shape[2:])
    wide[:, shapes.modalities.index(modality)] = x[:, 0]
    return wide


def segmenter(dataset: Dataset, cases: Sequence[str], task: Task, progress: Progress = silent) -> Segmenter:
    """The frozen segmenter of a label map, from these cases' real images."""
    shapes = _shapes(dataset, (task,))
    having = [case_id for case_id in cases if task.name in dataset.record(case_id)["label_maps"]]
    return _frozen(lambda: Segmenter(shapes, task), dataset, having, f"map-{task.name}", progress)


def coder(dataset: Dataset, cases: Sequence[str], progress: Progress = silent) -> Coder:
    """The frozen encoder of slices, from these cases' real images."""
    return _frozen(lambda: Coder(_shapes(dataset, ())), dataset, cases, "code", progress)


def _shapes(dataset: Dataset, tasks: tuple[Task, ...]) -> Shapes:
    i, j, k = dataset.shape
    return Shapes(dataset.modalities, (i, j), k, tasks=tasks)


def _frozen(make: Callable[[], J], dataset: Dataset, cases: Sequence[str], kind: str, progress: Progress) -> J:
    """Read where it was trained before, else trained; without gradients from here on."""
    key = digest_of([VERSION, kind, dataset.fingerprint, sorted(cases), STEPS, WIDTH, FEATURES])
    folder = dataset.workspace.judges
    with torch.random.fork_rng(devices=[]), locked(folder):
        torch.manual_seed(SEED)
        judge = make()
        path = folder / f"{kind}-{key}.safetensors"
        if not _read(judge, path):
            _train(judge, dataset, cases, progress)
            atomic_write(path, save_safetensors({n: t.contiguous() for n, t in judge.state_dict().items()}))
    return judge.eval().requires_grad_(False)


def _read(judge: Judge, path: Path) -> bool:
    """Whether the file was there and whole."""
    if not path.exists():
        return False
    try:
        judge.load_state_dict(load_safetensors(path.read_bytes()))
    except (SafetensorError, RuntimeError):
        return False
    return True


def _train(judge: Judge, dataset: Dataset, cases: Sequence[str], progress: Progress) -> None:
    """One modality a step, drawn at random, so that the judge reads every one of them alone."""
    rows = Slices(dataset, informative_rows(dataset, cases), judge.shapes)
    rng = np.random.default_rng(SEED)
    optimiser = torch.optim.Adam(judge.parameters(), lr=LR)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LR, STEPS)
    for step in range(STEPS):
        progress(step, STEPS, "Training the judge on real images")
        batch = rows.batch(rng.integers(0, len(rows), BATCH_SIZE).tolist(), rng)
        present = [m for m in batch.x if bool(batch.present[m].any())]
        loss = judge.loss(batch, present[int(rng.integers(len(present)))])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    progress(STEPS, STEPS)


def _slices_of(volume: Array, shapes: Shapes) -> Sequence[Tensor]:
    """(B, 1, *size) from (I, J, K), some at a time."""
    slices = torch.from_numpy(np.ascontiguousarray(volume.transpose(2, 0, 1)))[:, None]
    return torch.split(slices, AT_ONCE)
