"""A training that was broken off and went on is, bit for bit, the one that never was."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from core.checkpoints import FOLDER, has_checkpoint
from core.dataset import Dataset
from core.errors import UserError
from core.models import MODELS
from core.models.ae import AE
from core.models.base import Model
from core.progress import Cancelled, Paused
from core.runs import Run
from core.train import make_config, train
from core.workspace import Workspace
from tests.tiny_run import make_dataset

CPU = torch.device("cpu")
EPOCHS = 3
EACH_TIME = ("ae", "vae_gan")  # one part, several parts; the others with `make slow`
SMALL = {"width": 4, "latent_dim": 4, "hidden": 8, "discriminator_width": 4, "pool": 3}


class Killed(BaseException):
    """Stands for the kernel's kill: nothing is saved on the way out but what every exception passes."""


@pytest.fixture
def tiny(workspace: Workspace) -> Dataset:
    return make_dataset(workspace, n_cases=4)


def trainable() -> list[str]:
    """All that are not fitted in one pass."""
    return [name for name, kind in MODELS.items() if kind.fit is Model.fit]


def new_run(workspace: Workspace, dataset: Dataset, model: str, **settings: Any) -> Run:
    fields = MODELS[model].Config.model_fields
    of_model = {name: value for name, value in SMALL.items() if name in fields}
    quick = {"epochs": EPOCHS, "batch_size": 4, "preview_every": 4, "max_minutes": 1000}
    return Run.new(workspace, make_config(dataset, model, of_model, {**quick, **settings}, seed=1))


def stop_at(step: int, how: type[BaseException]) -> Callable[[float, float, str], None]:
    def progress(done: float, total: float, message: str = "") -> None:
        if done == step:
            raise how

    return progress


def history(run: Run) -> list[dict[str, Any]]:
    """Without the times, which are never the same."""
    return [{key: value for key, value in line.items() if key != "seconds"} for line in run.history()]


def same(one: Run, other: Run) -> None:
    assert one.weights_path.read_bytes() == other.weights_path.read_bytes()
    assert history(one) == history(other)
    assert [path.name for path in one.previews] == [path.name for path in other.previews]
    for first, second in zip(one.previews, other.previews, strict=True):
        assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    "name", [name if name in EACH_TIME else pytest.param(name, marks=pytest.mark.slow) for name in trainable()]
)
def test_killed_and_resumed_is_the_same_as_unbroken(
    name: str, workspace: Workspace, tiny: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSMODAL_CHECKPOINT_S", "0")
    whole, broken = new_run(workspace, tiny, name), new_run(workspace, tiny, name)
    train(whole, tiny, CPU)
    for step in (3, 8):  # in the first epoch, at another place of the second
        with pytest.raises(Killed):
            train(broken, tiny, CPU, stop_at(step, Killed))
        assert has_checkpoint(broken.folder)
        torch.manual_seed(99)  # another process has other random numbers
    train(broken, tiny, CPU)
    same(whole, broken)
    assert not has_checkpoint(broken.folder)


@pytest.mark.parametrize("settings", [{"input": "patches", "patch": 8}, {"input": "stacks"}])
def test_patches_and_stacks_are_drawn_again_as_they_were(
    settings: dict[str, Any], workspace: Workspace, tiny: Dataset
) -> None:
    quick = {"epochs": 2, "batch_size": 16, "modalities": "T1,T2", "preview_every": 100}
    whole, broken = (new_run(workspace, tiny, "ae", **quick, **settings) for _ in range(2))
    train(whole, tiny, CPU)
    with pytest.raises(Paused):
        train(broken, tiny, CPU, stop_at(2, Paused))
    train(broken, tiny, CPU)
    same(whole, broken)


@pytest.mark.parametrize("how", [Cancelled, Paused])
def test_stopped_and_resumed_goes_on_from_that_very_step(
    how: type[Cancelled], workspace: Workspace, tiny: Dataset
) -> None:
    whole, broken = new_run(workspace, tiny, "mvae"), new_run(workspace, tiny, "mvae")
    train(whole, tiny, CPU)
    seen: list[float] = []
    with pytest.raises(how):
        train(broken, tiny, CPU, stop_at(7, how))
    train(broken, tiny, CPU, lambda done, total, message="": seen.append(done))
    assert seen[0] == 8
    same(whole, broken)


class Halves(AE):
    """Encoders and decoders have an optimiser each."""

    title = "Halves"

    def parts(self) -> dict[str, list[nn.Parameter]]:
        groups: dict[str, list[nn.Parameter]] = {"encoders": [], "others": []}
        for name, parameter in self.named_parameters():
            groups["encoders" if "encoder" in name else "others"].append(parameter)
        return groups


def test_each_part_goes_on_with_its_own_optimiser(
    workspace: Workspace, tiny: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "halves", Halves)
    whole, broken = new_run(workspace, tiny, "halves"), new_run(workspace, tiny, "halves")
    train(whole, tiny, CPU)
    with pytest.raises(Cancelled):
        train(broken, tiny, CPU, stop_at(7, Cancelled))
    train(broken, tiny, CPU)
    same(whole, broken)


def test_every_step_is_a_good_place_to_break_off(
    workspace: Workspace, tiny: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = new_run(workspace, tiny, "ae", epochs=2), new_run(workspace, tiny, "ae", epochs=2)
    train(whole, tiny, CPU)
    n_steps = whole.history()[-1]["step"]
    for step in range(1, n_steps):
        with pytest.raises(Cancelled):
            train(broken, tiny, CPU, stop_at(step, Cancelled))
    train(broken, tiny, CPU)
    same(whole, broken)


def test_a_damaged_checkpoint_costs_steps_but_not_the_run(
    workspace: Workspace, tiny: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSMODAL_CHECKPOINT_S", "0")
    whole, broken = new_run(workspace, tiny, "ae"), new_run(workspace, tiny, "ae")
    train(whole, tiny, CPU)
    with pytest.raises(Killed):
        train(broken, tiny, CPU, stop_at(7, Killed))
    newest = sorted((broken.folder / FOLDER).iterdir())[-1] / "tensors.safetensors"
    newest.write_bytes(newest.read_bytes()[:-100])
    train(broken, tiny, CPU)
    same(whole, broken)
    assert "damaged" in broken.status.note


def test_where_all_checkpoints_are_damaged_it_starts_anew(workspace: Workspace, tiny: Dataset) -> None:
    whole, broken = new_run(workspace, tiny, "ae"), new_run(workspace, tiny, "ae")
    train(whole, tiny, CPU)
    with pytest.raises(Cancelled):
        train(broken, tiny, CPU, stop_at(7, Cancelled))
    for path in (broken.folder / FOLDER).glob("*/state.json"):
        path.write_text(json.dumps({}))
    train(broken, tiny, CPU)
    same(whole, broken)


def test_what_a_model_of_another_shape_kept_is_refused_in_a_sentence(workspace: Workspace, tiny: Dataset) -> None:
    run = new_run(workspace, tiny, "ae")
    with pytest.raises(Cancelled):
        train(run, tiny, CPU, stop_at(7, Cancelled))
    path = run.folder / "config.json"
    config = json.loads(path.read_text())
    config["model_settings"]["width"] = 8  # as where a later version of a model is wider
    path.write_text(json.dumps(config))
    with pytest.raises(UserError, match="does not fit") as error:
        train(Run(run.folder), tiny, CPU)
    assert error.value.code == "WEIGHTS-MISFIT"
