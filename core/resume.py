"""Going on with a training exactly where it was: all that its next step depends on, kept in checkpoints.

To make a new part of a training survive, give it to `tensors_of` and `restore_tensors`, or to `Resume._state`.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from core.batches import Slices
from core.checkpoints import Checkpoint, drop_newer, forget_checkpoints, read_checkpoint, write_checkpoint
from core.config import TrainConfig
from core.disk import disk_full
from core.early_stop import EarlyStop
from core.errors import UserError
from core.models.base import Batch, Model
from core.runs import Run
from core.schedule import Clock
from core.team import Team

EVERY_S = 30.0
EVERY = "CROSSMODAL_CHECKPOINT_S"  # seconds between checkpoints; 0: after each step
SHARE = 0.02  # of the time at most for writing them
COPIES = 14  # of the weights: three checkpoints of four each (weights, average, two moments), the result twice
SLOWER = 0.1  # of the learning rate, for the one new try after a loss that was not finite


class Learner(Protocol):
    """What a training is made of."""

    run: Run
    settings: TrainConfig
    model: Model
    averaged: Model
    optimisers: dict[str, torch.optim.AdamW]
    rng: np.random.Generator
    slices: Slices
    clock: Clock
    usual_norm: dict[str, float]
    logged: list[dict[str, float]]
    early_stop: EarlyStop
    team: Team


class Resume:
    """The place of a training in its epochs, and its checkpoints."""

    def __init__(self, learner: Learner) -> None:
        self.learner = learner
        self.epoch, self.epoch_step = 1, 0
        self.epoch_rng = learner.rng.bit_generator.state
        self.lr_factor = 1.0
        self.n_pieces = 1
        self.saved = time.monotonic()
        self.pause_s = _every_s()

    def begin(self) -> None:
        """Go on from the newest whole checkpoint; without one, start anew and write the first."""
        found = read_checkpoint(self.learner.run.folder)
        _check_room(self.learner)
        if found is None:
            start_history(self.learner.run)
            self.save()
        else:
            self._go_back_to(found)

    def join(self) -> None:
        """Stand where the leader stands: what it goes on from is the newest checkpoint."""
        found = read_checkpoint(self.learner.run.folder)
        if found is None:
            raise RuntimeError("The leader of a training has written no checkpoint.")
        self._stand_at(found)

    def batches(self, epoch: int) -> Iterator[Batch]:
        """This epoch's batches, without those that were learnt from before a break; saves now and then."""
        learner = self.learner
        present = learner.rng.bit_generator.state
        if epoch != self.epoch:
            self.epoch, self.epoch_step, self.epoch_rng = epoch, learner.clock.step, present
        done = learner.clock.step - self.epoch_step
        learner.rng.bit_generator.state = self.epoch_rng
        batches = learner.slices.epoch(learner.settings.batch_size, learner.rng)
        if done:  # the order is drawn anew, as it was; then the random numbers go on where they were
            for _ in islice(batches, done):
                pass
            learner.rng.bit_generator.state = present
        for batch in batches:
            yield batch
            if learner.team.leads and time.monotonic() - self.saved > self.pause_s:
                self.save()

    def take_pieces(self, n_pieces: int) -> None:
        """From now on batches are taken in so many pieces, for want of memory."""
        if n_pieces != self.n_pieces:
            self.n_pieces = n_pieces
            self._note(f"The device's memory was too small: each batch is taken in {n_pieces} pieces.")

    def save(self) -> None:
        """Write a checkpoint of this very moment, between two steps."""
        began = time.monotonic()
        write_checkpoint(self.learner.run.folder, self.learner.clock.step, tensors_of(self.learner), self._state())
        self.saved = time.monotonic()
        if usual_s := _every_s():
            self.pause_s = max(usual_s, (self.saved - began) / SHARE)

    def go_back_slower(self) -> bool:
        """After a loss that was not finite: the last checkpoint with a tenth of the step, once; else False."""
        team = self.learner.team
        has_gone = team.in_any(team.leads and self._lead_back_slower())
        if has_gone and not team.leads:
            self.join()
        return has_gone

    def _lead_back_slower(self) -> bool:
        found = read_checkpoint(self.learner.run.folder)
        if self.lr_factor < 1 or found is None:
            return False
        step = self.learner.clock.step
        self._go_back_to(found)
        self.lr_factor = SLOWER
        again = f"tried again from step {found.step} at a tenth of the learning rate"
        self._note(f"The loss left the finite numbers at step {step}; {again}.")
        self.save()
        return True

    def end(self) -> None:
        """A training that reached its end needs no checkpoints."""
        forget_checkpoints(self.learner.run.folder)

    def _state(self) -> dict[str, Any]:
        learner = self.learner
        return {
            "seconds": learner.clock.seconds,
            "epoch": self.epoch,
            "epoch_step": self.epoch_step,
            "epoch_rng": self.epoch_rng,
            "rng": learner.rng.bit_generator.state,
            "lr_factor": self.lr_factor,
            "n_pieces": self.n_pieces,
            "usual_norm": learner.usual_norm,
            "logged": learner.logged,
            "early_stop": learner.early_stop.state,
            "history_bytes": _size(learner.run),
            "torch": torch.__version__,
        }

    def _go_back_to(self, found: Checkpoint) -> None:
        """Stand there, and forget on disk what came after."""
        drop_newer(self.learner.run.folder, found.step)
        self._stand_at(found)
        start_history(self.learner.run, found.state["history_bytes"])
        if found.n_broken:
            self._note(f"The newest checkpoint was damaged; went on from the one before it, step {found.step}.")

    def _stand_at(self, found: Checkpoint) -> None:
        learner, state = self.learner, found.state
        restore_tensors(learner, found.tensors)
        learner.clock.go_back(found.step, state["seconds"])
        self.epoch, self.epoch_step, self.epoch_rng = state["epoch"], state["epoch_step"], state["epoch_rng"]
        learner.rng.bit_generator.state = state["rng"]
        self.lr_factor, self.n_pieces = state["lr_factor"], state["n_pieces"]
        learner.usual_norm.update(state["usual_norm"])
        learner.logged[:] = state["logged"]
        learner.early_stop.go_on_from(state["early_stop"], _with_prefix(found.tensors, "best."))

    def _note(self, sentence: str) -> None:
        if not self.learner.team.leads:
            return
        logging.getLogger("core").warning(sentence)
        self.learner.run.update(note=sentence)


def _check_room(learner: Learner) -> None:
    """A training does not begin where the disk could not hold what it writes."""
    n_bytes = sum(value.numel() * value.element_size() for value in learner.model.state_dict().values())
    needed = COPIES * n_bytes
    free = shutil.disk_usage(learner.run.folder).free
    if free < needed:
        raise disk_full(f"{needed / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free.")


def _every_s() -> float:
    return float(os.environ.get(EVERY, EVERY_S))


def tensors_of(learner: Learner) -> dict[str, Tensor]:
    """Weights, averaged weights, the optimisers' moments, torch's random states; by name."""
    tensors = {f"model.{name}": value for name, value in _weights_and_buffers(learner.model).items()}
    tensors |= {f"averaged.{name}": value for name, value in learner.averaged.state_dict().items()}
    for part, optimiser in learner.optimisers.items():
        for number, parameter in enumerate(_parameters(optimiser)):
            for key, value in optimiser.state[parameter].items():
                tensors[f"optimiser.{part}.{number}.{key}"] = value
    tensors |= {f"best.{name}": value for name, value in learner.early_stop.best.items()}
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    return tensors


def restore_tensors(learner: Learner, tensors: Mapping[str, Tensor]) -> None:
    """Put them back; memory formats stay as they are now, so that the same kernels run."""
    stored = _with_prefix(tensors, "model.")
    own = _weights_and_buffers(learner.model)
    if _shapes(own) != _shapes(stored):
        raise UserError(
            "What this training kept does not fit this version of the model. Train again.", "WEIGHTS-MISFIT"
        )
    for name, value in own.items():
        value.copy_(stored[name])
    learner.averaged.load_state_dict(_with_prefix(tensors, "averaged."))
    for part, optimiser in learner.optimisers.items():
        for number, parameter in enumerate(_parameters(optimiser)):
            stored = _with_prefix(tensors, f"optimiser.{part}.{number}.")
            optimiser.state[parameter] = {key: _like(parameter, value) for key, value in stored.items()}
    torch.set_rng_state(tensors["random.cpu"])
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"])


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in tensors.items()}


def _weights_and_buffers(model: nn.Module) -> dict[str, Tensor]:
    """Also the buffers that are not kept with the weights, such as an adversarial model's pool of images."""
    return {**model.state_dict(), **dict(model.named_buffers())}


def _parameters(optimiser: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def _with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _like(parameter: Tensor, value: Tensor) -> Tensor:
    """A moment lies in memory as its parameter does; a count stays on the CPU, where the optimiser keeps it."""
    if value.shape != parameter.shape or value.dim() == 0:
        return value.clone()
    return torch.empty_like(parameter, requires_grad=False).copy_(value)


def start_history(run: Run, n_bytes: int = 0) -> None:
    """Forget the logged steps after these bytes: they will be taken again."""
    path = run.folder / "history.jsonl"
    if path.exists():
        os.truncate(path, n_bytes)


def _size(run: Run) -> int:
    path = run.folder / "history.jsonl"
    return path.stat().st_size if path.exists() else 0
