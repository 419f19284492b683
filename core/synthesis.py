"""A trained run, loaded: any subset of modalities of a case -> any target, as whole volumes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors

from core.assembly import build_model
from core.batches import case_batches, crop, make_batch
from core.dataset import Dataset, Split
from core.errors import DeviceError, InvalidConfigError, NotFoundError, UserError
from core.models.base import Batch, Model, Shapes, place
from core.runs import Run
from core.types import PHYSICAL_UNITS, Array, Volume
from core.windows import box_of, middle, patch_places, patch_weights
from core.workspace import Workspace

BATCH_SIZE = 16  # slices: larger ones leave the CPU's caches
OVERLAP = 0.25  # of neighbouring patches
FEATURES = 128  # maps of full size that a network may hold for each voxel
CPU_BYTES = 256 * 2**20


@dataclass(frozen=True, eq=False)
class LoadedRun:
    """A run with its weights in memory, beside the data that it was trained on."""

    run: Run
    dataset: Dataset
    model: Model
    modalities: tuple[str, ...]
    split: Split
    device: torch.device

    @cached_property
    def learnt(self) -> tuple[str, ...]:
        """The modalities that at least one training case has: no other can be read or made."""
        seen = {m for case_id in self.split.train for m in self.dataset.record(case_id)["modalities"]}
        return tuple(m for m in self.modalities if m in seen)


def pick_device(name: str) -> torch.device:
    """ "auto" (a GPU where there is one), "cpu" or "cuda".

    Raises:
        DeviceError: A GPU was asked for and there is none.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise InvalidConfigError("The device is one of auto, cpu, cuda.")
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceError("This machine has no CUDA GPU that PyTorch can use. Choose cpu or auto.", "NO-GPU")
    has_gpu = name != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if has_gpu else "cpu")


def load_run(workspace: Workspace, run: Run, device: str | torch.device = "cpu") -> LoadedRun:
    """Rebuild a run's model and fill in its weights, after checking that both they and the data are the same.

    Raises:
        NotFoundError: The run has no weights, or its dataset is gone.
        InvalidConfigError: The dataset is another one by now (DATASET-CHANGED).
        UserError: The weights are damaged (WEIGHTS-DAMAGED) or do not fit (WEIGHTS-MISFIT).
    """
    chosen = pick_device(device) if isinstance(device, str) else device
    config = run.config
    weights = checked_weights(run)
    dataset = Dataset.open(workspace, config.dataset)
    if config.dataset_fingerprint and dataset.fingerprint != config.dataset_fingerprint:
        raise InvalidConfigError(
            "The dataset was prepared anew since this run was trained, so they no longer belong together. "
            "Train again, or restore the dataset.",
            "DATASET-CHANGED",
        )
    model = build_model(config, dataset)
    _fill(model, weights)
    place(model.eval(), chosen)
    split = dataset.split_of(config)
    return LoadedRun(run, dataset, model, model.shapes.modalities, split, chosen)


def checked_weights(run: Run) -> bytes:
    """A run's weights, after checking that they are whole."""
    if not run.has_weights:
        raise NotFoundError("This run has no weights yet. Wait for its training to end, or train again.", "NO-WEIGHTS")
    content = run.weights_path.read_bytes()
    if hashlib.sha256(content).hexdigest() != run.weights_sum:
        raise UserError("The weights of this run are damaged: their checksum is off. Train again.", "WEIGHTS-DAMAGED")
    return content


def _fill(model: Model, weights: bytes) -> None:
    try:
        model.load_state_dict(load_safetensors(weights))
    except (RuntimeError, SafetensorError) as error:
        raise UserError("The weights do not fit this version of the model. Train again.", "WEIGHTS-MISFIT") from error


def supported_targets(loaded: LoadedRun, given: Sequence[str]) -> tuple[str, ...]:
    """What the model makes from these; a target that is itself given is a reconstruction."""
    if not set(given) <= set(loaded.learnt):
        return ()
    return tuple(target for target in loaded.learnt if loaded.model.supports(tuple(given), target))


def synthesise_case(
    loaded: LoadedRun, case_id: str, given: Sequence[str], targets: Sequence[str], source_case: str | None = None
) -> dict[str, Array]:
    """Whole volumes of the targets: (I, J, K) float32 on the 0-1 scale, by slices, stacks or overlapping patches.

    Args:
        source_case: take the given images from this other case, to see whether the model reads its source.

    Raises:
        InvalidConfigError: The model does not make a target from these.
        NotFoundError: The case lacks one of the given modalities.
    """
    source = source_case or case_id
    check_request(loaded, source, given, targets)
    loaded.dataset.record(case_id)
    if loaded.model.shapes.spatial_dims == 3:
        return _by_patches(loaded, source, given, targets)
    batches = case_batches(loaded.dataset, source, loaded.model.shapes.only(given), BATCH_SIZE)
    return synthesise_batches(loaded, (to_device(loaded, batch) for batch in batches), given, targets)


def check_request(loaded: LoadedRun, case_id: str, given: Sequence[str], targets: Sequence[str]) -> None:
    """Raise what `synthesise_case` raises, without computing."""
    if not given or not targets:
        raise InvalidConfigError("Choose at least one given modality and one target.")
    has = loaded.dataset.record(case_id)["modalities"]
    for modality in given:
        if modality not in loaded.learnt:
            raise InvalidConfigError(f"This run has not learnt {modality}. It knows {', '.join(loaded.learnt)}.")
        if modality not in has:
            raise NotFoundError(f"Case {case_id} has no {modality}. Choose another given modality or case.")
    for target in targets:
        if target not in loaded.learnt or not loaded.model.supports(tuple(given), target):
            raise InvalidConfigError(
                f"This model does not make {target} from {' + '.join(given)}. Choose another pair or model.",
                "UNSUPPORTED",
            )


def to_device(loaded: LoadedRun, batch: Batch) -> Batch:
    """Where the model is, in the memory format that convolutions are fast in."""
    return batch.to(loaded.device)


@torch.inference_mode()
def synthesise_batches(
    loaded: LoadedRun, batches: Iterable[Batch], given: Sequence[str], targets: Sequence[str]
) -> dict[str, Array]:
    """(I, J, K') of each target, K' the rows of all batches in order; one forward pass a batch for all targets."""
    parts: dict[str, list[Array]] = {target: [] for target in targets}
    for batch in batches:
        images = loaded.model.synthesise(batch.only(given), targets)
        for target in targets:
            own = images[target][:, middle(loaded.model.shapes)]
            parts[target].append(crop(own.float(), loaded.dataset).cpu().numpy())
    return {target: np.concatenate(slices).transpose(1, 2, 0) for target, slices in parts.items()}


@torch.inference_mode()
def _by_patches(loaded: LoadedRun, case_id: str, given: Sequence[str], targets: Sequence[str]) -> dict[str, Array]:
    """Overlapping patches, read from the disk as they are needed, each counting most in its middle."""
    dataset, shapes = loaded.dataset, loaded.model.shapes
    places = patch_places(dataset.shape, shapes.size, OVERLAP)
    weights = patch_weights(shapes.size)
    sums = {target: np.zeros(dataset.shape, np.float32) for target in targets}
    total = np.zeros(dataset.shape, np.float32)
    n = patches_at_once(shapes, loaded.device)
    for start in range(0, len(places), n):
        chosen = places[start : start + n]
        batch = make_batch(dataset, [(case_id, place) for place in chosen], shapes.only(given))
        images = loaded.model.synthesise(to_device(loaded, batch), targets)
        for row, at in enumerate(chosen):
            box = box_of(at, dataset.shape, shapes)
            total[box] += weights
            for target in targets:
                sums[target][box] += weights * images[target][row, 0].float().cpu().numpy()
    return {target: image / total for target, image in sums.items()}


def patches_at_once(shapes: Shapes, device: torch.device) -> int:
    """As many as the free memory of the device holds comfortably; on a CPU more than a few leave its caches."""
    n_bytes = math.prod(shapes.size) * shapes.channels * 4 * FEATURES
    free = torch.cuda.mem_get_info(device)[0] / 2 if device.type == "cuda" else CPU_BYTES
    return max(1, min(64, int(free / n_bytes)))


def physical_scale(dataset: Dataset, case_id: str, modality: str) -> tuple[float, float] | None:
    """(scale, offset) from the 0-1 scale to HU or SUV; None for arbitrary units, or where this cannot be known."""
    if dataset.unit(modality) not in PHYSICAL_UNITS:
        return None
    scales = {c: dataset.record(c)["scales"][modality] for c in dataset.case_ids if _has(dataset, c, modality)}
    same_for_all = len({tuple(scale) for scale in scales.values()}) == 1
    if case_id not in scales and not same_for_all:  # not acquired here, and scaled by what each case holds
        return None
    scale, offset = scales.get(case_id) or next(iter(scales.values()))
    return float(scale), float(offset)


def _has(dataset: Dataset, case_id: str, modality: str) -> bool:
    return modality in dataset.record(case_id)["modalities"]


def to_unit(dataset: Dataset, case_id: str, modality: str, data: Array) -> Volume:
    """A 0-1 image of a case as a Volume: in HU or SUV where the modality has them, on the case's grid in the world."""
    known = physical_scale(dataset, case_id, modality)
    scale, offset = known or (1.0, 0.0)
    values = (data * np.float32(scale) + np.float32(offset)).astype(np.float32)
    return Volume(values, dataset.affine(case_id), modality, dataset.unit(modality) if known else "a.u.")
