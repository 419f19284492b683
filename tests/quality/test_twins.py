"""Copies are found whatever was done to them, and nobody else is accused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from core.cohort import Cohort
from core.dataset import Dataset
from core.demo import make_case
from core.ingest import ingest
from core.prepare import prepare
from core.preprocess.masks import make_mask
from core.progress import Cancelled
from core.quality.imprints import OUTSIDE, ImprintGrid, Imprints, extent_of, imprint, imprints_of
from core.quality.twins import LIMITS, find_twins, twins_of
from core.recipes import make_recipe
from core.types import Case, Volume
from core.workspace import Workspace
from tests.quality.copies import COPIES

SHAPE, SPACING = (60, 56, 38), (1.2, 1.6, 2.4)
AFFINE = np.diag([*SPACING, 1.0])
GRID = ImprintGrid(3.0, (24, 30, 30))


def person(seed: int, shape: tuple[int, int, int] = SHAPE) -> Volume:
    """Anatomy that all share (an ellipsoid, brighter towards its lopsided core) and a texture that nobody shares."""
    i, j, k = np.meshgrid(*[np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape], indexing="ij")
    radius = np.sqrt((i / 0.8) ** 2 + (j / 0.85) ** 2 + (k / 0.8) ** 2)
    core = np.exp(-(((i - 0.3) / 0.4) ** 2) - (j / 0.5) ** 2 - ((k + 0.2) / 0.5) ** 2)
    rng = np.random.default_rng(seed)
    own = ndimage.gaussian_filter(rng.normal(size=shape), [4.5 / s for s in SPACING])
    data = np.where(radius < 1, 400 + 200 * core + 110 * own / own.std(), rng.normal(9, 3, shape))
    return Volume(data.astype(np.float32), AFFINE, "T1")


def taken(people: dict[str, Volume]) -> Imprints:
    """Imprints as of a dataset whose masks are found in each image anew, on the image's own grid."""
    levels = [imprint(v.data, make_mask(v, "foreground")[0], v.spacing_mm, GRID) for v in people.values()]
    return Imprints("T1", tuple(people), np.stack(levels))


def pairs(imprints: Imprints) -> set[tuple[str, str]]:
    return {(twin.first, twin.second) for twin in find_twins(imprints)}


@pytest.mark.parametrize("kind", COPIES)
def test_ten_copies_among_fourteen_people_are_found_and_nobody_else(kind: str) -> None:
    people = {f"p{n:02d}": person(n) for n in range(14)}
    copies = {f"{name}-again": COPIES[kind](v, np.random.default_rng(9)) for name, v in list(people.items())[:10]}
    twins = find_twins(taken(people | copies))
    assert {(twin.first, twin.second) for twin in twins} == {(name.removesuffix("-again"), name) for name in copies}
    assert {twin.is_mirrored for twin in twins} == {kind == "mirrored"}


def test_people_who_share_their_anatomy_are_not_accused() -> None:
    assert pairs(taken({f"p{n:02d}": person(n) for n in range(20)})) == set()


@pytest.mark.parametrize("n", [2, 3, 5])
def test_a_copy_is_found_among_very_few(n: int) -> None:
    people = {f"p{i}": person(i) for i in range(n - 1)} | {"q": COPIES["shifted"](person(0), np.random.default_rng(0))}
    assert pairs(taken(people)) == {("p0", "q")}


def test_two_strangers_are_no_twins_and_one_case_has_none() -> None:
    assert pairs(taken({"a": person(1), "b": person(2)})) == set()
    assert pairs(taken({"a": person(1)})) == set()


def test_a_flat_dataset_is_compared_too() -> None:
    grid = ImprintGrid(2.6, (28, 34, 1))
    images = [person(n, (60, 56, 1)).data for n in range(6)]
    images.append(np.roll(images[2], (2, -1), axis=(0, 1)))
    levels = np.stack([imprint(image, image > 100, SPACING, grid) for image in images])
    assert pairs(Imprints("US", tuple("abcdefg"), levels)) == {("c", "g")}


def test_an_empty_mask_leaves_no_imprint_and_accuses_nobody() -> None:
    nothing = imprint(person(0).data, np.zeros(SHAPE, bool), SPACING, GRID)
    assert (nothing == OUTSIDE).all()
    whole = taken({"a": person(0), "b": person(1)}).levels
    assert pairs(Imprints("T1", tuple("abcd"), np.stack([*whole, nothing, nothing]))) == set()


def test_an_imprint_keeps_nothing_of_contrast_and_place() -> None:
    v = person(3)
    mask = v.data > 100
    other = np.roll(np.sqrt(np.maximum(v.data, 0)), (2, 1, -1), axis=(0, 1, 2))
    again = imprint(other, np.roll(mask, (2, 1, -1), axis=(0, 1, 2)), SPACING, GRID)
    first = imprint(v.data, mask, SPACING, GRID)
    both = (first != OUTSIDE) & (again != OUTSIDE)
    assert both.sum() > 0.98 * (first != OUTSIDE).sum()
    assert np.corrcoef(first[both], again[both])[0, 1] > 0.99
    assert first[first != OUTSIDE].min() < -120 and first.max() > 120


def test_equal_values_share_a_rank() -> None:
    v = np.repeat(np.array([0, 5, 6, 9], np.float32), 36).reshape(16, 3, 3)
    levels = imprint(v, np.ones(v.shape, bool), (1.0, 1.0, 1.0), ImprintGrid(1.0, (12, 3, 3)))
    assert levels[:, 1, 1].tolist() == [-85] * 4 + [0] * 4 + [85] * 4  # the darkest quarter is background


def test_the_grid_fits_the_masks(dataset: Dataset) -> None:
    grid = ImprintGrid.of(dataset)
    extents = np.array([extent_of(dataset.mask(case), dataset.spacing_mm) for case in dataset.case_ids])
    usual = np.median(extents, axis=0).max()
    assert grid.step_mm == pytest.approx(max(usual / 48, 1.5 * (1.0 * 2.0 * 3.0) ** (1 / 3)))
    assert (np.array(grid.shape) * grid.step_mm >= np.median(extents, axis=0)).all()


def test_a_stop_is_heeded_between_images(dataset: Dataset) -> None:
    def stop(done: float, total: float, message: str = "") -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        twins_of(dataset, stop)


def with_copies(workspace: Workspace, cases: Sequence[Case], n_copied: int) -> Cohort:
    """A cohort of these cases and of all kinds of copies of the first of them."""
    cohort = Cohort.create(workspace, "people")
    for n, case in enumerate(cases):
        cohort.write(case)
        for kind, change in COPIES.items() if n < n_copied else ():
            rng = np.random.default_rng(n)
            cohort.write(Case(f"{case.id}_{kind}", {m: change(v, rng) for m, v in case.volumes.items()}))
    return cohort


def found_by_kind(dataset: Dataset, modality: str) -> dict[str, set[tuple[str, str]]]:
    """What is found among the originals and one kind of copies at a time; "" for the originals alone."""
    imprints = imprints_of(dataset, modality, ImprintGrid.of(dataset))
    found = {}
    for kind in ("", *COPIES):
        rows = [n for n, case in enumerate(imprints.case_ids) if case.partition("_")[2] in ("", kind)]
        ids = tuple(imprints.case_ids[n] for n in rows)
        found[kind] = pairs(Imprints(modality, ids, imprints.levels[rows]))
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_copies_of_demo_people_are_found_and_clean_ones_are_not_accused(workspace: Workspace) -> None:
    made = [make_case(n) for n in range(1, 13)]
    cases = [Case(case.id, {m: case.volumes[m] for m in ("T1", "CT", "PET")}) for case in made]
    cohort = with_copies(workspace, cases, 10)
    dataset = prepare(workspace, cohort, "people", make_recipe("brain-mr-ct"))
    for modality in dataset.modalities:
        for kind, found in found_by_kind(dataset, modality).items():
            expected = {(case.id, f"{case.id}_{kind}") for case in cases[:10]} if kind else set()
            assert found == expected, (modality, kind)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_copies_of_real_patients_are_found_and_the_patients_are_not_accused(
    workspace: Workspace, real_data: Path
) -> None:
    """Three patients are few: what counts is that a copy is found in any of its modalities."""
    for patient in sorted((real_data / "brain_ms_2mm").iterdir()):
        ingest(workspace, [patient / f"{m}.nii.gz" for m in ("T1", "T2", "FLAIR")], "ms")
    ms = Cohort.open(workspace, "ms")
    cases = [ms.read(case_id) for case_id in ms.case_ids]
    dataset = prepare(workspace, with_copies(workspace, cases, 3), "people", make_recipe("brain-mr"))
    by_modality = {m: found_by_kind(dataset, m) for m in dataset.modalities}
    for kind in ("", *COPIES):
        found = set().union(*(by_modality[m][kind] for m in dataset.modalities))
        assert found == ({(case.id, f"{case.id}_{kind}") for case in cases} if kind else set()), kind


def test_limits_stay_between_what_chance_gives_and_what_copies_keep() -> None:
    for twin in find_twins(taken({"a": person(0), "b": person(0)})):
        assert LIMITS[0] <= twin.limit <= LIMITS[1] and twin.likeness == pytest.approx(1.0)
