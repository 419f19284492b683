"""What a synthesis, or a number of the code, is based on: a slice of a case, asked of a trained run."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from core.attribution import Value, blank_of, followed, occlusion
from core.batches import make_batch
from core.errors import InvalidConfigError, NotFoundError
from core.models.base import Batch, Shapes
from core.progress import Progress, silent
from core.structure import Mask
from core.synthesis import LoadedRun, check_request, to_device
from core.types import Array
from core.windows import box_of, middle

Method = Literal["gradients", "occlusion"]
BLOCK_MM = 12.0  # side of what occlusion covers


@dataclass(frozen=True)
class Question:
    """What is asked of one slice of a case.

    Attributes:
        target: the modality that is made.
        position: a voxel; its slice (third axis) is the one that is explained.
        side_mm: of the square around the voxel whose mean is explained; under a voxel's size, the voxel alone.
        region: a label map whose marked voxels in the slice are explained in place of the square; "" for the square.
        dimension: a number of the code (from 0) that is explained in place of the image; -1 for the image.
    """

    case_id: str
    given: tuple[str, ...]
    target: str
    position: tuple[int, int, int]
    side_mm: float = 10.0
    region: str = ""
    dimension: int = -1
    method: Method = "gradients"


@dataclass(frozen=True, eq=False)
class Explanation:
    """Maps (I, J) of the slice; what a stack or patch sees above and below is added onto it.

    Attributes:
        maps: given -> what each pixel adds to (or takes from) the value, against the blank. Occlusion: what is lost
            where the block around it is covered.
        region: whose mean is explained; None for a number of the code.
        value, blank: what is explained, of the images and of the blank.
        gap: the part of value - blank that the maps do not account for; 0 with occlusion, whose maps need not add up.
    """

    maps: dict[str, Array]
    region: Mask | None
    slice: int
    value: float
    blank: float
    gap: float

    @property
    def shares(self) -> dict[str, float]:
        """Each modality's part of all that the maps show, whatever its sign; together 1, or all 0."""
        sizes = {m: float(np.abs(image).sum(dtype=np.float64)) for m, image in self.maps.items()}
        total = sum(sizes.values())
        return {m: size / total if total else 0.0 for m, size in sizes.items()}


def explain(loaded: LoadedRun, question: Question, progress: Progress = silent) -> Explanation:
    """Where in the given images the answer comes from.

    Raises:
        InvalidConfigError: The model does not make the target from these, or has no such number.
        NotFoundError: The case lacks a given modality, or has no such region in this slice.
    """
    check_request(loaded, question.case_id, question.given, [question.target])
    region = region_of(loaded, question) if question.dimension < 0 else None
    place = _place(loaded, question, region)
    shapes = loaded.model.shapes.only(question.given)
    batch = to_device(loaded, make_batch(loaded.dataset, [(question.case_id, place)], shapes))
    value = _value_of(loaded, question, _in_window(loaded, region, question.position[2], place))
    blank = blank_of(batch)
    with torch.no_grad():
        whole, none = float(value(batch)), float(value(replace(batch, x=blank)))
    if question.method == "gradients":
        found, gap = followed(value, batch, blank, whole - none, progress)
    else:
        block = [max(1, round(BLOCK_MM / mm)) for mm in loaded.dataset.spacing_mm]
        found, gap = occlusion(value, batch, blank, block, progress), 0.0
    maps = {m: _on_slice(loaded, image, place) for m, image in found.items()}
    return Explanation(maps, region, question.position[2], whole, none, gap)


def region_of(loaded: LoadedRun, question: Question) -> Mask:
    """(I, J): the square around the voxel, or the marked voxels of a label map, in its slice.

    Raises:
        NotFoundError: There is no such map, or nothing of it in this slice.
    """
    dataset, (i, j, k) = loaded.dataset, question.position
    if not all(0 <= at < n for at, n in zip(question.position, dataset.shape, strict=True)):
        raise InvalidConfigError("This place lies outside the image. Choose a voxel inside.", "PLACE")
    if question.region:
        marked = np.asarray(dataset.label_map(question.case_id, question.region)[:, :, k]) > 0
        if not marked.any():
            raise NotFoundError("There is nothing marked in this slice. Go to a slice that shows it.", "NOT-HERE")
        return marked
    region = np.zeros(dataset.shape[:2], bool)
    reach = [int(question.side_mm / 2 / mm) for mm in dataset.spacing_mm[:2]]
    region[max(0, i - reach[0]) : i + reach[0] + 1, max(0, j - reach[1]) : j + reach[1] + 1] = True
    return region


def precision_maps(loaded: LoadedRun, question: Question) -> dict[str, Array]:
    """How much each given modality, and the prior, counts in the code of a slice: (I, J) shares, together 1.

    Mean over the code's numbers. Where the code is one for the whole slice, each map has one value. Empty where the
    model multiplies no experts.
    """
    check_request(loaded, question.case_id, question.given, [question.target])
    place = _place(loaded, question, None)
    shapes = loaded.model.shapes.only(question.given)
    batch = to_device(loaded, make_batch(loaded.dataset, [(question.case_id, place)], shapes))
    with torch.inference_mode():
        found = loaded.model.precision_shares(batch)
    return {m: _on_slice(loaded, grown(share.mean(1), shapes), place, is_sum=False) for m, share in found.items()}


def grown(share: Tensor, shapes: Shapes) -> Tensor:
    """(1, 1, *size) from (1, *small) or (1,): every place of the code covers the pixels that it was halved from."""
    if share.ndim == 1:
        return share.view(-1, 1, *[1] * len(shapes.size)).expand(-1, 1, *shapes.size)
    factors = [2 ** math.ceil(math.log2(n / small)) for n, small in zip(shapes.size, share.shape[1:], strict=True)]
    wide = F.interpolate(share[:, None], scale_factor=factors, mode="nearest")
    return wide[(slice(None), slice(None), *(slice(0, n) for n in shapes.size))]


def _value_of(loaded: LoadedRun, question: Question, weights: Tensor | None) -> Value:
    """The mean of the synthesis over the region, or a number of the code."""
    model = loaded.model
    if weights is not None:
        weight = weights.to(loaded.device)

        def mean_inside(batch: Batch) -> Tensor:
            image = model.synthesise(batch, [question.target])[question.target]
            return (image[:, middle(model.shapes)] * weight).flatten(1).sum(1)

        return mean_inside
    if not model.can_embed:
        raise InvalidConfigError("This model has no code. Ask about a place in the image.", "NO-CODE")

    def number(batch: Batch) -> Tensor:
        code = model.embed(batch)
        if question.dimension >= code.shape[1]:
            raise InvalidConfigError(f"Choose a number of the code from 1 to {code.shape[1]}.", "NO-DIMENSION")
        return code[:, question.dimension]

    return number


def _place(loaded: LoadedRun, question: Question, region: Mask | None) -> int:
    """Where the network's window lies: the slice, or the patch with the region (or the voxel) nearest to its middle."""
    shapes, shape = loaded.model.shapes, loaded.dataset.shape
    k = question.position[2]
    if shapes.spatial_dims == 2:
        return k
    flat = question.position[:2] if region is None else np.rint(np.argwhere(region).mean(0)).astype(int)
    corner = [
        min(max(0, int(at) - size // 2), n - size) for at, size, n in zip((*flat, k), shapes.size, shape, strict=True)
    ]
    return int(np.ravel_multi_index(corner, shape))


def _in_window(loaded: LoadedRun, region: Mask | None, k: int, place: int) -> Tensor | None:
    """Weights (*size) that take the mean over the region; as much of it as the window holds."""
    if region is None:
        return None
    shapes, shape = loaded.model.shapes, loaded.dataset.shape
    weights = torch.zeros(shapes.size)
    if shapes.spatial_dims == 2:
        weights[: shape[0], : shape[1]] = torch.from_numpy(region)
    else:
        across, along, up = box_of(place, shape, shapes)
        weights[..., k - up.start] = torch.from_numpy(region[across, along])
    return weights / weights.sum().clamp(min=1)


def _on_slice(loaded: LoadedRun, image: Tensor, place: int, is_sum: bool = True) -> Array:
    """(I, J) of (1, C, *size): what lies above and below is added (or averaged) onto the slice."""
    shapes, shape = loaded.model.shapes, loaded.dataset.shape
    found = image[0].sum(0) if is_sum else image[0].mean(0)
    if shapes.spatial_dims == 2:
        return np.ascontiguousarray(found[: shape[0], : shape[1]].float().cpu().numpy())
    across, along, _ = box_of(place, shape, shapes)
    flat = np.zeros(shape[:2], np.float32)
    flat[across, along] = (found.sum(-1) if is_sum else found.mean(-1)).float().cpu().numpy()
    return flat
