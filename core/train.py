"""The one training loop: a run's config -> weights, history and previews in its folder."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from core.assembly import build_model, check_model, kind_of, with_defaults
from core.augment import augment, drop_modalities
from core.batches import Slices, informative_rows
from core.compute import algorithms, check_devices, compile_networks
from core.config import HoldOut, RunConfig, TrainConfig, build
from core.dataset import Dataset, Split
from core.early_stop import EarlyStop
from core.errors import InvalidConfigError, UserError
from core.fit import fit_once
from core.memory import backward
from core.models.base import Batch, Model, place
from core.models.terms import with_terms
from core.moving_average import MovingAverage
from core.previews import write_preview
from core.progress import Cancelled, Progress, silent
from core.resume import Resume
from core.runs import Run
from core.schedule import Clock, learning_rate, optimiser
from core.shortage import told_of_memory
from core.tasks import find_tasks
from core.team import Seat, Team
from core.transfer import start_from, trainable_parts
from core.validation import loss_on, named, sample, settled_loss
from core.weights import save_weights

LOG_EVERY = 10  # steps


def make_config(  # noqa: PLR0913
    dataset: Dataset,
    model: str,
    model_settings: Mapping[str, Any],
    train_settings: Mapping[str, Any],
    seed: int = 0,
    fold: int | None = None,
    n_folds: int | None = None,
    hold_out: HoldOut | None = None,
) -> RunConfig:
    """All that decides a run, checked as far as it can be without training.

    Raises:
        InvalidConfigError: Whatever does not fit: a name, a limit, a fold, a modality.
    """
    kind = kind_of(model)
    settings = build(kind.Config, model_settings)
    config = build(
        RunConfig,
        {
            "dataset": dataset.name,
            "dataset_fingerprint": dataset.fingerprint,
            "model": model,
            "model_settings": settings.model_dump(mode="json"),
            "train": build(TrainConfig, with_defaults(kind, train_settings)),
            "seed": seed,
            "fold": fold,
            "n_folds": n_folds,
            "hold_out": hold_out,
        },
    )
    split = dataset.split_of(config)
    config = config.model_copy(update={"tasks": find_tasks(dataset, config.train.tasks, split.train)})
    if config.train.patience and not split.val:
        raise InvalidConfigError(
            "train.patience: stopping early needs validation cases, which are set aside from 10 training cases on. "
            "Set it to 0.",
            "NO-VALIDATION",
        )
    check_model(config, dataset)
    return config


@told_of_memory()
def train(run: Run, dataset: Dataset, device: torch.device, progress: Progress = silent) -> Model:
    """Train the run's model on its split's training cases and save the weights.

    Same seed, machine and thread count give the same weights, bit for bit, unless the time limit is what ends it.

    Raises:
        InvalidConfigError: The dataset is not the one that the run was made for.
        UserError: The loss left the finite numbers twice; the last finite weights are kept (code DIVERGED). Or there
            is too little memory (OUT-OF-MEMORY) or room on the disk (DISK-FULL).
        Cancelled: `progress` raised it; what was learnt so far is kept.
    """
    config = run.config
    if config.dataset_fingerprint and config.dataset_fingerprint != dataset.fingerprint:
        raise InvalidConfigError("The dataset has changed since this run was made. Make a new run.", "DATASET-CHANGED")
    check_devices(config.train, device)
    model = _fresh(run, dataset, device)
    if not model.parts():
        return fit_once(run, dataset, model, dataset.split_of(run.config), progress)
    start_from(run, dataset, model)
    return Training(run, dataset, model, dataset.split_of(run.config), progress).run_all()


def follow(run: Run, dataset: Dataset, device: torch.device, seat: Seat, ready: Callable[[], None]) -> None:
    """Take the same steps as the process that leads, on other rows, and write nothing; `ready` is called before."""
    team = Team(run.config.train, device, seat)
    model = _fresh(run, dataset, team.fabric.device)
    training = Training(run, dataset, model, dataset.split_of(run.config), silent, team)
    ready()
    training.follow()


def _fresh(run: Run, dataset: Dataset, device: torch.device) -> Model:
    """The run's model as it is before any training, with the run's random numbers next."""
    torch.manual_seed(run.config.seed)
    model = build_model(run.config, dataset)
    place(model, device, to_learn=True)
    return model


class Training:
    """One training under way: the model, its moving average, an optimiser per part."""

    def __init__(
        self, run: Run, dataset: Dataset, model: Model, split: Split, progress: Progress, team: Team | None = None
    ) -> None:
        """team: of a process that follows; the one that leads makes its own."""
        self.run, self.dataset, self.model, self.split, self.progress = run, dataset, model, split, progress
        self.settings = run.config.train
        self.device = next(model.parameters()).device
        self.team = team or Team(self.settings, self.device)
        self.average = MovingAverage(model, self.settings.average)
        self.averaged = self.average.model
        self.rng = np.random.default_rng(run.config.seed)
        self.slices = Slices(dataset, informative_rows(dataset, split.train, model.shapes), model.shapes, model.paired)
        if not len(self.slices):
            raise InvalidConfigError("No training slice has anything in its mask.", "NO-SLICES")
        watches = self.team.leads and bool(split.val)
        self.val = sample(dataset, split.val, model.shapes).to(self.device) if watches else None
        self.parts = trainable_parts(model, self.settings.freeze)
        self.optimisers = {name: optimiser(parameters, self.settings) for name, parameters in self.parts.items()}
        self.usual_norm = dict.fromkeys(self.optimisers, 0.0)
        steps = self.settings.epochs * math.ceil(len(self.slices) / self.settings.batch_size)
        self.clock = Clock(steps, self.settings.max_minutes * 60)
        self.logged: list[dict[str, float]] = []
        self.early_stop = EarlyStop(self.settings.patience if self.val is not None else 0)
        self.resume = Resume(self)
        compile_networks(self.model, self.settings, self.device)

    @property
    def is_over(self) -> bool:
        return self.team.leads and (self.clock.is_over or self.early_stop.is_over)

    def run_all(self) -> Model:
        """Train to the end, from where an earlier start of the run came to; then keep the averaged weights."""
        self.resume.begin()
        try:
            self.team.gather(self.run.folder, self.dataset.folder)
            self._learn()
            self._write_logged(self.resume.epoch)
            self._log_val(self.resume.epoch)
            self.early_stop.restore_best(self.averaged)
        except Cancelled:
            self.resume.save()
            raise
        finally:
            self.team.close()
            save_weights(self.run, self.averaged)
        write_preview(self.run, self.dataset, self.averaged, self.split, self.clock.step)
        self.resume.end()
        return self.averaged

    def follow(self) -> None:
        """The same steps, from the same place, without a word; the leader ends this process."""
        self.team.gather(self.run.folder, self.dataset.folder)
        self.resume.join()
        self._learn()

    def _learn(self) -> None:
        """All epochs; where the loss leaves the finite numbers, once more from before that with smaller steps."""
        with algorithms(self.settings):
            try:
                self._epochs()
            except UserError as error:
                if error.code != "DIVERGED" or not self.resume.go_back_slower():
                    raise
                self._epochs()

    def _epochs(self) -> None:
        self.model.train()
        for epoch in range(self.resume.epoch, self.settings.epochs + 1):
            self.epoch(epoch)
            if self.is_over:
                return

    def epoch(self, epoch: int) -> None:
        """What is left of one pass over the training slices."""
        for batch in self.resume.batches(epoch):
            lr = self._set_lr()
            losses = self._step(self._varied(batch.to(self.device, to_learn=True)))
            self.logged.append({**losses, "lr": lr})
            self.clock.step += 1
            self._log(epoch)
            if self.is_over:
                return

    def _varied(self, batch: Batch) -> Batch:
        settings = self.settings
        varied = augment(batch, self.rng) if settings.augment else batch
        return drop_modalities(varied, settings.drop_modalities, self.rng) if settings.drop_modalities else varied

    def _step(self, batch: Batch) -> dict[str, float]:
        """One step of each part, the others frozen; its losses."""
        self.team.draw_apart(self.run.config.seed, self.clock.step)
        own, weight = self.team.share(batch)
        values: dict[str, float] = {}
        for name, stepper in self.optimisers.items():
            self._freeze_all_but(name)
            losses = self._backward(own, weight, name)
            values |= named(self._check_and_clip(name, losses), name, len(self.parts))
            stepper.step()
        if self.team.leads:
            self.average.follow(self.clock.step)
        return values

    def _freeze_all_but(self, name: str) -> None:
        if len(self.parts) > 1:
            for other, parameters in self.parts.items():
                for parameter in parameters:
                    parameter.requires_grad_(other == name)

    def _backward(self, batch: Batch, weight: float, part: str) -> dict[str, Tensor]:
        """Gradients of the whole team's batch, and its losses."""

        def loss_of(rows: Batch) -> dict[str, Tensor]:
            with self.team.fabric.autocast():
                losses = with_terms(self.model.loss(rows, part, self.clock.step), self.model, rows, self.settings)
            return losses if weight == 1 else {name: loss * weight for name, loss in losses.items()}

        losses, n_pieces = backward(batch, loss_of, self.optimisers[part].zero_grad, self.team, self.resume.n_pieces)
        self.resume.take_pieces(n_pieces)
        return self.team.average(self.parts[part], losses)

    def _check_and_clip(self, part: str, losses: Mapping[str, Tensor]) -> dict[str, float]:
        """Stop before a step that is not finite; shorten one that is far longer than usual. The losses as numbers."""
        usual, limit = self.usual_norm[part], self.settings.clip
        largest = usual * limit if usual and limit else math.inf
        length = nn.utils.clip_grad_norm_(self.parts[part], largest)
        values = torch.stack([length, *(loss.detach().float() for loss in losses.values())])
        norm, *numbers = values.tolist()  # waits for the GPU, once
        found = dict(zip(losses, numbers, strict=True))
        if not math.isfinite(norm) or not math.isfinite(found["total"]):
            raise UserError(
                "The loss left the finite numbers. The weights before that are kept; try a smaller learning rate.",
                "DIVERGED",
            )
        self.usual_norm[part] = 0.95 * usual + 0.05 * min(norm, largest) if usual else norm
        return found

    def _set_lr(self) -> float:
        """The leader's clock says which."""
        rate = self.team.lead(self.clock.step, learning_rate(self.settings, self.clock) * self.resume.lr_factor)
        for stepper in self.optimisers.values():
            for group in stepper.param_groups:
                group["lr"] = rate
        return rate

    def _log(self, epoch: int) -> None:
        """Report each step; write history and previews now and then."""
        if not self.team.leads:
            self.logged.clear()
            return
        clock = self.clock
        if clock.step % LOG_EVERY == 0:
            self._write_logged(epoch)
        if clock.step % self.settings.preview_every == 0 and not clock.is_over:
            self._log_val(epoch)
            write_preview(self.run, self.dataset, self.averaged, self.split, clock.step)
        done = clock.fraction * clock.total_steps
        self.progress(min(done, clock.total_steps), clock.total_steps, f"Epoch {epoch} of {self.settings.epochs}")

    def _write_logged(self, epoch: int) -> None:
        """The mean of the steps since the last line, if there are any."""
        if self.logged:
            means = {key: float(np.mean([line[key] for line in self.logged])) for key in self.logged[0]}
            self._write_line("train", epoch, {**means, "lr": self.logged[-1]["lr"]})
            self.logged.clear()

    def _log_val(self, epoch: int) -> None:
        if self.val is not None:
            if self.early_stop.patience:
                self.early_stop.look(settled_loss(self.averaged, self.val, self.settings), self.averaged)
            self._write_line("val", epoch, loss_on(self.averaged, self.val, self.clock.step, self.settings))

    def _write_line(self, split: str, epoch: int, values: Mapping[str, float]) -> None:
        line = {"step": self.clock.step, "epoch": epoch, "split": split, "lr": 0.0, **values}
        self.run.append_history({**line, "seconds": round(self.clock.seconds, 2)})
