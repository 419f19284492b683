"""Multi-task learning: heads on the shared code that answer a label map, a class or a number (Caruana 1997).

A head reads the code of whatever is given, a random subset of the modalities in each step, so that it answers any
subset later. Its loss counts in nats per judged pixel, as the images do.

Source:
    Caruana 1997, doi:10.1023/A:1007379606734; the Dice term: Milletari et al. 2016, arXiv:1606.04797.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.config import Task
from core.errors import InvalidConfigError
from core.models.base import Batch, Model, Shapes
from core.models.blocks import conv, conv_block, crop_to, small_size, up
from core.models.formulas import mean_over_rows

WIDTH = 16
DEPTH = 3  # halvings where a map grows from a code that is no map


class MapHead(nn.Module):
    """(B, D, *small) or (B, D) -> (B, n, *size) logits: up by twos to the size of the image."""

    def __init__(self, code: Sequence[int], size: Sequence[int], n_outputs: int) -> None:
        super().__init__()
        self.size, dims = tuple(size), len(size)
        is_map = len(code) > 1
        if is_map:
            n_doublings = max(math.ceil(math.log2(long / short)) for long, short in zip(size, code[1:], strict=True))
            start: nn.Module = conv_block(dims, code[0], WIDTH)
        else:
            n_doublings, places = DEPTH, small_size(size, DEPTH)
            start = nn.Sequential(nn.Linear(code[0], WIDTH * math.prod(places)), nn.Unflatten(1, (WIDTH, *places)))
        steps = [nn.Sequential(up(dims, WIDTH, WIDTH), conv_block(dims, WIDTH, WIDTH)) for _ in range(n_doublings)]
        self.body = nn.Sequential(start, *steps, conv(dims, WIDTH, n_outputs, 1))

    def forward(self, code: Tensor) -> Tensor:
        return crop_to(self.body(code), self.size)


class VectorHead(nn.Module):
    """(B, D, *small) or (B, D) -> (B, n): from the code's mean and largest values over its places."""

    def __init__(self, code: Sequence[int], n_outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2 * code[0], 4 * WIDTH), nn.SiLU(), nn.Linear(4 * WIDTH, n_outputs))

    def forward(self, code: Tensor) -> Tensor:
        places = code.flatten(2) if code.ndim > 2 else code[:, :, None]
        out: Tensor = self.body(torch.cat([places.mean(2), places.amax(2)], 1))
        return out


def key_of(task: Task) -> str:
    """A head's name among the weights: neither a method of a module nor a path in one."""
    return "task_" + task.name.replace(".", "_")


class Heads(nn.ModuleDict):
    """One head a task, on codes of one shape (D, *small) or (D,)."""

    def __init__(self, tasks: Sequence[Task], code: Sequence[int], size: Sequence[int]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        for task in tasks:
            n = task.n_outputs
            self[key_of(task)] = MapHead(code, size, n) if task.kind == "map" else VectorHead(code, n)

    def answers(self, code: Tensor) -> dict[str, Tensor]:
        """Task -> logits (B, n, *size) of a map, (B, n) of a class; of a number (B, 1), in standard deviations."""
        return {task.name: self[key_of(task)](code) for task in self.tasks}


def refuse_tasks(kind: type[Model]) -> None:
    """Raise InvalidConfigError where a model has no code that a task could be learnt from."""
    if not (kind.can_embed and kind.makes_images and kind.paired) or kind.is_fitted:
        raise InvalidConfigError(
            "This model has no shared code that a task could be learnt from. Leave train.tasks empty.", "NO-SHARED-CODE"
        )


def add_heads(model: Model) -> None:
    """Give a model the heads of its shapes' tasks; a pass of zeros tells what its codes look like.

    Raises:
        InvalidConfigError: The model has no code that could be learnt with others.
    """
    shapes = model.shapes
    if not shapes.tasks:
        return
    refuse_tasks(type(model))
    with torch.no_grad():
        code = model.encode(_blank(shapes)).mean
    model.heads = Heads(shapes.tasks, code.shape[1:], shapes.size)


def _blank(shapes: Shapes) -> Batch:
    """One row of zeros in which everything is present."""
    row = torch.zeros(1, dtype=torch.long)
    x = {m: torch.zeros(1, shapes.channels, *shapes.size) for m in shapes.modalities}
    present = {m: torch.ones(1, dtype=torch.bool) for m in shapes.modalities}
    return Batch(x, present, torch.ones(1, 1, *shapes.size, dtype=torch.bool), row, row)


def answers_of(model: Model, batch: Batch) -> dict[str, Tensor]:
    """What the heads say of what is present; see `Heads.answers`."""
    return model.heads.answers(model.encode(batch).mean) if isinstance(model.heads, Heads) else {}


def task_losses(model: Model, batch: Batch) -> dict[str, Tensor]:
    """ "task_NAME" -> its loss as a mean over rows, those without an answer counting nothing."""
    if not isinstance(model.heads, Heads):
        return {}
    shown = _some_of(batch)
    said, has_any = answers_of(model, shown), torch.stack(list(shown.present.values())).any(0)
    pixels = batch.mask.flatten(1).sum(1).float()
    losses = {}
    for task in model.heads.tasks:
        rows, known = _LOSSES[task.kind](said[task.name].float(), batch.answers[task.name], batch)
        losses[f"task_{task.name}"] = mean_over_rows(rows * pixels, known & has_any)
    return losses


def _some_of(batch: Batch) -> Batch:
    """All modalities in half of the draws, else a random one of them: both ends of what may be given later."""
    names = list(batch.x)
    if len(names) < 2 or torch.rand(()) < 0.5:
        return batch
    return batch.only([names[int(torch.randint(len(names), ()))]])


def map_loss(logits: Tensor, classes: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Cross entropy and 1 - Dice, both averaged, of each row; over the judged pixels whose class is known."""
    counted = (classes >= 0) & batch.mask[:, 0]
    share = counted / counted.flatten(1).sum(1).clamp(min=1).view(-1, *[1] * (counted.ndim - 1))
    entropy = (F.cross_entropy(logits, classes.clamp(min=0), reduction="none") * share).flatten(1).sum(1)
    hot = F.one_hot(classes.clamp(min=0), logits.shape[1]).movedim(-1, 1) * counted[:, None]
    guess = logits.softmax(1) * counted[:, None]
    both = (guess * hot).transpose(0, 1).flatten(1).sum(1)
    sizes = (guess + hot).transpose(0, 1).flatten(1).sum(1)
    dice = (2 * both[1:] + 1) / (sizes[1:] + 1)  # over the batch: a rare class may be absent from a row
    return entropy + 1 - dice.mean(), counted.flatten(1).any(1)


def class_loss(logits: Tensor, classes: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Cross entropy of each row."""
    return F.cross_entropy(logits, classes.clamp(min=0), reduction="none"), classes >= 0


def number_loss(said: Tensor, numbers: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Smooth L1 of each row, in standard deviations: squared below one, so that far-off labels do not rule."""
    return F.smooth_l1_loss(said[:, 0], numbers.nan_to_num(), reduction="none"), ~numbers.isnan()


_LOSSES = {"map": map_loss, "class": class_loss, "number": number_loss}
