"""Several processes that train one model: the same result as one alone, and nothing left behind however it ends."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load
from torch import Tensor

from core.checkpoints import has_checkpoint
from core.compute import check_devices
from core.config import TrainConfig
from core.dataset import Dataset
from core.errors import DeviceError, UserError
from core.jobs import BACKENDS
from core.jobs.devices import asked_by
from core.memory import backward
from core.models.base import Batch
from core.progress import Cancelled
from core.runs import Run
from core.train import make_config, train
from core.workspace import Workspace
from tests.models.test_contract import make_batch
from tests.tiny_run import make_dataset

CPU = torch.device("cpu")
LOCAL = BACKENDS["local"]
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
QUICK = {"epochs": 2, "batch_size": 5, "preview_every": 4, "max_minutes": 100, "modalities": "T1,T2"}
PIX2PIX = {"width": 4, "discriminator_width": 4, "given": "T1", "target": "T2"}


@pytest.fixture
def tiny(workspace: Workspace) -> Dataset:
    return make_dataset(workspace, n_cases=5)


def new_run(workspace: Workspace, dataset: Dataset, model: str, settings: dict[str, Any], **training: Any) -> Run:
    return Run.new(workspace, make_config(dataset, model, settings, {**QUICK, **training}, seed=1), "cpu")


def weights(run: Run) -> dict[str, Tensor]:
    return load(run.weights_path.read_bytes())


def history(run: Run) -> list[tuple[int, float]]:
    return [(line["step"], next(v for k, v in line.items() if k.endswith("total"))) for line in run.history()]


def followers() -> list[int]:
    """The other processes of a training that this process leads, or that nobody leads any more."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            command = (place / "cmdline").read_bytes()
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if b"core.follower" in command and parent in (os.getpid(), 1):
            found.append(int(place.name))
    return found


def at_step(step: int, act: Callable[[], None]) -> Callable[[float, float, str], None]:
    def progress(done: float, total: float, message: str = "") -> None:
        if done == step:
            act()

    return progress


def stop() -> None:
    raise Cancelled


@pytest.mark.parametrize(("model", "settings"), [("ae", {"width": 4}), ("pix2pix", PIX2PIX)])
def test_two_processes_learn_what_one_does(
    model: str, settings: dict[str, Any], workspace: Workspace, tiny: Dataset
) -> None:
    """These models draw no random numbers; of a batch of five the second process takes two rows."""
    one, two = (new_run(workspace, tiny, model, settings, devices=n) for n in (1, 2))
    assert len(tiny.split(1).train) == 4
    for run in (one, two):
        train(run, tiny, CPU)
    torch.testing.assert_close(weights(two), weights(one), **CLOSE)
    for (step, loss), (same_step, other) in zip(history(one), history(two), strict=True):
        assert (step, loss) == (same_step, pytest.approx(other, rel=1e-4))
    assert [path.name for path in one.previews] == [path.name for path in two.previews]
    assert not followers()


@pytest.mark.slow
def test_what_is_stopped_in_two_processes_goes_on_in_two(workspace: Workspace, tiny: Dataset) -> None:
    whole, broken = (new_run(workspace, tiny, "ae", {"width": 4}, devices=2) for _ in range(2))
    train(whole, tiny, CPU)
    with pytest.raises(Cancelled):
        train(broken, tiny, CPU, at_step(4, stop))
    assert not followers()
    assert has_checkpoint(broken.folder)
    seen: list[float] = []
    train(broken, tiny, CPU, lambda done, total, message="": seen.append(done))
    assert seen[0] == 5
    torch.testing.assert_close(weights(broken), weights(whole), **CLOSE)


def test_a_process_that_dies_ends_the_training_with_a_sentence_and_keeps_what_was_learnt(
    workspace: Workspace, tiny: Dataset
) -> None:
    def kill() -> None:
        for pid in followers():
            os.kill(pid, signal.SIGKILL)

    run = new_run(workspace, tiny, "ae", {"width": 4}, devices=2)
    with pytest.raises(UserError, match="resume the run") as error:
        train(run, tiny, CPU, at_step(3, kill))
    assert error.value.code == "PROCESS-LOST"
    assert run.has_weights and has_checkpoint(run.folder)
    train(run, tiny, CPU)
    assert run.history()[-1]["epoch"] == 2


@pytest.mark.slow
def test_a_loss_that_is_no_number_is_tried_again_by_all_and_then_given_up_by_all(
    workspace: Workspace, tiny: Dataset
) -> None:
    run = new_run(workspace, tiny, "vae", {"width": 4, "scale": 1e-44}, devices=2)
    with pytest.raises(UserError) as error:
        train(run, tiny, CPU)
    assert error.value.code == "DIVERGED"
    assert "a tenth" in run.status.note
    assert not followers()


@pytest.mark.parametrize("how", ["cancel", pytest.param("kill", marks=pytest.mark.slow)])
def test_whatever_ends_a_worker_ends_all_its_processes(how: str, workspace: Workspace, tiny: Dataset) -> None:
    run = new_run(workspace, tiny, "ae", {"width": 4}, devices=2, epochs=5000)
    LOCAL.start(run)
    until(lambda: run.status.done >= 1 and run.state == "running")
    pid = run.status.pid
    assert len(group(pid)) == 2
    if how == "cancel":
        LOCAL.cancel(run)
        LOCAL.wait(run, 30)
        assert (run.state, run.has_weights) == ("cancelled", True)
    else:
        (run.folder / "cancel").touch()  # so that nobody starts it again
        os.kill(pid, signal.SIGKILL)
    until(lambda: not group(pid))


def group(pid: int) -> list[int]:
    """The living processes of a process group."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            fields = (place / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == pid and fields[0] != "Z":
            found.append(int(place.name))
    return found


def until(condition: Callable[[], object], timeout_s: float = 60.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        LOCAL.tick(Workspace.default())
        time.sleep(0.05)


class OtherLacksMemory:
    """Another process could not take its rows in fewer than four pieces."""

    def __init__(self) -> None:
        self.answers = [True, False, True, False, False]  # has any failed? is it hopeless?

    def in_any(self, is_so: bool) -> bool:
        return is_so or self.answers.pop(0)


def test_where_another_process_lacks_memory_this_one_takes_as_many_pieces() -> None:
    batch = make_batch(8)
    weight = torch.ones((), requires_grad=True)

    def loss_of(rows: Batch) -> dict[str, Tensor]:
        return {"total": weight * next(iter(rows.x.values())).mean()}

    def clear() -> None:
        weight.grad = None

    _, n_pieces = backward(batch, loss_of, clear, OtherLacksMemory(), 1)
    assert n_pieces == 4
    torch.testing.assert_close(weight.grad, next(iter(batch.x.values())).mean())


def test_more_gpus_than_there_are_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_devices(TrainConfig(devices=2), torch.device("cuda"))
    with pytest.raises(DeviceError, match="3 GPUs are asked for, and 2"):
        check_devices(TrainConfig(devices=3), torch.device("cuda"))


def test_the_queue_learns_how_many_devices_a_training_asks_for(workspace: Workspace, tiny: Dataset) -> None:
    one, two = (new_run(workspace, tiny, "ae", {"width": 4}, devices=n) for n in (1, 2))
    assert (asked_by(one), asked_by(two)) == ("cpu", "cpu*2")
