"""What is measured of a case and how it was acquired, on lopsided phantoms with known answers."""

from __future__ import annotations

import numpy as np
import pytest

from core.dataset import Dataset
from core.dataset_writer import DatasetWriter, PreparedCase
from core.quality.geometry import acquired
from core.quality.measures import Measured, Source, measure_case, source_of
from core.workspace import Workspace

SHAPE, SPACING = (4, 5, 6), (1.0, 2.0, 3.0)


def by_hand(workspace: Workspace, image: np.ndarray, mask: np.ndarray, fov: np.ndarray | None = None) -> Dataset:
    writer = DatasetWriter(workspace, "d")
    maps = {} if fov is None else {"US_fov": fov.astype(np.uint8)}
    affine = np.diag([*SPACING, 1.0])
    writer.add(PreparedCase("c", {"US": image}, {"US": (255.0, 0.0)}, {"US": "a.u."}, mask, affine, maps))
    return writer.finish("d", {}, simulated=False)


def test_volume_and_quartiles_are_those_of_the_mask(workspace: Workspace) -> None:
    image = np.arange(120, dtype=np.float32).reshape(SHAPE)
    mask = np.zeros(SHAPE, bool)
    mask[1, 2:4, :] = True  # 12 voxels of 6 cubic millimetres
    measured = measure_case(by_hand(workspace, image, mask), "c", {})
    inside = np.sort(image[mask])
    assert measured.mask_ml == pytest.approx(12 * 6 / 1000)
    assert measured.brightness["US"].median == (inside[5] + inside[6]) / 2
    assert measured.brightness["US"].spread == pytest.approx(np.subtract(*np.percentile(inside, [75, 25])))
    assert Measured.from_json(measured.to_json()) == measured


def test_a_limited_field_of_view_is_measured_inside_it(workspace: Workspace) -> None:
    image = np.zeros(SHAPE, np.float32)
    image[2] = 0.5
    dataset = by_hand(workspace, image, np.ones(SHAPE, bool), fov=image > 0)
    assert measure_case(dataset, "c", {}).brightness["US"].low == 0.5


@pytest.mark.parametrize(
    ("shape", "spacing", "plane"),
    [
        ((4, 5, 6), (1, 1, 4), "axial"),
        ((4, 5, 6), (1, 3.6, 1), "coronal"),
        ((4, 5, 6), (5, 0.5, 0.5), "sagittal"),
        ((4, 5, 6), (1, 1, 1.2), "3-D"),
        ((4, 5, 1), (1, 1, 1), "picture"),
    ],
)
def test_the_plane_of_the_slices_is_told(shape, spacing, plane) -> None:
    affine = np.diag([*spacing, 1.0]).tolist()
    assert source_of({"shape": shape, "spacing_mm": spacing, "affine": affine}).plane == plane


def test_the_tilt_is_the_angle_of_the_axes() -> None:
    angle = np.radians(20.0)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(SPACING)
    source = source_of({"shape": SHAPE, "spacing_mm": SPACING, "affine": affine.tolist()})
    assert source.tilt_degrees == pytest.approx(20.0)


def measured_with(*sources: Source) -> dict[str, Measured]:
    return {f"case-{n}": Measured(1.0, {}, {"T1": source}) for n, source in enumerate(sources)}


def test_what_is_usual_and_who_differs() -> None:
    usual, thick = Source(SHAPE, (1, 2, 3), "axial", 2.0), Source(SHAPE, (1, 2, 5), "axial", 2.0)
    small, tilted = Source((4, 5, 3), (1, 2, 3), "axial", 2.0), Source(SHAPE, (1, 2, 3), "axial", 25.0)
    other = Source(SHAPE, (1, 2, 3), "coronal", 2.0)
    found = acquired(measured_with(usual, usual, usual, usual, thick, small, tilted, other), "T1")
    assert found is not None and found.n == 8 and found.spacing_mm == (1, 2, 3) and found.field_mm == (4, 10, 18)
    assert found.spacings_mm == ((1, 2, 3), (1, 2, 5)) and found.planes == {"axial": 7, "coronal": 1}
    assert found.odd == {
        "case-4": ("spacing", "field"),
        "case-5": ("field",),
        "case-6": ("tilt",),
        "case-7": ("plane",),
    }


def test_of_two_cases_neither_is_the_odd_one_and_of_none_nothing_is_known() -> None:
    pair = measured_with(Source(SHAPE, (1, 2, 3), "axial", 0.0), Source(SHAPE, (1, 2, 9), "axial", 0.0))
    found = acquired(pair, "T1")
    assert found is not None and found.odd == {}
    assert acquired(pair, "T2") is None
