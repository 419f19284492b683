"""Windows of a case: slices, stacks, patches; cut at the right place, and put together again without a seam."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from core.batches import Slices, informative_rows, make_batch, shapes_of
from core.config import RunConfig, TrainConfig
from core.dataset import Dataset
from core.embed import embed
from core.errors import InvalidConfigError
from core.evaluate import evaluate
from core.models import MODELS
from core.runs import Run
from core.synthesis import LoadedRun, load_run, synthesise_case
from core.train import make_config, train
from core.windows import corner_of, moved, patch_places, patch_weights, starts
from core.workspace import Workspace
from tests.tiny_run import SHAPE, Blend, make_dataset, save_weights

PATCHES = TrainConfig(input="patches", patch=8)
STACKS = TrainConfig(input="stacks", stack=3)


@pytest.fixture
def tiny(workspace: Workspace) -> Dataset:
    return make_dataset(workspace, n_cases=5)


def doubling(workspace: Workspace, dataset: Dataset, settings: TrainConfig) -> LoadedRun:
    """A run whose model gives twice the mean of what it is given."""
    run = Run.new(workspace, RunConfig(dataset=dataset.name, model="blend", train=settings))
    save_weights(run, Blend(Blend.Config(gain=2.0), shapes_of(dataset, dataset.modalities, settings)))
    return load_run(workspace, run)


@pytest.mark.parametrize(("length", "window", "overlap"), [(18, 8, 0.25), (21, 8, 0.5), (7, 7, 0.5), (100, 48, 0.25)])
def test_windows_cover_an_axis_and_share_enough(length: int, window: int, overlap: float) -> None:
    found = starts(length, window, overlap)
    assert found[0] == 0
    assert found[-1] == length - window
    steps = np.diff(found)
    assert len(steps) == 0 or steps.max() <= window * (1 - overlap)


def test_a_patch_holds_the_voxels_of_its_box(tiny: Dataset) -> None:
    shapes = shapes_of(tiny, ("T1", "T2"), PATCHES)
    assert shapes.size == (8, 8, 7)
    place = int(np.ravel_multi_index((3, 11, 0), SHAPE))
    batch = make_batch(tiny, [("case-1", place)], shapes)
    expected = tiny.volume("case-1", "T2")[3:11, 11:19, 0:7]
    np.testing.assert_array_equal(batch.x["T2"][0, 0].numpy(), expected)
    np.testing.assert_array_equal(batch.mask[0, 0].numpy(), tiny.mask("case-1")[3:11, 11:19, 0:7])
    assert batch.position.tolist() == [3]


def test_a_stack_holds_a_slice_and_its_neighbours_the_ends_repeated(tiny: Dataset) -> None:
    shapes = shapes_of(tiny, ("T1",), STACKS)
    batch = make_batch(tiny, [("case-0", 0), ("case-0", 4)], shapes)
    volume = tiny.volume("case-0", "T1")
    np.testing.assert_array_equal(batch.x["T1"][0].numpy(), volume[:, :, [0, 0, 1]].transpose(2, 0, 1))
    np.testing.assert_array_equal(batch.x["T1"][1].numpy(), volume[:, :, [3, 4, 5]].transpose(2, 0, 1))
    np.testing.assert_array_equal(batch.mask[1, 0].numpy(), tiny.mask("case-0")[:, :, 4])


def test_a_moved_patch_stays_inside_the_volume() -> None:
    rng = np.random.default_rng(0)
    places = patch_places(SHAPE, (8, 8, 7), 0.5)
    corners = np.array([corner_of(moved(place, SHAPE, (8, 8, 7), rng), SHAPE) for place in places * 20])
    assert corners.min(axis=0).tolist() == [0, 0, 0]
    assert corners.max(axis=0).tolist() == [10, 13, 0]


def test_patches_of_an_epoch_are_seeded_and_drawn_at_new_places(tiny: Dataset) -> None:
    shapes = shapes_of(tiny, ("T1",), PATCHES)
    slices = Slices(tiny, informative_rows(tiny, tiny.case_ids, shapes), shapes)

    def images(seed: int) -> torch.Tensor:
        return torch.cat([batch.x["T1"] for batch in slices.epoch(3, np.random.default_rng(seed))])

    assert len(images(0)) == len(slices)
    torch.testing.assert_close(images(0), images(0), rtol=0, atol=0)
    assert not torch.equal(images(0).sum((1, 2, 3, 4)).sort()[0], images(1).sum((1, 2, 3, 4)).sort()[0])


def test_the_middle_of_a_patch_counts_most() -> None:
    weights = patch_weights((5, 8, 6))
    assert weights.shape == (5, 8, 6)
    assert weights.min() > 0
    assert np.unravel_index(weights.argmax(), weights.shape) == (2, 3, 2)
    np.testing.assert_allclose(weights, weights[::-1, ::-1, ::-1])


def test_overlapping_patches_join_without_a_seam(tiny: Dataset, workspace: Workspace, monkeypatch: Any) -> None:
    """A model that doubles every voxel doubles the volume, wherever patches meet."""
    monkeypatch.setitem(MODELS, "blend", Blend)
    loaded = doubling(workspace, tiny, PATCHES)
    made = synthesise_case(loaded, "case-1", ["T1"], ["T2"])["T2"]
    np.testing.assert_allclose(made, 2 * tiny.volume("case-1", "T1"), rtol=1e-5)


def test_of_a_stack_the_middle_slice_is_made(tiny: Dataset, workspace: Workspace, monkeypatch: Any) -> None:
    monkeypatch.setitem(MODELS, "blend", Blend)
    loaded = doubling(workspace, tiny, STACKS)
    made = synthesise_case(loaded, "case-1", ["T1"], ["T2"])["T2"]
    np.testing.assert_allclose(made, 2 * tiny.volume("case-1", "T1"), rtol=1e-5)


@pytest.mark.parametrize("asked", [{"input": "patches", "patch": 8}, {"input": "stacks", "stack": 5}])
@pytest.mark.parametrize("model", ["mvae", "unet"])
def test_stacks_and_patches_go_the_whole_way(
    workspace: Workspace, tiny: Dataset, model: str, asked: dict[str, Any]
) -> None:
    quick = {"epochs": 1, "batch_size": 16, "preview_every": 2, "max_minutes": 0.2}
    run = Run.new(workspace, make_config(tiny, model, {"width": 4}, {**quick, **asked}, seed=1))
    train(run, tiny, torch.device("cpu"))
    preview = np.load(sorted((run.folder / "previews").iterdir())[-1])
    assert {preview[key].ndim for key in preview.files} == {2}
    loaded = load_run(workspace, run)
    assert synthesise_case(loaded, tiny.case_ids[0], ["T1"], ["CT"])["CT"].shape == SHAPE
    result = evaluate(loaded, loaded.split.test, subsets="small")
    assert {row["model"] for row in result["rows"]} == {model, "constant", "mean_image", "linear"}
    assert all(np.isfinite(row["mae"]) for row in result["rows"])
    found = embed(loaded, tiny.case_ids[:1])
    assert np.isfinite(found.z).all()
    assert len(set(zip(found.modality, found.slice, strict=True))) == len(found.z)


def test_a_stack_has_an_odd_number_of_slices(tiny: Dataset) -> None:
    with pytest.raises(InvalidConfigError, match="odd"):
        make_config(tiny, "ae", {}, {"input": "stacks", "stack": 4})
