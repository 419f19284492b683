"""The training loop: what it learns, writes, repeats, refuses and keeps."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load
from torch import nn

from core.augment import augment
from core.batches import make_batch, shapes_of
from core.config import TrainConfig
from core.dataset import Dataset
from core.dataset_writer import DatasetWriter, PreparedCase
from core.errors import InvalidConfigError, UserError
from core.models import MODELS
from core.models.ae import AE
from core.models.base import Batch
from core.progress import Cancelled
from core.runs import Run
from core.train import Clock, build_model, make_config, train
from core.workspace import Workspace

CPU = torch.device("cpu")
QUICK = {"epochs": 2, "batch_size": 4, "preview_every": 3}


def make_dataset(workspace: Workspace, n_cases: int = 4) -> Dataset:
    """Lopsided cases; T2 is T1 upside down in brightness; the second case has no T2."""
    writer = DatasetWriter(workspace, "tiny")
    for n in range(n_cases):
        rng = np.random.default_rng(n)
        t1 = rng.uniform(0.2, 0.9, (13, 18, 5)).astype(np.float32)
        mask = np.zeros(t1.shape, bool)
        mask[2:11, 3:15, 1:] = True
        t1 *= mask
        images = {"T1": t1, "T2": (1 - t1) * mask} if n != 1 else {"T1": t1}
        scales = dict.fromkeys(images, (100.0, 0.0))
        writer.add(
            PreparedCase(f"case-{n}", images, scales, dict.fromkeys(images, "a.u."), mask, np.diag([1, 2, 3, 1.0]))
        )
    return writer.finish("tiny", {}, simulated=True)


@pytest.fixture
def tiny(workspace: Workspace) -> Dataset:
    return make_dataset(workspace)


def new_run(workspace: Workspace, dataset: Dataset, model: str = "ae", seed: int = 0, **settings: Any) -> Run:
    model_settings = {"width": 4} if model in ("ae", "vae", "mvae", "unet") else {}
    return Run.new(workspace, make_config(dataset, model, model_settings, {**QUICK, **settings}, seed))


@pytest.mark.parametrize("name", MODELS)
def test_every_model_trains_and_saves_what_it_returns(name: str, workspace: Workspace, tiny: Dataset) -> None:
    run = new_run(workspace, tiny, name)
    model = train(run, tiny, CPU)
    content = run.weights_path.read_bytes()
    assert run.weights_path.with_suffix(".sha256").read_text() == hashlib.sha256(content).hexdigest()
    torch.testing.assert_close(load(content), dict(model.state_dict()))
    totals = [value for line in run.history() for key, value in line.items() if key.endswith("total")]
    assert len(totals) >= len(run.history())
    assert np.isfinite(totals).all()


@pytest.mark.parametrize("name", ["mvae", "unet"])
def test_the_same_seed_gives_the_same_weights_bit_for_bit(name: str, workspace: Workspace, tiny: Dataset) -> None:
    weights = []
    for seed in (3, 3, 4):
        run = new_run(workspace, tiny, name, seed)
        train(run, tiny, CPU)
        weights.append(run.weights_path.read_bytes())
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


def test_history_has_steps_epochs_losses_and_times(workspace: Workspace, tiny: Dataset) -> None:
    run = new_run(workspace, tiny)
    train(run, tiny, CPU)
    last = run.history()[-1]
    assert {"step", "epoch", "split", "total", "reconstruction", "seconds", "lr"} <= set(last)
    assert last["split"] == "train"
    assert last["epoch"] == 2
    assert last["step"] == 2 * 3  # 12 slices of 3 cases, batches of 4


def test_from_ten_training_cases_on_some_are_watched(workspace: Workspace) -> None:
    dataset = make_dataset(workspace, 13)
    run = new_run(workspace, dataset, epochs=1)
    train(run, dataset, CPU)
    assert "val" in {line["split"] for line in run.history()}


def test_test_cases_have_no_influence(workspace: Workspace, tiny: Dataset) -> None:
    held_out = tiny.split(0).test[0]
    weights = []
    for factor in (1.0, 0.5):
        images = np.load(tiny.folder / held_out / "images.npy") * factor
        np.save(tiny.folder / held_out / "images.npy", images)
        run = new_run(workspace, tiny)
        train(run, tiny, CPU)
        weights.append(run.weights_path.read_bytes())
    assert weights[0] == weights[1]


def test_progress_reaches_the_total(workspace: Workspace, tiny: Dataset) -> None:
    seen: list[tuple[float, float]] = []
    train(new_run(workspace, tiny), tiny, CPU, lambda done, total, message="": seen.append((done, total)))
    assert [done for done, _ in seen] == [1, 2, 3, 4, 5, 6]
    assert {total for _, total in seen} == {6}


def test_cancelling_keeps_what_was_learnt(workspace: Workspace, tiny: Dataset) -> None:
    def stop_at_two(done: float, total: float, message: str = "") -> None:
        if done >= 2:
            raise Cancelled

    run = new_run(workspace, tiny)
    with pytest.raises(Cancelled):
        train(run, tiny, CPU, stop_at_two)
    torch.manual_seed(0)
    fresh, learnt = build_model(run.config, tiny).state_dict(), load(run.weights_path.read_bytes())
    assert not all(torch.equal(value, fresh[name]) for name, value in learnt.items())


class Exploding(AE):
    """Gives a loss that is no number from its third step on."""

    title = "Exploding"

    def loss(self, batch: Batch, part: str, step: int) -> dict[str, torch.Tensor]:
        losses = super().loss(batch, part, step)
        return {"total": losses["total"] * (float("nan") if step >= 2 else 1.0)}


def test_a_loss_that_is_no_number_stops_and_keeps_finite_weights(
    workspace: Workspace, tiny: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "exploding", Exploding)
    run = Run.new(workspace, make_config(tiny, "exploding", {"width": 4}, QUICK))
    with pytest.raises(UserError, match="smaller learning rate") as error:
        train(run, tiny, CPU)
    assert error.value.code == "DIVERGED"
    assert all(torch.isfinite(value).all() for value in load(run.weights_path.read_bytes()).values())


class TwoParts(AE):
    """Encoders and decoders have an optimiser each."""

    title = "Two parts"

    def parts(self) -> dict[str, list[nn.Parameter]]:
        return {"encoders": list(self.encoders.parameters()), "decoders": list(self.decoders.parameters())}

    def loss(self, batch: Batch, part: str, step: int) -> dict[str, torch.Tensor]:
        frozen = self.decoders if part == "encoders" else self.encoders
        assert not any(parameter.requires_grad for parameter in frozen.parameters())
        return super().loss(batch, part, step)


def test_each_part_is_trained_with_the_others_frozen(
    workspace: Workspace, tiny: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "two_parts", TwoParts)
    run = Run.new(workspace, make_config(tiny, "two_parts", {"width": 4}, QUICK))
    train(run, tiny, CPU)
    assert {"encoders_total", "decoders_total"} <= set(run.history()[-1])


def test_the_parts_of_watched_cases_go_by_the_same_names(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "two_parts", TwoParts)
    dataset = make_dataset(workspace, 13)
    run = Run.new(workspace, make_config(dataset, "two_parts", {"width": 4}, {**QUICK, "epochs": 1}))
    with monkeypatch.context() as patch:
        patch.setattr(TwoParts, "loss", AE.loss)  # nothing is frozen while watching
        train(run, dataset, CPU)
    names = {line["split"]: set(line) for line in run.history()}
    assert names["val"] == names["train"]


def test_the_momentum_is_that_of_the_optimiser(workspace: Workspace, tiny: Dataset) -> None:
    weights = []
    for momentum in (0.9, 0.5):
        run = new_run(workspace, tiny, momentum=momentum)
        train(run, tiny, CPU)
        weights.append(run.weights_path.read_bytes())
    assert weights[0] != weights[1]


def test_previews_show_each_modality_made_from_each(workspace: Workspace, tiny: Dataset) -> None:
    run = new_run(workspace, tiny)
    train(run, tiny, CPU)
    assert [path.name for path in run.previews] == ["000003.npz", "000006.npz"]
    with np.load(run.previews[-1], allow_pickle=False) as images:
        keys = {"T1__T1", "T1__T2", "T2__T1", "T2__T2", "source__T1", "source__T2", "target__T1", "target__T2"}
        assert set(images) == keys
        assert {images[key].shape for key in images} == {(13, 18)}
        case_id = tiny.split(0).train[0]
        middle = tiny.volume(case_id, "T1")[:, :, 3]
        np.testing.assert_allclose(images["source__T1"], middle, atol=1e-3)


def test_a_time_limit_ends_the_training_with_the_learning_rate_run_down(workspace: Workspace, tiny: Dataset) -> None:
    run = new_run(workspace, tiny, epochs=10_000, max_minutes=3 / 60, preview_every=100_000)
    train(run, tiny, CPU)
    last = run.history()[-1]
    assert 2.9 < last["seconds"] < 10
    assert last["lr"] < 0.2 * run.config.train.lr


def test_steps_count_alone_while_time_is_plenty() -> None:
    clock = Clock(100, limit_s=1000.0, step=30)
    assert clock.fraction == 0.3


def test_a_limit_that_steps_will_never_reach_counts_from_the_start() -> None:
    """Or the learning rate would stay in its warm-up for a quarter of the time."""
    clock = Clock(100_000, limit_s=1000.0, step=30)
    clock.started -= 30
    assert clock.fraction == pytest.approx(0.03, abs=0.001)
    clock.step = 10  # one of the first steps is often slow
    assert clock.fraction == 0.0001
    slower = Clock(1000, limit_s=1000.0, step=30)
    slower.started -= 60
    assert slower.fraction == 0.03


def test_time_counts_once_it_is_clear_that_it_runs_out() -> None:
    clock = Clock(100, limit_s=1000.0, step=3)
    clock.started -= 500
    assert clock.fraction == pytest.approx(0.5, abs=0.01)
    clock.started -= 501
    assert clock.is_over


def test_another_dataset_of_the_same_name_is_refused(workspace: Workspace, tiny: Dataset) -> None:
    run = new_run(workspace, tiny)
    changed = make_dataset(workspace, 5)
    with pytest.raises(InvalidConfigError) as error:
        train(run, changed, CPU)
    assert error.value.code == "DATASET-CHANGED"


def test_a_config_takes_the_model_defaults_under_the_user_settings(tiny: Dataset) -> None:
    config = make_config(tiny, "dense_ae", {}, {"lr": "0.01"})
    assert (config.train.epochs, config.train.batch_size, config.train.schedule) == (100, 32, "constant")
    assert config.train.lr == 0.01
    assert config.model_settings == {"code": 32}
    assert config.dataset_fingerprint == tiny.fingerprint


def test_a_learning_rate_for_muon_is_not_handed_on_to_adamw(tiny: Dataset) -> None:
    def rate(**given: object) -> float:
        return make_config(tiny, "hemis", {}, given).train.lr

    usual = TrainConfig().lr
    assert rate() > usual
    assert rate(optimiser="adamw") == usual
    assert rate(optimiser="adamw", lr=0.01) == 0.01
    assert rate(optimiser="muon") == rate()


@pytest.mark.parametrize(
    ("model", "settings", "trained", "words"),
    [
        ("nothing", {}, {}, "mean_image"),
        ("ae", {"latent_dim": 0}, {}, "latent_dim"),
        ("ae", {"nope": 1}, {}, "no such setting"),
        ("ae", {}, {"epochs": 0}, "epochs"),
        ("ae", {}, {"modalities": "PET"}, "no PET"),
        ("unet", {"given": "PET"}, {}, "PET"),
        ("unet", {}, {"modalities": "T1"}, "two at least"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(
    tiny: Dataset, model: str, settings: dict[str, Any], trained: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidConfigError, match=words):
        make_config(tiny, model, settings, trained)


def test_a_fold_that_is_not_there_is_refused(tiny: Dataset) -> None:
    with pytest.raises(InvalidConfigError, match="counted from 0"):
        make_config(tiny, "ae", {}, {}, fold=3, n_folds=3)


def test_a_run_may_learn_from_some_modalities_only(workspace: Workspace, tiny: Dataset) -> None:
    run = new_run(workspace, tiny, modalities="T1")
    assert train(run, tiny, CPU).shapes.modalities == ("T1",)


def test_dense_ae_in_the_loop_is_plain_adam_on_shuffled_batches(workspace: Workspace, tiny: Dataset) -> None:
    """The article's computation, written again beside the loop: same start, same order, same result."""
    run = new_run(workspace, tiny, "dense_ae", seed=5, modalities="T1", epochs=3, batch_size=5)
    learnt = train(run, tiny, CPU).state_dict()
    rows = [(case_id, k) for case_id in tiny.split(5).train for k in range(1, 5)]
    x = make_batch(tiny, rows, shapes_of(tiny, ["T1"])).x["T1"].flatten(1)
    torch.manual_seed(5)
    start = build_model(run.config, tiny).state_dict()
    model = nn.Sequential(nn.Linear(234, 32), nn.ReLU(), nn.Linear(32, 234), nn.Sigmoid())
    model.load_state_dict(dict(zip(model.state_dict(), start.values(), strict=True)))
    optimiser, rng = torch.optim.Adam(model.parameters(), 1e-3), np.random.default_rng(5)
    for _ in range(3):
        order = rng.permutation(len(x))
        for first in range(0, len(x), 5):
            chosen = x[order[first : first + 5]]
            optimiser.zero_grad()
            nn.functional.mse_loss(model(chosen), chosen).backward()
            optimiser.step()
    torch.testing.assert_close(list(learnt.values()), list(model.state_dict().values()))


def test_augmentation_moves_all_modalities_of_a_row_and_the_mask_alike() -> None:
    x = torch.zeros(8, 1, 13, 18)
    x[:, :, 4:7, 5:9] = 0.5
    batch = Batch({"T1": x, "T2": x.clone()}, {}, x > 0, torch.arange(8), torch.arange(8))
    moved = augment(batch, np.random.default_rng(0))
    for row in range(8):
        t1, t2 = moved.x["T1"][row], moved.x["T2"][row]
        assert float(torch.corrcoef(torch.stack([t1.flatten(), t2.flatten()]))[0, 1]) > 0.999
        inside = moved.mask[row]
        assert float(t1[inside].mean()) > 4 * float(t1[~inside].mean())
    assert not torch.equal(moved.x["T1"], moved.x["T2"])


def test_augmentation_without_any_strength_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    import core.augment as module

    for name in ("MAX_ANGLE", "MAX_ZOOM", "MAX_SHIFT", "MAX_GAIN", "MAX_GAMMA"):
        monkeypatch.setattr(module, name, 0.0)
    x = torch.rand(6, 1, 13, 18)
    batch = Batch({"T1": x}, {}, x > 0.3, torch.arange(6), torch.arange(6))
    moved = augment(batch, np.random.default_rng(0)).x["T1"]
    for row, image in zip(x, moved, strict=True):
        is_same, is_flipped = (torch.allclose(image, t, atol=1e-4) for t in (row, row.flip(-2)))
        assert is_same or is_flipped
