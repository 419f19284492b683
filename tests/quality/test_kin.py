"""One person in two modalities is known by what the one image would be in the other's modality."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from core.dataset import Dataset
from core.dataset_writer import DatasetWriter, PreparedCase
from core.quality.imprints import OUTSIDE, STEPS, Levels
from core.quality.kin import LEAST_EXAMPLES, kin_of
from core.quality.translation import Translation
from core.workspace import Workspace

SHAPE, SPACING = (40, 46, 30), (2.0, 1.8, 2.5)
PLACES = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
MASK = (PLACES[0] / 0.8) ** 2 + (PLACES[1] / 0.85) ** 2 + ((PLACES[2] + 0.05) / 0.85) ** 2 < 1


def images_of(person: int) -> dict[str, np.ndarray]:
    """MR tells how far a tissue is from the middle of a scale that CT shows: no edge says which way."""
    rng = np.random.default_rng(person)
    own = ndimage.gaussian_filter(rng.normal(size=SHAPE), [5.0 / s for s in SPACING])
    own /= own.std()
    ct = 0.5 + 0.12 * own + rng.normal(0, 0.01, SHAPE)
    mr = 0.2 + 0.25 * np.abs(own) + rng.normal(0, 0.01, SHAPE)
    return {"CT": (ct * MASK).astype(np.float32), "T1": (mr * MASK).astype(np.float32)}


def dataset_of(workspace: Workspace, cases: dict[str, dict[str, np.ndarray]], empty: str = "") -> Dataset:
    writer = DatasetWriter(workspace, "kin")
    for case, images in cases.items():
        scales, units = dict.fromkeys(images, (1.0, 0.0)), dict.fromkeys(images, "a.u.")
        mask = MASK & (case != empty)
        writer.add(PreparedCase(case, images, scales, units, mask, np.diag([*SPACING, 1.0])))
    return writer.finish("kin", {}, simulated=True)


def some_people(n: int) -> dict[str, dict[str, np.ndarray]]:
    """People with both; a CT without MR, the MR of the same person without CT (laid elsewhere), a stranger's MR."""
    people = {f"p{k}": images_of(k) for k in range(n)}
    moved = np.roll(images_of(100)["T1"], (1, -1, 0), (0, 1, 2)) * MASK
    return people | {
        "alone": {"CT": images_of(100)["CT"]},
        "same": {"T1": moved.astype(np.float32)},
        "other": {"T1": images_of(101)["T1"]},
    }


@pytest.mark.parametrize("n", [LEAST_EXAMPLES, 8])
def test_one_person_is_found_where_edges_say_little_and_a_stranger_is_not(n: int, workspace: Workspace) -> None:
    cases = some_people(n)
    report = kin_of(dataset_of(workspace, cases), ["same", "other"], [c for c in cases if c not in ("same", "other")])
    assert report.untold == ()
    assert [(kin.first, kin.second, kin.modalities) for kin in report.kin] == [("alone", "same", ("CT", "T1"))]


def test_neither_an_empty_case_nor_a_person_twice_among_the_examples_silences_it(workspace: Workspace) -> None:
    cases = some_people(8) | {"empty": images_of(55), "twice": images_of(0)}
    dataset = dataset_of(workspace, cases, empty="empty")
    report = kin_of(dataset, ["same", "other"], [c for c in cases if c not in ("same", "other")])
    assert report.untold == ()
    assert [(kin.first, kin.second) for kin in report.kin] == [("alone", "same")]


def test_with_too_few_to_learn_from_it_says_that_it_cannot_tell(workspace: Workspace) -> None:
    cases = some_people(LEAST_EXAMPLES - 1)
    report = kin_of(dataset_of(workspace, cases), ["same", "other"], ["p0", "p1", "alone"])
    assert (report.kin, report.untold) == ((), (("CT", "T1"),))


def test_where_one_tells_nothing_of_the_other_it_says_so(workspace: Workspace) -> None:
    cases = {
        name: {m: images_of(7 * n + (m == "T1"))[m] for m in x} for n, (name, x) in enumerate(some_people(8).items())
    }
    report = kin_of(dataset_of(workspace, cases), ["same", "other"], [c for c in cases if c not in ("same", "other")])
    assert (report.kin, report.untold) == ((), (("CT", "T1"),))


def levels_of(values: np.ndarray) -> Levels:
    return np.where(MASK, np.clip(STEPS * values, -STEPS, STEPS), OUTSIDE).astype(np.int8)


def test_a_translation_knows_a_rule_and_keeps_what_is_outside() -> None:
    rng = np.random.default_rng(0)
    people = [ndimage.gaussian_filter(rng.normal(size=SHAPE), 2.0) for _ in range(4)]
    people = [own / np.abs(own).max() for own in people]
    folded = [levels_of(2 * np.abs(own) - 1) for own in people]
    translation = Translation([levels_of(own) for own in people[:3]], folded[:3])
    expected = translation.of(levels_of(people[3]))
    assert ((expected == OUTSIDE) == ~MASK).all()
    inner = ndimage.binary_erosion(MASK, iterations=3)
    smooth = [ndimage.gaussian_filter(x.astype(float), 4.0) for x in (folded[3], expected)]
    stands_out = folded[3][inner] - smooth[0][inner]
    assert np.corrcoef(expected[inner], stands_out)[0, 1] > 0.85
