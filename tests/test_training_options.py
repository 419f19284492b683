"""What a training can be asked for beside its model: early stops, left-out modalities, precision, same bits."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from core.augment import drop_modalities
from core.compute import compile_networks
from core.config import TrainConfig
from core.dataset import Dataset
from core.early_stop import EarlyStop
from core.errors import DeviceError, InvalidConfigError
from core.progress import Paused
from core.runs import Run
from core.train import make_config, train
from core.workspace import Workspace
from tests.jobs.test_resume import new_run as new_small_run
from tests.jobs.test_resume import same, trainable
from tests.models.test_contract import build, make_batch
from tests.tiny_run import make_dataset, pause_at

CPU = torch.device("cpu")


@pytest.fixture
def tiny(workspace: Workspace) -> Dataset:
    return make_dataset(workspace, n_cases=13)


def new_run(workspace: Workspace, dataset: Dataset, **settings: Any) -> Run:
    quick = {"epochs": 2, "batch_size": 12, "preview_every": 1, "max_minutes": 100, "modalities": "T1,T2"}
    return Run.new(workspace, make_config(dataset, "ae", {"width": 4, "latent_dim": 2}, {**quick, **settings}, seed=1))


def test_the_best_look_is_remembered_and_given_back() -> None:
    model, stop = nn.Linear(1, 1, bias=False), EarlyStop(2)
    for loss, weight in ((3.0, 0.3), (1.0, 0.1), (2.0, 0.2), (1.5, 0.15)):
        assert not stop.is_over
        nn.init.constant_(model.weight, weight)
        stop.look(loss, model)
    assert stop.is_over
    stop.restore_best(model)
    assert float(model.weight.detach()) == pytest.approx(0.1)


def test_without_patience_nothing_stops() -> None:
    model, stop = nn.Linear(1, 1), EarlyStop(0)
    for loss in (1.0, 2.0, 3.0):
        stop.look(loss, model)
    assert not stop.is_over
    assert not stop.best


def test_a_training_stops_where_validation_no_longer_gains(workspace: Workspace, tiny: Dataset) -> None:
    """With steps this small nothing is gained after the first look, so two more looks are the last."""
    run = new_run(workspace, tiny, patience=2, lr=1e-12, schedule="constant", average=0.0)
    train(run, tiny, CPU)
    steps = [line["step"] for line in run.history() if line["split"] == "val"]
    assert max(line["step"] for line in run.history() if line["split"] == "train") == max(steps)
    longest = new_run(workspace, tiny, lr=1e-12, schedule="constant", average=0.0)
    train(longest, tiny, CPU)
    assert max(steps) < max(line["step"] for line in longest.history())


def test_early_stopping_survives_a_pause(workspace: Workspace, tiny: Dataset) -> None:
    whole, broken = (new_run(workspace, tiny, patience=2, lr=0.05) for _ in range(2))
    train(whole, tiny, CPU)

    with pytest.raises(Paused):
        train(broken, tiny, CPU, pause_at(3))
    train(broken, tiny, CPU)
    same(whole, broken)


def test_left_out_modalities_were_there_and_one_stays() -> None:
    batch = make_batch(200)
    before = torch.stack(list(batch.present.values()))
    after = torch.stack(list(drop_modalities(batch, 0.5, np.random.default_rng(0)).present.values()))
    assert not (after & ~before).any()
    assert after.any(0).all()
    gone = 1 - after[:, 3:].float().mean()  # of three modalities: each with chance 1/2, but never all three
    assert float(gone) == pytest.approx(0.5 - 0.5**3 / 3, abs=0.05)


def test_nothing_is_left_out_at_chance_zero() -> None:
    batch = make_batch(20)
    after = drop_modalities(batch, 0.0, np.random.default_rng(0))
    torch.testing.assert_close(dict(after.present), dict(batch.present))


def test_bfloat16_learns_nearly_the_same_into_whole_precision_weights(workspace: Workspace, tiny: Dataset) -> None:
    full, half = new_run(workspace, tiny), new_run(workspace, tiny, precision="bf16")
    train(full, tiny, CPU)
    weights = train(half, tiny, CPU).state_dict()
    assert {value.dtype for value in weights.values()} == {torch.float32}
    losses = [[line["total"] for line in run.history() if line["split"] == "val"] for run in (full, half)]
    assert losses[0] != losses[1]
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.1)


def test_deterministic_algorithms_are_on_while_training_and_off_after(workspace: Workspace, tiny: Dataset) -> None:
    seen: set[bool] = set()

    def look(done: float, total: float, message: str = "") -> None:
        seen.add(torch.are_deterministic_algorithms_enabled())

    train(new_run(workspace, tiny, deterministic=True, epochs=1), tiny, CPU, look)
    assert seen == {True}
    assert not torch.are_deterministic_algorithms_enabled()


def test_stopping_early_without_validation_cases_is_refused(workspace: Workspace) -> None:
    few = make_dataset(workspace, "few", n_cases=4)
    with pytest.raises(InvalidConfigError, match="validation cases"):
        new_run(workspace, few, patience=2)


@pytest.mark.parametrize("name", trainable())
def test_no_layer_is_left_out_where_networks_are_compiled(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some models call a network's parts themselves, so that what compiles it whole would never be used."""
    model, entered, is_in_one = build(name), [], []

    def watch(network: nn.Module) -> None:
        network.register_forward_pre_hook(lambda *_: entered.append(network), prepend=True)
        network.register_forward_hook(lambda *_: entered.remove(network))

    monkeypatch.setattr(nn.Module, "compile", watch)
    compile_networks(model, TrainConfig(compile=True), CPU)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.GroupNorm):
            module.register_forward_pre_hook(lambda *_: is_in_one.append(bool(entered)))
    for part in model.parts():
        model.loss(make_batch(), part, 0)
    assert len(is_in_one) > 1
    assert all(is_in_one)


def test_compiling_without_a_compiler_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match="needs the compiler"):
        compile_networks(nn.ModuleList([nn.Linear(1, 1)]), TrainConfig(compile=True), CPU)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling needs a C++ compiler")
@pytest.mark.parametrize("name", ["ae", "hemis", "unet", "mhvae"])
def test_compiled_networks_learn_the_same(name: str, workspace: Workspace, tiny: Dataset) -> None:
    from torch._dynamo.utils import counters

    counters.clear()
    quick = {"epochs": 1, "batch_size": 12, "modalities": "T1,T2"}
    plain, compiled = (new_small_run(workspace, tiny, name, **quick, compile=flag) for flag in (False, True))
    train(plain, tiny, CPU)
    with torch.compiler.config.patch(fail_on_recompile_limit_hit=True):
        train(compiled, tiny, CPU)
    assert counters["stats"]["unique_graphs"] > 1
    losses = [[line["total"] for line in run.history() if line["split"] == "val"] for run in (plain, compiled)]
    assert math.isfinite(losses[1][-1])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)
