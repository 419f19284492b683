"""Settings: frozen, with limits and help texts, so that forms and the command line draw themselves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from core.errors import InvalidConfigError


class Settings(BaseModel):
    """Base of every settings class; an unknown setting is an error, never ignored."""

    headings: ClassVar[Mapping[str, tuple[str, ...]]] = {}  # what a long form puts together under each

    model_config = ConfigDict(frozen=True, extra="forbid")


S = TypeVar("S", bound=Settings)


def build(kind: type[S], values: Mapping[str, Any]) -> S:
    """Validate `values` into `kind`.

    Raises:
        InvalidConfigError: Names the first wrong setting and its limit.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or kind.__name__
        if first["type"] == "extra_forbidden":
            known = ", ".join(kind.model_fields)
            raise InvalidConfigError(f"{where}: there is no such setting. Known here: {known}.") from error
        said = first["msg"].removeprefix("Value error, ")
        raise InvalidConfigError(f"{where}: {said}.") from error


def parse_overrides(pairs: Iterable[str]) -> dict[str, Any]:
    """`["model.latent_dim=32", "train.modalities=T1,T2"]` -> nested dict. Values stay text; `build` converts them.

    A value that contains a comma, or is bracketed as JSON, becomes a list.
    """
    result: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise InvalidConfigError("Write a setting as key=value, for example train.epochs=20.")
        place = result
        *parents, last = key.strip().split(".")
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise InvalidConfigError(f"{key}: '{parent}' is given both as a value and as a group.")
        place[last] = _value(text.strip())
    return result


def _value(text: str) -> Any:
    if text.startswith(("[", "{")):
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise InvalidConfigError("A value in brackets must be valid JSON.") from error
    if "," in text:
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def _as_names(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_as_names)]  # one name may be written without a list


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("Input should be an odd number")
    return value


Odd = Annotated[int, AfterValidator(_odd)]


class TrainConfig(Settings):
    """How a model is trained, whatever the model."""

    headings: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "What is seen": ("modalities", "input", "stack", "patch", "augment", "drop_modalities"),
        "Steps": ("optimiser", "schedule", "momentum", "weight_decay", "average", "clip", "patience", "preview_every"),
        "Shared code": ("infonce_weight", "triplet_weight", "tasks", "task_weight"),
        "Transfer": ("init_from", "freeze"),
        "Machine": ("devices", "precision", "deterministic", "compile"),
    }

    epochs: int = Field(150, ge=1, le=10_000, description="Passes over all training slices")
    batch_size: int = Field(4, ge=1, le=1024, description="Slices per optimiser step")
    lr: float = Field(2e-3, gt=0, le=1, description="Peak learning rate; Muon bears about three times what AdamW does")
    optimiser: Literal["adamw", "muon"] = Field(
        "adamw",
        description="Muon: convolutional networks learn faster; AdamW: for dense, adversarial and similarity models",
    )
    schedule: Literal["cosine", "constant"] = Field("cosine", description="How the learning rate moves over the run")
    momentum: float = Field(
        0.9, ge=0, lt=1, description="The optimiser's memory of past gradients; less for adversarial models"
    )
    weight_decay: float = Field(0.0, ge=0, le=1, description="How much weights shrink at each step; 0: not")
    max_minutes: float = Field(8.0, gt=0, le=10_000, description="Stop after this time, keeping what was learnt")
    augment: bool = Field(
        True, description="Small random shifts, flips and intensity changes, the same for all modalities"
    )
    drop_modalities: float = Field(
        0.0, ge=0, le=0.9, description="Chance that a modality of a slice is left out for a step; one always stays"
    )
    patience: int = Field(
        0, ge=0, le=1000, description="Looks at the validation cases without a gain before training stops; 0: never"
    )
    precision: Literal["auto", "full", "bf16"] = Field(
        "auto", description="bf16 halves memory and is faster on GPUs; auto takes it where there is such a GPU"
    )
    devices: int = Field(
        1, ge=1, le=8, description="GPUs that share each batch (on a CPU: processes); the result stays the same"
    )
    deterministic: bool = Field(False, description="Only algorithms with the same bits each time; slower on a GPU")
    compile: bool = Field(False, description="Compile the networks first: a slow start, then faster steps")
    preview_every: int = Field(250, ge=1, le=100_000, description="Steps between sample reconstructions")
    average: float = Field(0.99, ge=0, lt=1, description="How slowly the averaged weights follow; 0: no average")
    clip: float = Field(4.0, ge=0, le=1000, description="Cut gradients over this many times their usual size; 0: never")
    input: Literal["slices", "stacks", "patches"] = Field(
        "slices", description="What is seen at once: axial slices, slices with their neighbours, or blocks of volume"
    )
    stack: Odd = Field(3, ge=3, le=15, description="Slices in a stack, an odd number; for stacks only")
    patch: int = Field(48, ge=8, le=256, description="Voxels along each side of a block; for patches only")
    modalities: Names = Field((), description="Modalities to learn from; empty means all in the dataset")
    infonce_weight: float = Field(
        0.0, ge=0, le=1e6, description="Pull codes of one slice together by InfoNCE; needs batches of 8 or more; 0: off"
    )
    triplet_weight: float = Field(0.0, ge=0, le=1e6, description="Pull codes of one slice together by triplets; 0: off")
    tasks: Names = Field(
        (), description="Labels or label maps to be told from the shared code, beside the images; empty: none"
    )
    task_weight: float = Field(
        1.0, gt=0, le=1e6, description="How much the tasks count beside the images; more: better answers, worse images"
    )
    init_from: str = Field("", description="Id of a run of the same model whose weights are the first ones")
    freeze: Names = Field((), description="What stays fixed: encoders, decoders, or all parts of a modality")


class Task(Settings):
    """What a head on the shared code answers, as it was when the run was made."""

    name: str = Field(description="Name of the label, or of the label map")
    kind: Literal["map", "class", "number"] = Field(
        description="A class per pixel, a class per case, a number per case"
    )
    classes: tuple[str, ...] = Field((), description="Names of the classes, in the order of the head's outputs")
    mean: float = Field(0.0, description="Of a number, over the training cases")
    sd: float = Field(1.0, gt=0, description="Of a number, over the training cases")

    @property
    def n_outputs(self) -> int:
        return len(self.classes) or 1


class HoldOut(Settings):
    """Cases that a run holds out by name, such as a fold of a search."""

    judged: Names = Field(min_length=1, description="Cases that the run is judged on")
    unseen: Names = Field((), description="Cases that it neither learns from nor is judged on")


class RunConfig(Settings):
    """All that decides a run's weights. No path, no device."""

    dataset: str = Field(description="Name of the dataset")
    dataset_fingerprint: str = Field("", description="Hash of the dataset the run was made for")
    model: str = Field(description="Name in the registry of models")
    model_settings: dict[str, Any] = Field(default_factory=dict, description="Settings of that model")
    train: TrainConfig = Field(default_factory=TrainConfig, description="Settings of the training")
    tasks: tuple[Task, ...] = Field((), description="What `train.tasks` were found to be")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Seed of the split, the weights and the batches")
    fold: int | None = Field(None, ge=0, description="Which fold is held out, counted from 0")
    n_folds: int | None = Field(None, ge=2, description="How many folds the cases are divided into")
    hold_out: HoldOut | None = Field(None, description="What is held out, in place of a fold")
