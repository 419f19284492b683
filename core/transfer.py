"""Start a run from another run's weights, and keep parts of a model fixed."""

from __future__ import annotations

from safetensors.torch import load as load_safetensors
from torch import nn

from core.config import Task
from core.dataset import Dataset
from core.errors import InvalidConfigError
from core.models.base import Model
from core.models.heads import key_of
from core.runs import Run
from core.synthesis import checked_weights
from core.workspace import Workspace

SIDES = ("encoders", "decoders", "private_encoders", "other_scales")  # keyed by modality


def start_from(run: Run, dataset: Dataset, model: Model) -> None:
    """Fill the model with what the run named by `train.init_from` has of the same name; the rest stays fresh.

    Does nothing where no run is named. A head is taken where the task has the same classes.

    Raises:
        NotFoundError: There is no such run, or it has no weights.
        InvalidConfigError: Another kind of model, other sizes, nothing in common, or held-out cases were learnt from.
    """
    if not run.config.train.init_from:
        return
    source = Run.open(Workspace(run.folder.parent.parent), run.config.train.init_from)
    if source.config.model != run.config.model:
        raise InvalidConfigError(
            f"The run to start from is a {source.config.model}, this one a {run.config.model}. Choose the same model.",
            "OTHER-MODEL",
        )
    _refuse_leak(source, run, dataset)
    own, found = model.state_dict(), load_safetensors(checked_weights(source))
    heads = tuple(f"heads.{key_of(task)}." for task in run.config.tasks if not _is_known(task, source))
    shared = {name: value for name, value in found.items() if name in own and not name.startswith(heads)}
    if not shared:
        raise InvalidConfigError("The run to start from has no part in common with this one.", "NO-COMMON-PART")
    for name, value in shared.items():
        if value.shape != own[name].shape:
            part = ".".join(name.split(".")[:2])
            raise InvalidConfigError(
                f"{part} has another size in the run to start from. Use the same model settings and image "
                "size; a run of an earlier version may not fit either.",
                "OTHER-SIZE",
            )
    model.load_state_dict({**own, **shared})


def _is_known(task: Task, source: Run) -> bool:
    """Whether the run has learnt a task of that name with the very same classes."""
    return any((t.name, t.kind, t.classes) == (task.name, task.kind, task.classes) for t in source.config.tasks)


def _refuse_leak(source: Run, run: Run, dataset: Dataset) -> None:
    """On the same dataset, nothing that this run is judged on may have been learnt from before."""
    before, now = source.config, run.config
    if before.dataset_fingerprint != dataset.fingerprint:
        return
    learnt = dataset.split_of(before).train
    if set(learnt) & set(dataset.split_of(now).test):
        raise InvalidConfigError(
            "The run to start from has learnt from cases that this run holds out. Use the same seed and fold.",
            "LEAK",
        )


def trainable_parts(model: Model, fixed: tuple[str, ...]) -> dict[str, list[nn.Parameter]]:
    """The model's parts without what is kept fixed: "encoders", "decoders", or all that belongs to a modality.

    Raises:
        InvalidConfigError: The model has no part of that name, or nothing is left to learn.
    """
    parts = _with_heads(model, model.parts())
    if not fixed:
        return parts
    named = dict(model.named_parameters())
    kept: set[int] = set()
    for name in fixed:
        chosen = [parameter for place, parameter in named.items() if _belongs(place, name)]
        if not chosen:
            raise InvalidConfigError(f"train.freeze: this model has no part for {name[:40]}.", "NO-PART")
        kept |= {id(parameter.requires_grad_(False)) for parameter in chosen}
    left = {part: [p for p in parameters if id(p) not in kept] for part, parameters in parts.items()}
    if not all(left.values()):
        raise InvalidConfigError("train.freeze: nothing is left to learn. Keep fewer parts fixed.", "ALL-FIXED")
    return left


def _with_heads(model: Model, parts: dict[str, list[nn.Parameter]]) -> dict[str, list[nn.Parameter]]:
    """Heads are learnt with the first part, where the codes are."""
    first, *_ = parts
    known = {id(parameter) for parameter in parts[first]}
    heads = list(model.heads.parameters()) if model.heads is not None else []
    return {**parts, first: parts[first] + [parameter for parameter in heads if id(parameter) not in known]}


def _belongs(place: str, name: str) -> bool:
    side, _, rest = place.partition(".")
    return side in SIDES and name in (side, rest.split(".")[0])
