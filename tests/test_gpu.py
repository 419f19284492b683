"""The same on a GPU as on the CPU: training, stopping, resuming, judging; each body also runs on the CPU, exactly.

Tolerances on a GPU: 2e-3 relative for losses and figures in full precision (sums in another order, over a short
training), a tenth in bfloat16.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load

from core.dataset import Dataset
from core.evaluate import evaluate
from core.progress import Paused
from core.runs import Run
from core.synthesis import load_run, pick_device
from core.train import make_config, train
from core.workspace import Workspace
from tests.tiny_run import make_dataset, pause_at

CPU = torch.device("cpu")
QUICK = {"epochs": 2, "batch_size": 4, "preview_every": 4, "max_minutes": 100, "precision": "full"}


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """Whole precision also inside convolutions, which a GPU shortens to 10 bits otherwise."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("No CUDA device here: this test needs one.")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    yield pick_device(request.param)


@pytest.fixture
def tiny(workspace: Workspace) -> Dataset:
    return make_dataset(workspace, n_cases=13)


def new_run(workspace: Workspace, dataset: Dataset, **settings: Any) -> Run:
    """Of a model for whose loss no random numbers count: another device draws others."""
    config = make_config(dataset, "ae", {"width": 4, "cross_weight": 0}, {**QUICK, **settings}, seed=1)
    return Run.new(workspace, config)


def losses(run: Run) -> list[float]:
    return [line["total"] for line in run.history()]


def tolerance(device: torch.device, on_gpu: float) -> float:
    return 0.0 if device.type == "cpu" else on_gpu


def test_a_training_learns_the_same(device: torch.device, workspace: Workspace, tiny: Dataset) -> None:
    here, there = new_run(workspace, tiny), new_run(workspace, tiny)
    train(here, tiny, CPU)
    model = train(there, tiny, device)
    assert {value.device.type for value in model.state_dict().values()} == {device.type}
    np.testing.assert_allclose(losses(there), losses(here), rtol=tolerance(device, 2e-3))


def test_a_stopped_training_goes_on_as_if_it_had_not_been(
    device: torch.device, workspace: Workspace, tiny: Dataset
) -> None:
    whole, broken = new_run(workspace, tiny), new_run(workspace, tiny)
    train(whole, tiny, device)

    with pytest.raises(Paused):
        train(broken, tiny, device, pause_at(7))
    train(broken, tiny, device)
    np.testing.assert_allclose(losses(broken), losses(whole), rtol=tolerance(device, 2e-3))
    ours, theirs = (load(run.weights_path.read_bytes()) for run in (broken, whole))
    torch.testing.assert_close(ours, theirs, rtol=tolerance(device, 2e-3), atol=tolerance(device, 2e-3))


def test_a_run_is_judged_the_same(device: torch.device, workspace: Workspace, tiny: Dataset) -> None:
    run = new_run(workspace, tiny)
    train(run, tiny, CPU)
    here, there = (evaluate(load_run(workspace, run, place.type)) for place in (CPU, device))
    assert [row["case"] for row in here["rows"]] == [row["case"] for row in there["rows"]]
    for row, other in zip(here["rows"], there["rows"], strict=True):
        numbers = {key: value for key, value in row.items() if isinstance(value, float) and key != "seconds"}
        assert numbers
        for key, value in numbers.items():
            assert other[key] == pytest.approx(value, rel=tolerance(device, 2e-3), abs=1e-4), key


def test_bfloat16_learns_nearly_the_same(device: torch.device, workspace: Workspace, tiny: Dataset) -> None:
    full, half = new_run(workspace, tiny), new_run(workspace, tiny, precision="bf16")
    train(full, tiny, CPU)
    model = train(half, tiny, device)
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}
    assert losses(full) != losses(half)
    np.testing.assert_allclose(losses(full), losses(half), rtol=0.1)
