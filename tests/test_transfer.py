"""A run that starts from another: what is taken over, what stays fixed, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load

from core.dataset import Dataset
from core.errors import InvalidConfigError
from core.runs import Run
from core.train import make_config, train
from core.workspace import Workspace
from tests.test_train import CPU, QUICK, make_dataset, new_run


@pytest.fixture
def tiny(workspace: Workspace) -> Dataset:
    return make_dataset(workspace)


def weights_of(run: Run) -> dict[str, torch.Tensor]:
    return load(Path(run.weights_path).read_bytes())


def test_a_new_modality_joins_a_latent_that_stays_fixed(workspace: Workspace, tiny: Dataset) -> None:
    first = new_run(workspace, tiny, "mvae", modalities=["T1"])
    train(first, tiny, CPU)
    second = new_run(workspace, tiny, "mvae", init_from=first.id, freeze=["T1"])
    train(second, tiny, CPU)
    before, after = weights_of(first), weights_of(second)
    assert set(before) < set(after)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    third = new_run(workspace, tiny, "mvae", init_from=first.id)
    train(third, tiny, CPU)
    assert any(not torch.equal(weights_of(third)[name], value) for name, value in before.items())


def test_added_terms_are_logged_and_trained(workspace: Workspace, tiny: Dataset) -> None:
    run = new_run(workspace, tiny, "ae", infonce_weight=5, triplet_weight=5)
    train(run, tiny, CPU)
    assert {"infonce", "triplet"} <= set(run.history()[-1])


def test_other_sizes_models_and_leaks_are_refused(workspace: Workspace, tiny: Dataset) -> None:
    first = new_run(workspace, tiny, "mvae")
    train(first, tiny, CPU)
    wide = make_config(tiny, "mvae", {"width": 8}, {**QUICK, "init_from": first.id})
    leaking = next(seed for seed in range(1, 50) if tiny.split(seed).test != tiny.split(0).test)
    refused = {
        "another size": Run.new(workspace, wide),
        "same model": new_run(workspace, tiny, "ae", init_from=first.id),
        "holds out": new_run(workspace, tiny, "mvae", leaking, init_from=first.id),
        "no part for PET": new_run(workspace, tiny, "mvae", freeze=["PET"]),
        "nothing is left": new_run(workspace, tiny, "mvae", freeze=["encoders", "decoders"]),
    }
    for words, run in refused.items():
        with pytest.raises(InvalidConfigError, match=words):
            train(run, tiny, CPU)
