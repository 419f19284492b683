"""What goes wrong on the way, and how each ends: a full disk, too little memory, a loss that is no number."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from core.batches import make_batch
from core.checkpoints import has_checkpoint
from core.dataset import Dataset
from core.disk import RESERVE
from core.errors import UserError
from core.jobs import BACKENDS
from core.jobs.worker import execute
from core.memory import backward
from core.models import MODELS
from core.models.ae import AE
from core.models.base import Batch
from core.runs import Run, new_job
from core.shortage import is_out_of_memory
from core.train import build_model, make_config, train
from core.workspace import Workspace
from tests.tiny_run import make_dataset

CPU = torch.device("cpu")
LOCAL = BACKENDS["local"]
QUICK = {"epochs": 3, "batch_size": 4, "preview_every": 40, "max_minutes": 1000}


class Fragile(AE):
    """Gives a loss that is no number at one step, as often as `times` says; then it is well."""

    title = "Fragile"
    times = 1
    rates: tuple[float, ...] = ()

    def loss(self, batch: Batch, part: str, step: int) -> dict[str, Tensor]:
        losses = super().loss(batch, part, step)
        if step == 6 and self.training and Fragile.times > 0:
            Fragile.times -= 1
            return {**losses, "total": losses["total"] * float("nan")}
        return losses


class Large(AE):
    """Has no memory for more than two rows at once."""

    title = "Large"
    most = 2

    def loss(self, batch: Batch, part: str, step: int) -> dict[str, Tensor]:
        if self.training and batch.size > self.most:
            raise torch.OutOfMemoryError("out of memory")
        return super().loss(batch, part, step)


@pytest.fixture
def tiny(workspace: Workspace) -> Dataset:
    return make_dataset(workspace, n_cases=4)


def new_run(workspace: Workspace, dataset: Dataset, model: str = "ae", **settings: Any) -> Run:
    return Run.new(workspace, make_config(dataset, model, {"width": 4}, {**QUICK, **settings}), "cpu")


def test_a_loss_that_is_no_number_is_tried_again_once_with_a_tenth_of_the_step(
    workspace: Workspace, tiny: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "fragile", Fragile)
    monkeypatch.setattr(Fragile, "times", 1)
    run = new_run(workspace, tiny, "fragile", schedule="constant", lr=0.01)
    model = train(run, tiny, CPU)
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    assert "at step 6" in run.status.note and "a tenth" in run.status.note
    rates = {line["lr"] for line in run.history() if line["split"] == "train"}
    assert rates == {0.001}
    steps = [line["step"] for line in run.history() if line["split"] == "train"]
    assert steps == sorted(set(steps))


def test_a_second_loss_that_is_no_number_ends_the_training_with_a_sentence(
    workspace: Workspace, tiny: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "fragile", Fragile)
    monkeypatch.setattr(Fragile, "times", 2)
    run = new_run(workspace, tiny, "fragile")
    with pytest.raises(UserError, match="smaller learning rate"):
        execute(run, workspace)
    assert (run.state, run.status.code, run.has_weights) == ("failed", "DIVERGED", True)


def test_where_memory_runs_out_the_batch_is_halved_and_that_is_said(
    workspace: Workspace, tiny: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "large", Large)
    run = new_run(workspace, tiny, "large", epochs=12)
    train(run, tiny, CPU)
    assert "2 pieces" in run.status.note
    losses = [line["total"] for line in run.history() if line["split"] == "train"]
    assert losses[-1] < losses[0]


def test_where_halving_does_not_help_a_sentence_says_so(
    workspace: Workspace, tiny: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "large", Large)
    monkeypatch.setattr(Large, "most", 0)
    run = new_run(workspace, tiny, "large")
    with pytest.raises(UserError, match="too little memory"):
        execute(run, workspace)
    assert (run.state, run.status.code) == ("failed", "OUT-OF-MEMORY")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.06 GB)"),
        MemoryError(),
    ],
    ids=["a GPU", "torch on a CPU", "a GPU of others", "cuBLAS", "Apple", "Python"],
)
def test_where_not_even_the_weights_fit_a_sentence_says_so(
    error: Exception, workspace: Workspace, tiny: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("core.train.place", refuse)
    run = new_run(workspace, tiny)
    with pytest.raises(UserError, match="too little memory"):
        execute(run, workspace)
    assert (run.state, run.status.code) == ("failed", "OUT-OF-MEMORY")


def test_another_failure_is_not_taken_for_a_lack_of_memory() -> None:
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert not is_out_of_memory(ValueError("out of memory"))
    assert is_out_of_memory(type("RayTaskError(OutOfMemoryError)", (Exception,), {})("task failed"))


class Alone:
    """A team of one."""

    def in_any(self, is_so: bool) -> bool:
        return is_so


def test_gradients_in_pieces_are_those_of_the_whole(workspace: Workspace, tiny: Dataset) -> None:
    torch.manual_seed(0)
    model = build_model(new_run(workspace, tiny).config, tiny)
    batch = make_batch(tiny, [("case-0", 1), ("case-0", 3), ("case-1", 2), ("case-2", 4), ("case-2", 5)], model.shapes)

    def gradients(n_pieces: int) -> tuple[list[Tensor], dict[str, Tensor]]:
        def loss_of(rows: Batch) -> dict[str, Tensor]:
            return {"total": (model.encode(rows).mean ** 2).mean()}

        losses, _ = backward(batch, loss_of, model.zero_grad, Alone(), n_pieces)
        return [p.grad.clone() for p in model.parameters() if p.grad is not None], losses

    whole, losses = gradients(1)
    pieces, summed = gradients(4)
    assert len(whole) == len(pieces) > 0
    for one, other in zip(whole, pieces, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(losses["total"].detach(), summed["total"])


@pytest.fixture
def no_large_files() -> Iterator[None]:
    """Files may have 300 KB at most: the reserve fits, a checkpoint does not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_training_that_finds_no_room_rests_with_a_sentence(
    workspace: Workspace, tiny: Dataset, no_large_files: None
) -> None:
    run = Run.new(workspace, make_config(tiny, "ae", {"width": 32}, QUICK), "cpu")
    with pytest.raises(UserError, match="disk is full"):
        execute(run, workspace)
    assert (run.state, run.status.code) == ("paused", "DISK-FULL")
    assert not (run.folder / RESERVE).exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(place)], capture_output=True).returncode:
        pytest.skip("Only root can mount a small disk here.")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_fills_up_on_the_way_tears_nothing_and_the_training_goes_on_when_there_is_room(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSMODAL_CHECKPOINT_S", "0")
    workspace = Workspace(small_disk / "workspace")
    dataset = make_dataset(workspace, n_cases=4)
    whole, run = new_run(workspace, dataset), new_run(workspace, dataset)
    train(whole, dataset, CPU)
    ballast = workspace.root / "ballast"

    def fill(done: float, total: float, message: str = "") -> None:
        if done == 5:
            with ballast.open("wb") as stream:
                while True:
                    stream.write(bytes(4096))
                    stream.flush()

    with pytest.raises(OSError):
        train(run, dataset, CPU, fill)
    with pytest.raises(UserError, match="disk is full"):
        execute(run, workspace)
    ballast.unlink()
    assert has_checkpoint(run.folder)
    train(run, dataset, CPU)
    assert run.weights_path.read_bytes() == whole.weights_path.read_bytes()


def test_other_work_on_a_full_disk_fails_with_a_sentence(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(small_disk / "workspace")
    monkeypatch.setattr(
        "core.jobs.worker.KINDS", {"prepare": lambda *_: (small_disk / "big").write_bytes(bytes(5_000_000))}
    )
    job = new_job(workspace, "prepare", {})
    with pytest.raises(UserError, match="disk is full"):
        execute(job, workspace)
    assert (job.state, job.status.code) == ("failed", "DISK-FULL")


def test_a_job_is_refused_with_a_sentence_where_the_queue_cannot_be_written(small_disk: Path) -> None:
    workspace = Workspace(small_disk / "workspace")
    job = new_job(workspace, "prepare", {})
    np.full(3_900_000, 1, np.uint8).tofile(small_disk / "ballast")
    with (small_disk / "rest").open("wb", buffering=0) as stream, pytest.raises(OSError):
        while stream.write(bytes(4096)) == 4096:
            pass
    with pytest.raises(UserError, match="disk is full"):
        LOCAL.start(job)
