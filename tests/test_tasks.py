"""Multi-task learning: what a head is asked, what its loss is by hand, and that it learns, is kept, and is judged."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from core.assembly import build_model
from core.augment import augment
from core.batches import make_batch, shapes_of
from core.config import Task
from core.dataset import Dataset
from core.dataset_writer import DatasetWriter, PreparedCase
from core.errors import InvalidConfigError
from core.evaluate import evaluate
from core.models import MODELS
from core.models.base import Batch, Shapes
from core.models.heads import Heads, add_heads, answers_of, class_loss, map_loss, number_loss, task_losses
from core.models.terms import with_terms
from core.runs import Run
from core.synthesis import load_run
from core.task_scores import _lay, task_rows
from core.tasks import answer_of, find_tasks, task_names
from core.train import make_config, train
from core.transfer import start_from
from core.validation import loss_on
from core.windows import box_of, patch_places
from core.workspace import Workspace

SHAPE = (18, 21, 7)
SMALL = {"width": 4, "latent_dim": 4}
TASKS = ("blob", "diagnosis", "score")


@pytest.fixture
def labelled(workspace: Workspace) -> Dataset:
    """A bright blob that only some cases have: its map, a diagnosis and a score that tell of it. Case 4 knows none."""
    writer = DatasetWriter(workspace, "labelled")
    grid = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    mask = (grid[0] + 0.1) ** 2 + (grid[1] / 0.9) ** 2 + (grid[2] / 0.95) ** 2 < 1
    blob = (grid[0] - 0.3) ** 2 + (grid[1] + 0.2) ** 2 < 0.1
    for n in range(6):
        rng = np.random.default_rng(n)
        t1 = rng.uniform(0.1, 0.2, SHAPE) + 0.7 * blob * (n % 2)
        known: dict[str, Any] = {"diagnosis": "other" if n % 2 else "healthy", "score": 10.0 + 5 * (n % 2)}
        writer.add(
            PreparedCase(
                id=f"case-{n}",
                images={"T1": t1.astype(np.float32), "T2": (1 - t1).astype(np.float32)},
                scales={"T1": (1.0, 0.0), "T2": (1.0, 0.0)},
                units={"T1": "a.u.", "T2": "a.u."},
                mask=mask,
                affine=np.diag([1.0, 2, 3, 1]),
                labels={} if n == 4 else known,
                label_maps={} if n == 4 else {"blob": (blob * (n % 2)).astype(np.uint8)},
            )
        )
    return writer.finish("labelled", {}, simulated=True)


def test_what_can_be_learnt_is_found_with_its_kind(labelled: Dataset) -> None:
    assert task_names(labelled) == TASKS
    blob, diagnosis, score = find_tasks(labelled, TASKS, ["case-0", "case-1", "case-3"])
    assert (blob.kind, blob.classes) == ("map", ("background", "class 1"))
    assert (diagnosis.kind, diagnosis.classes) == ("class", ("healthy", "other"))
    assert score.kind == "number"
    assert score.mean == pytest.approx(np.mean([10, 15, 15]))
    assert score.sd == pytest.approx(np.std([10, 15, 15]))
    assert answer_of(labelled, "case-5", score) == pytest.approx((15 - score.mean) / score.sd)
    assert math.isnan(answer_of(labelled, "case-4", diagnosis))


@pytest.mark.parametrize(
    ("names", "cases", "code"), [(["mood"], ["case-0"], "NO-TASK"), (["score"], ["case-4"], "NO-LABEL")]
)
def test_a_task_that_cannot_be_learnt_is_refused(labelled: Dataset, names: Any, cases: Any, code: str) -> None:
    with pytest.raises(InvalidConfigError) as caught:
        find_tasks(labelled, names, cases)
    assert caught.value.code == code


def test_a_batch_holds_the_answers_and_says_where_there_are_none(labelled: Dataset) -> None:
    tasks = find_tasks(labelled, TASKS, ["case-0", "case-1"])
    rows = [("case-1", 3), ("case-4", 2), ("case-0", 5)]
    batch = make_batch(labelled, rows, shapes_of(labelled, ("T1", "T2"), tasks=tasks))
    assert np.array_equal(batch.answers["blob"][0].numpy(), labelled.label_map("case-1", "blob")[:, :, 3])
    assert (batch.answers["blob"][1] == -1).all()
    assert batch.answers["diagnosis"].tolist() == [1, -1, 0]
    assert batch.answers["score"].isnan().tolist() == [False, True, False]


def test_a_map_turns_with_its_images(labelled: Dataset) -> None:
    tasks = find_tasks(labelled, ("blob",), ["case-1"])
    batch = make_batch(labelled, [("case-1", k) for k in range(7)], shapes_of(labelled, ("T1", "T2"), tasks=tasks))
    turned = augment(batch, np.random.default_rng(0))
    classes, image = turned.answers["blob"], turned.x["T1"][:, 0]
    assert not torch.equal(classes, batch.answers["blob"])
    assert set(classes.unique().tolist()) == {-1, 0, 1}
    assert (image[classes == 1] > 0.35).float().mean() > 0.9
    assert (image[classes == 0] < 0.6).float().mean() > 0.97


def test_losses_of_a_class_and_a_number_are_those_of_the_textbook() -> None:
    logits, classes = torch.tensor([[2.0, -1.0], [0.5, 0.0], [3.0, 3.0]]), torch.tensor([0, 1, -1])
    batch = Batch({}, {}, torch.ones(3, 1, 2, 2, dtype=torch.bool), classes, classes)
    rows, known = class_loss(logits, classes, batch)
    assert known.tolist() == [True, True, False]
    assert rows[0].item() == pytest.approx(math.log(1 + math.exp(-3)))
    assert rows[1].item() == pytest.approx(math.log(1 + math.exp(0.5)))
    rows, known = number_loss(torch.tensor([[1.0], [2.0], [0.0]]), torch.tensor([-0.5, torch.nan, 0.8]), batch)
    assert rows[0].item() == pytest.approx(1.5 - 0.5)
    assert rows[2].item() == pytest.approx(0.5 * 0.8**2)
    assert known.tolist() == [True, False, True]


def test_the_loss_of_a_map_is_entropy_and_dice_where_the_class_is_known_and_judged() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 3, 4, 5, generator=generator)
    classes = torch.randint(-1, 3, (2, 4, 5), generator=generator)
    mask = torch.rand(2, 1, 4, 5, generator=generator) > 0.3
    batch = Batch({}, {}, mask, classes, classes)
    rows, known = map_loss(logits, classes, batch)
    counted = (classes >= 0) & mask[:, 0]
    dice = []
    for c in (1, 2):
        guess, truth = logits.softmax(1)[:, c][counted], (classes == c)[counted].float()
        dice.append((2 * (guess * truth).sum() + 1) / (guess.sum() + truth.sum() + 1))
    for row in range(2):
        entropy = F.cross_entropy(logits[row].movedim(0, -1)[counted[row]], classes[row][counted[row]])
        assert rows[row].item() == pytest.approx(float(entropy + 1 - sum(dice) / 2), rel=1e-5)
    assert known.all()


def _model(name: str, tasks: tuple[Task, ...], size: tuple[int, ...] = (18, 21)) -> Any:
    torch.manual_seed(0)
    kind = MODELS[name]
    settings = {"width": 4} if "width" in kind.Config.model_fields else {}
    model = kind(kind.Config(**settings), Shapes(("T1", "T2"), size, 7, tasks=tasks))
    add_heads(model)
    return model


def _learners() -> list[str]:
    return [n for n, k in MODELS.items() if k.can_embed and k.makes_images and k.paired and not k.is_fitted]


@pytest.mark.parametrize("name", _learners())
def test_every_model_with_a_shared_code_answers_from_any_subset(name: str, labelled: Dataset) -> None:
    tasks = find_tasks(labelled, TASKS, ["case-0", "case-1"])
    model = _model(name, tasks)
    batch = make_batch(labelled, [("case-1", 3), ("case-4", 2)], model.shapes)
    for given in (["T1"], ["T2"], ["T1", "T2"]):
        said = answers_of(model.eval(), batch.only(given))
        assert {task: tuple(t.shape) for task, t in said.items()} == {
            "blob": (2, 2, 18, 21), "diagnosis": (2, 2), "score": (2, 1)
        }  # fmt: skip
    losses = task_losses(model, batch)
    sum(losses.values()).backward()  # type: ignore[union-attr]
    coders = [p for n, p in model.named_parameters() if not n.startswith("heads") and p.grad is not None]
    assert any(p.grad.abs().sum() > 0 for p in coders)


@pytest.mark.parametrize("name", sorted(set(MODELS) - set(_learners())))
def test_a_model_without_a_code_to_share_refuses_tasks(name: str, labelled: Dataset) -> None:
    with pytest.raises(InvalidConfigError, match=r"train\.tasks"):
        make_config(labelled, name, {}, {"tasks": ["blob"]})


def test_a_row_without_an_answer_or_without_what_is_given_counts_nothing(labelled: Dataset) -> None:
    model = _model("mvae", find_tasks(labelled, ("diagnosis",), ["case-0", "case-1"]))
    batch = make_batch(labelled, [("case-1", 3), ("case-4", 3)], model.shapes)
    torch.manual_seed(0)
    both = task_losses(model, batch)["task_diagnosis"]
    torch.manual_seed(0)
    alone = task_losses(model, make_batch(labelled, [("case-1", 3)], model.shapes))["task_diagnosis"]
    assert both.item() == pytest.approx(alone.item() / 2, rel=1e-5)
    absent = replace(batch, present={m: torch.zeros(2, dtype=torch.bool) for m in batch.present})
    assert task_losses(model, absent)["task_diagnosis"].item() == 0


def test_the_weight_is_the_tasks_share_of_the_total(labelled: Dataset) -> None:
    config = make_config(labelled, "mvae", SMALL, {"tasks": ["diagnosis"], "task_weight": 3.0})
    model = _model("mvae", config.tasks)
    batch = make_batch(labelled, [("case-1", 3), ("case-0", 3)], model.shapes)
    torch.manual_seed(0)
    plain = task_losses(model, batch)["task_diagnosis"]
    torch.manual_seed(0)
    losses = with_terms({"total": torch.tensor(7.0)}, model, batch, config.train)
    assert losses["task_diagnosis"].item() == pytest.approx(3 * plain.item())
    assert losses["total"].item() == pytest.approx(7 + 3 * plain.item())


@pytest.mark.parametrize("name", ["mvae", "pix2pix"])
def test_a_run_learns_its_tasks_keeps_its_heads_and_is_judged_on_them(
    name: str, labelled: Dataset, workspace: Workspace
) -> None:
    settings = {"tasks": TASKS, "epochs": 25, "batch_size": 8, "lr": 1e-2, "augment": False, "average": 0.5}
    width = {"width": 4, "discriminator_width": 4} if name == "pix2pix" else SMALL
    config = make_config(labelled, name, width, settings, fold=0, n_folds=3)
    run = Run.new(workspace, config, "cpu")
    trained = train(run, labelled, torch.device("cpu"))
    assert any("task_blob" in key for key in run.history()[-2])
    loaded = load_run(workspace, run)
    assert isinstance(loaded.model.heads, Heads)
    batch = make_batch(labelled, [("case-1", 3)], loaded.model.shapes)
    ours, theirs = answers_of(loaded.model, batch), answers_of(trained, batch)
    for task in TASKS:  # one computes in the memory format of learning, the other in that of synthesis
        torch.testing.assert_close(ours[task], theirs[task], rtol=1e-4, atol=1e-5)
    rows = {(row["task"], row["metric"]): row["value"] for row in task_rows(loaded, "case-1", ["T1"])}
    assert rows["blob", "Dice"] > 0.8
    assert rows["blob", "AUROC"] > 0.95
    assert rows["diagnosis", "probability"] > 0.5
    assert rows["score", "absolute error"] < 4
    result = evaluate(loaded, with_baselines=False)
    judged = [case for case in loaded.split.test if case != "case-4"]
    assert {row["case"] for row in result["tasks"]} == set(judged)
    line = next(s for s in result["task_summary"] if s["task"] == "score" and s["given"] == ["T2"])
    values = [row["value"] for row in result["tasks"] if row["task"] == "score" and row["given"] == ["T2"]]
    assert line["mean"] == pytest.approx(np.mean(values))
    assert line["n"] == len(judged)


def test_windows_of_a_map_are_laid_where_they_were_cut(labelled: Dataset) -> None:
    """Patches whose answers are the very truth come together to it."""
    truth = np.random.default_rng(0).integers(0, 3, labelled.shape)
    shapes = Shapes(("T1",), (8, 8, 7), 7)
    places = patch_places(labelled.shape, shapes.size, 0.5)
    hot = np.stack([np.eye(3, dtype=np.float32)[truth[box_of(at, labelled.shape, shapes)]] for at in places])
    loaded: Any = SimpleNamespace(dataset=labelled, model=SimpleNamespace(shapes=shapes))
    total = np.zeros((3, *labelled.shape), np.float32)
    _lay(total, hot.transpose(0, 4, 1, 2, 3), places, loaded)
    np.testing.assert_array_equal(total.argmax(0), truth)


def test_a_head_is_taken_over_only_for_the_same_classes(labelled: Dataset, workspace: Workspace) -> None:
    settings = {"tasks": ["diagnosis", "blob"], "epochs": 1, "batch_size": 16}
    first = Run.new(workspace, make_config(labelled, "mvae", SMALL, settings), "cpu")
    learnt = train(first, labelled, torch.device("cpu"))
    labelled.set_labels({"case-0": {"diagnosis": "glioma", "score": 1.0}})
    config = make_config(labelled, "mvae", SMALL, {**settings, "init_from": first.id})
    second = Run.new(workspace, config, "cpu")
    fresh = build_model(config, labelled)
    before = {name: value.clone() for name, value in fresh.state_dict().items()}
    start_from(second, labelled, fresh)
    for name, value in fresh.state_dict().items():
        if name.startswith("heads.task_diagnosis"):
            assert torch.equal(value, before[name])
        else:
            assert torch.equal(value, learnt.state_dict()[name])


def test_patches_are_laid_together_before_a_map_is_judged(labelled: Dataset, workspace: Workspace) -> None:
    settings = {"tasks": ["blob"], "input": "patches", "patch": 8, "epochs": 1, "batch_size": 16, "max_minutes": 0.2}
    config = make_config(labelled, "mvae", SMALL, settings, fold=0, n_folds=3)
    run = Run.new(workspace, config, "cpu")
    train(run, labelled, torch.device("cpu"))
    loaded = load_run(workspace, run)
    rows = task_rows(loaded, "case-1", ["T1", "T2"])
    assert [row["metric"] for row in rows] == ["Dice", "AUROC"]
    assert all(0 <= row["value"] <= 1 for row in rows)


def test_the_total_of_validation_counts_what_the_training_s_counts(labelled: Dataset) -> None:
    config = make_config(labelled, "mvae", SMALL, {"tasks": ["blob"], "task_weight": 2.0, "infonce_weight": 0.5})
    model = _model("mvae", config.tasks)
    batch = make_batch(labelled, [("case-1", k) for k in range(7)], model.shapes)
    with_all, alone = loss_on(model, batch, 5, config.train), loss_on(model, batch, 5)
    added = with_all["task_blob"] + with_all["infonce"]
    assert with_all["total"] == pytest.approx(alone["total"] + added, rel=1e-6)
