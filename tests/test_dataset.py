from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.cohort import Cohort
from core.dataset import Dataset, split_cases
from core.dataset_writer import DatasetWriter, PreparedCase
from core.errors import InvalidConfigError, NotFoundError
from core.prepare import prepare
from core.recipes import make_recipe
from core.workspace import Workspace
from tests.conftest import make_cohort


@given(n=st.integers(2, 60), seed=st.integers(0, 999), n_folds=st.integers(2, 60))
def test_every_case_is_held_out_exactly_once_over_all_folds(n: int, seed: int, n_folds: int) -> None:
    ids = [f"case-{i}" for i in range(n)]
    if n_folds > n:
        with pytest.raises(InvalidConfigError):
            split_cases(ids, seed, 0, n_folds)
        return
    splits = [split_cases(ids, seed, fold, n_folds) for fold in range(n_folds)]
    assert sorted(case for split in splits for case in split.test) == sorted(ids)
    for split in splits:
        assert sorted([*split.train, *split.val, *split.test]) == sorted(ids)
        assert split.train


def test_the_default_split_holds_a_fifth_out_and_depends_on_the_seed_only() -> None:
    ids = [f"case-{i:02d}" for i in range(24)]
    split = split_cases(ids, 7)
    assert (len(split.train), len(split.val), len(split.test)) == (17, 2, 5)
    assert split_cases(list(reversed(ids)), 7) == split
    assert split_cases(ids, 8) != split


@pytest.mark.parametrize(("fold", "n_folds"), [(3, 3), (0, None), (None, 3), (0, 9)])
def test_a_fold_that_is_not_there_is_refused(fold: int | None, n_folds: int | None) -> None:
    with pytest.raises(InvalidConfigError):
        split_cases(["a", "b", "c", "d"], 0, fold, n_folds)


def test_volumes_come_back_on_the_common_grid(dataset: Dataset) -> None:
    for case_id in dataset.case_ids:
        for modality in dataset.record(case_id)["modalities"]:
            assert dataset.volume(case_id, modality).shape == dataset.shape
    assert not np.array_equal(dataset.volume("case-00", "T1"), dataset.volume("case-00", "T2"))
    with pytest.raises(NotFoundError):
        dataset.volume("case-02", "T2")


def test_the_fingerprint_follows_every_voxel_and_no_name(workspace: Workspace, dataset: Dataset) -> None:
    cohort = Cohort.open(workspace, "phantoms")
    assert prepare(workspace, cohort, "again", make_recipe("generic")).fingerprint == dataset.fingerprint
    volume = cohort.read_volume("case-00", "T1")
    data = volume.data.copy()
    data[3, 4, 5] += 1
    case = cohort.read("case-00")
    cohort.write(type(case)("case-00", {"T1": volume.with_data(data)}, {}))
    assert prepare(workspace, cohort, "other", make_recipe("generic")).fingerprint != dataset.fingerprint


def test_a_dataset_of_no_case_is_an_error_and_leaves_nothing(workspace: Workspace) -> None:
    with pytest.raises(InvalidConfigError):
        DatasetWriter(workspace, "empty").finish("c", {}, simulated=False)
    assert list(workspace.datasets.iterdir()) == []


SIZE, FLAT = (4, 5, 6), (4, 5, 1)


def write_cases(workspace: Workspace, *kinds: tuple[tuple[int, int, int], str]) -> DatasetWriter:
    """A case of each size and unit."""
    writer = DatasetWriter(workspace, "mixed")
    for n, (shape, unit) in enumerate(kinds):
        values, mask = np.ones(shape, np.float32), np.ones(shape, bool)
        writer.add(PreparedCase(f"c{n}", {"T1": values}, {"T1": (1.0, 0.0)}, {"T1": unit}, mask, np.eye(4)))
    return writer


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        ((FLAT, "a.u."), "It comes out as 4 x 5 x 1 voxels, most cases as 4 x 5 x 6"),
        ((SIZE, "HU"), "Its T1 is in HU, that of most cases in a.u."),
    ],
)
def test_a_case_that_is_not_as_most_is_left_out_and_named(workspace: Workspace, odd: Any, words: str) -> None:
    writer = write_cases(workspace, odd, (SIZE, "a.u."), (SIZE, "a.u."))
    dataset = writer.finish("c", {"left_out": {"c9": "It has no image."}}, simulated=False)
    assert dataset.case_ids == ("c1", "c2")
    assert dataset.shape == SIZE
    assert dataset.unit("T1") == "a.u."
    assert dataset.index["recipe"]["left_out"] == {"c9": "It has no image.", "c0": words}
    assert not (dataset.folder / "c0").exists()


def test_cases_that_are_all_otherwise_are_an_error_that_says_what_to_do(workspace: Workspace) -> None:
    writer = write_cases(workspace, (SIZE, "a.u."), (FLAT, "a.u."))
    with pytest.raises(InvalidConfigError, match=r"do not make one dataset\. One case: It comes out as .* Delete"):
        writer.finish("c", {}, simulated=False)
    assert not list(workspace.datasets.iterdir())


def test_a_dataset_can_be_made_again_under_its_name(workspace: Workspace) -> None:
    cohort = make_cohort(workspace, n_cases=2)
    first = prepare(workspace, cohort, "d", make_recipe("generic")).fingerprint
    second = prepare(workspace, cohort, "d", make_recipe("generic", {"spacing_mm": 2}))
    assert first != Dataset.open(workspace, "d").fingerprint == second.fingerprint
    assert [path.name for path in workspace.datasets.iterdir()] == ["d"]


def test_a_case_can_be_left_out_with_a_reason_and_taken_back(dataset: Dataset, workspace: Workspace) -> None:
    before, ids = dataset.fingerprint, dataset.case_ids
    dataset.exclude(ids[1], " motion ")
    again = Dataset.open(workspace, dataset.name)
    assert again.case_ids == (ids[0], *ids[2:]) == dataset.case_ids
    assert again.excluded == {ids[1]: "motion"} and again.fingerprint != before
    with pytest.raises(NotFoundError):
        again.volume(ids[1], "T1")
    again.include(ids[1])
    assert again.case_ids == ids and again.fingerprint == before and not again.excluded
    with pytest.raises(NotFoundError):
        again.include(ids[1])
    with pytest.raises(InvalidConfigError, match="why"):
        again.exclude(ids[0], " ")
