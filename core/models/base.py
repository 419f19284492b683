"""What a model is: it encodes what is present, decodes any target, says its loss. No optimiser, device, path, log."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from core.config import Settings, Task

PRIOR = "prior"  # beside modalities: what is known without any
FAST_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


@dataclass(frozen=True)
class Shapes:
    """What a model is built for.

    Attributes:
        modalities: in a fixed order.
        size: spatial size of one input, (H, W) for slices, (P, Q, R) for patches; networks that halve images pad them
            by themselves.
        n_positions: slices per volume, so that a model may keep one image per position.
        channels: per modality: the slices of a stack, else 1.
        tasks: what heads on the shared code learn beside the images.
    """

    modalities: tuple[str, ...]
    size: tuple[int, ...]
    n_positions: int
    channels: int = 1
    tasks: tuple[Task, ...] = ()

    @property
    def spatial_dims(self) -> int:
        return len(self.size)

    def only(self, modalities: Sequence[str]) -> Shapes:
        """The same windows of no modality but these, without tasks."""
        return replace(self, modalities=tuple(modalities), tasks=())


@dataclass(frozen=True, eq=False)
class Batch:
    """Slices (or patches) of several cases, stacked.

    Attributes:
        x: modality -> (B, C, *size), about 0 to 1; rows whose modality is absent are zero and must have no influence.
        present: modality -> (B,) bool.
        mask: (B, 1, *size) bool, the pixels that are judged.
        case_index: (B,) long, which case a row is from.
        position: (B,) long, slice index in the volume.
        answers: task -> what its head should say: classes (B,) or (B, *size) long, -1 where unknown; numbers (B,), in
            standard deviations from their mean, NaN where unknown.
    """

    x: Mapping[str, Tensor]
    present: Mapping[str, Tensor]
    mask: Tensor
    case_index: Tensor
    position: Tensor
    answers: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return len(self.position)

    def only(self, given: Sequence[str]) -> Batch:
        """The same rows with no modality but the given ones: what is not given is absent."""
        return replace(self, x={m: self.x[m] for m in given}, present={m: self.present[m] for m in given})

    def showing(self, given: Tensor) -> Batch:
        """The same rows with only what is given (M, B) present, in the order of `x`."""
        return replace(self, present=dict(zip(self.x, given, strict=True)))

    def to(self, device: torch.device, to_learn: bool = False) -> Batch:
        """Moved, images in the memory format that is fastest there."""

        def image(t: Tensor) -> Tensor:
            return t.to(device, non_blocking=True).contiguous(memory_format=fast_format(t.ndim, device, to_learn))

        return Batch(
            {m: image(t) for m, t in self.x.items()},
            {m: t.to(device, non_blocking=True) for m, t in self.present.items()},
            self.mask.to(device, non_blocking=True),
            self.case_index.to(device, non_blocking=True),
            self.position.to(device, non_blocking=True),
            {name: t.to(device, non_blocking=True) for name, t in self.answers.items()},
        )


def fast_format(ndim: int, device: torch.device, to_learn: bool = False) -> torch.memory_format:
    """Of images and of kernels. Channels last, but for learning from slices on a CPU (`docs/decisions.md`)."""
    usual: torch.memory_format = torch.contiguous_format
    return usual if to_learn and device.type == "cpu" and ndim == 4 else FAST_FORMATS.get(ndim, usual)


def place(model: nn.Module, device: torch.device, to_learn: bool = False) -> None:
    """Move a model; its convolutions into the memory format that they run fast in."""
    model.to(device)
    for parameter in model.parameters():
        if parameter.ndim in FAST_FORMATS:  # `to` would refuse a model with parameters of several ranks
            kept = fast_format(parameter.ndim, device, to_learn)
            parameter.data = parameter.data.contiguous(memory_format=kept)


class Posterior(Protocol):
    """What is known of the latent once the given modalities are seen; z is (B, D) or (B, D, *spatial)."""

    @property
    def mean(self) -> Tensor: ...

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """One draw per row, differentiable where the model needs it."""


class Model(nn.Module, ABC):
    """The contract. To add a model: one module with one subclass (its paper in the first line), one line in MODELS."""

    Config: ClassVar[type[Settings]]
    title: ClassVar[str]  # what a person reads in a list of models
    summary: ClassVar[str]  # one plain sentence: what it does and when to choose it
    train_defaults: ClassVar[
        Mapping[str, Any]
    ] = {}  # where this model trains best with other settings than TrainConfig's
    can_decode: ClassVar[bool] = True  # False for direct translators, which have no latent to decode from
    can_embed: ClassVar[bool] = True  # False for baselines, which have no latent at all
    multiplies_experts: ClassVar[bool] = False  # True where the code is a product of one expert per modality
    paired: ClassVar[bool] = True  # False: learns without pairs; each modality of a row is from a slice of its own
    makes_images: ClassVar[bool] = True  # False for similarity models: a code, and nothing to compare or evaluate
    is_fitted: ClassVar[bool] = False  # True where there are no parts and no gradient: `fit` reads the slices once

    def __init__(self, config: Settings, shapes: Shapes) -> None:
        super().__init__()
        self.config: Any = config
        self.shapes = shapes
        self.heads: nn.Module | None = None  # of the tasks; see core.models.heads

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """One optimiser each; their losses are taken in turn, the other parts frozen. None: fitted once, with `fit`.

        What a loss must remember from step to step is a buffer; with `persistent=False` it is kept while training only.
        """
        return {"model": list(self.parameters())}

    def fit(self, batches: Iterable[Batch]) -> None:
        """For models without parts: one pass over the training slices, state in buffers."""
        raise NotImplementedError("This model is trained by gradient; it has no fit.")

    @abstractmethod
    def loss(self, batch: Batch, part: str, step: int) -> dict[str, Tensor]:
        """Scalars: "total" is minimised, all are logged. `step` is for warm-ups. Means over rows, sums over pixels."""

    @abstractmethod
    def encode(self, batch: Batch) -> Posterior:
        """The latent given the modalities that are present in the batch (a row may lack some, not all)."""

    @abstractmethod
    def decode(self, z: Tensor, targets: Sequence[str]) -> dict[str, Tensor]:
        """Images (B, C, *size) of the targets from a latent."""

    def embed(self, batch: Batch) -> Tensor:
        """(B, D): by default the posterior's mean, averaged over space where the latent has any."""
        mean = self.encode(batch).mean
        return mean.flatten(2).mean(2) if mean.ndim > 2 else mean

    def precision_shares(self, batch: Batch) -> dict[str, Tensor]:
        """How much each modality (and the prior, `PRIOR`) counts in the code, (B, D, ...): parts of the precision.

        Together 1 at every number of the code. Empty for a model whose code is no product of experts.
        """
        return {}

    def supports(self, given: Sequence[str], target: str) -> bool:
        """Whether the model has learnt to make this target from these given modalities."""
        return self.makes_images

    def reads(self, modality: str) -> bool:
        """Whether the model has a code for this modality alone."""
        return not self.makes_images or any(self.supports((modality,), target) for target in self.shapes.modalities)

    def synthesise(self, batch: Batch, targets: Sequence[str]) -> dict[str, Tensor]:
        """Images of the targets from what is present: `model.synthesise(batch.only(["T1"]), ["T2"])`."""
        return self.decode(self.encode(batch).mean, targets)
