"""The processes that train one model together, as a rule a single one.

Each holds the whole model and takes its own rows of every batch; gradients are averaged before the step, so all take
the same step. The first one leads: it alone reads the clock, logs and writes. The others write nothing, so they are
ended by force whenever the training ends; one that dies ends the training.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, distributed, nn

from core.batches import take
from core.compute import make_fabric
from core.config import TrainConfig
from core.errors import UserError
from core.models.base import Batch

if TYPE_CHECKING:
    from lightning_fabric.plugins.environments import ClusterEnvironment

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 20.0  # from a follower's death until a leader that still waits for it is ended
SEED_STEP = 1_000_003


@dataclass(frozen=True)
class Seat:
    """A process's place in its team; the first one leads."""

    number: int = 0
    of: int = 1
    port: int = 0


class Team:
    """This process's ties to the others; alone, nothing is exchanged and nothing is changed."""

    def __init__(self, settings: TrainConfig, device: torch.device, seat: Seat | None = None) -> None:
        """seat: of a follower; the leader of several finds a port by itself."""
        self.seat = seat or Seat(0, settings.devices, _free_port() if settings.devices > 1 else 0)
        self.fabric = make_fabric(settings, device, _environment(self.seat))
        self.is_alone, self.leads = self.seat.of == 1, self.seat.number == 0
        self._followers: list[subprocess.Popen[bytes]] = []
        self._n_threads = torch.get_num_threads()
        self._is_closed = False

    def gather(self, run_folder: Path, dataset_folder: Path) -> None:
        """Start the followers, and wait until all are there; a follower just comes to the meeting.

        Raises:
            UserError: One of them did not come.
        """
        if self.is_alone:
            return
        if self.leads:
            self._start_followers(run_folder, dataset_folder)
        self.fabric.launch()

    def close(self) -> None:
        """End the followers and the ties to them."""
        if self.is_alone:
            return
        self._is_closed = True
        for follower in self._followers:
            follower.kill()
            follower.wait()
        with contextlib.suppress(RuntimeError, ValueError):  # there may be no ties yet, or broken ones
            distributed.destroy_process_group()
        torch.set_num_threads(self._n_threads)

    def lead(self, step: int, word: float) -> float:
        """The leader's word for this step, told to all."""
        if self.is_alone:
            return word
        said = self._added(torch.tensor([word, step] if self.leads else [0.0, 0.0], dtype=torch.float64)).tolist()
        if int(said[1]) != step:
            raise RuntimeError("The processes of a training are not at the same step.")
        return float(said[0])

    def in_any(self, is_so: bool) -> bool:
        """Whether it is so in any process."""
        return is_so if self.is_alone else float(self._added(torch.tensor([float(is_so)]))[0]) > 0

    def share(self, batch: Batch) -> tuple[Batch, float]:
        """This process's rows of a batch, and the weight of their mean; a row of weight 0 where there are too few."""
        if self.is_alone:
            return batch, 1.0
        own = torch.arange(batch.size, device=batch.position.device).tensor_split(self.seat.of)[self.seat.number]
        return take(batch, own if len(own) else own.new_zeros(1)), len(own) * self.seat.of / batch.size

    def draw_apart(self, seed: int, step: int) -> None:
        """Let each process draw random numbers of its own, which depend on nothing that a checkpoint would lack."""
        if not self.is_alone:
            torch.manual_seed((seed * SEED_STEP + step) * self.seat.of + self.seat.number)

    def average(self, parameters: Sequence[nn.Parameter], losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """Make gradients the mean over all processes; the losses' means are returned. What none has a gradient of
        keeps none."""
        if self.is_alone:
            return losses
        has = torch.tensor([p.grad is not None for p in parameters], dtype=torch.float32)
        parts = [(torch.zeros_like(p) if p.grad is None else p.grad).detach().flatten() for p in parameters]
        values = torch.stack([loss.detach().float() for loss in losses.values()])
        mean = self._added(torch.cat([*parts, has.to(values.device), values])) / self.seat.of
        *gradients, found, values = torch.split(mean, [*(p.numel() for p in parameters), len(has), len(values)])
        for parameter, gradient, is_there in zip(parameters, gradients, found.tolist(), strict=True):
            if is_there:
                parameter.grad = torch.empty_like(parameter).copy_(gradient.view(parameter.shape))
        return dict(zip(losses, values.unbind(), strict=True))

    def _added(self, values: Tensor) -> Tensor:
        """The sum over all processes, in place.

        Raises:
            UserError: One of them is gone.
        """
        moved = values.to(self.fabric.device)
        try:
            distributed.all_reduce(moved)
        except RuntimeError as error:
            raise _lost() from error
        return moved

    def _start_followers(self, run_folder: Path, dataset_folder: Path) -> None:
        n_threads = max(1, self._n_threads // self.seat.of)
        torch.set_num_threads(n_threads)
        about = [str(run_folder.absolute()), str(dataset_folder.absolute()), str(self.fabric.device.type)]
        for number in range(1, self.seat.of):
            place = [str(number), str(self.seat.of), str(self.seat.port)]
            self._followers.append(
                subprocess.Popen(  # in the leader's process group, so that whoever ends the group ends all
                    [sys.executable, "-m", "core.follower", *about, *place],
                    cwd=ROOT,
                    stdin=subprocess.PIPE,  # closed by the kernel when the leader dies
                    stdout=subprocess.PIPE,
                    env={**os.environ, "OMP_NUM_THREADS": str(n_threads)},
                )
            )
        for follower in self._followers:
            if follower.stdout is None or not follower.stdout.readline():
                raise _lost()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        """End this process where it waits for one that is dead, for whatever reason it did not notice."""
        while not any(follower.poll() for follower in self._followers):
            if self._is_closed:
                return
            time.sleep(0.5)
        time.sleep(PATIENCE_S)
        if not self._is_closed:
            os._exit(1)


def _lost() -> UserError:
    return UserError(
        "One of the processes of this training ended without a word. The weights until then are kept: resume the run.",
        "PROCESS-LOST",
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _environment(seat: Seat) -> ClusterEnvironment:
    """Tells Fabric that the processes are started here, whatever cluster it might think it is in."""
    from lightning_fabric.plugins.environments import LightningEnvironment

    class Seats(LightningEnvironment):  # type: ignore[misc]
        creates_processes_externally = True
        main_address = "127.0.0.1"
        main_port = seat.port

        def local_rank(self) -> int:
            return seat.number

    return Seats()
