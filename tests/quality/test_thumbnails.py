"""Strips of small pictures: true sizes, sides and slices; a modality that lacks is said."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from core.dataset import Dataset
from core.dataset_writer import DatasetWriter, PreparedCase
from core.display import OUTLINE
from core.quality.thumbnails import GAP_PX, cell_px, draw_strip, make_strips, middle_slice, strip_path
from core.render import PLANES
from core.workspace import Workspace

SHAPE, SPACING = (24, 30, 20), (1.0, 2.0, 3.0)


@pytest.fixture
def marked(workspace: Workspace) -> Dataset:
    """T1 with a bright block on the patient's right; the second case has no T2."""
    image = np.full(SHAPE, 0.1, np.float32)
    image[19:22, 12:18, :] = 1.0
    mask = np.zeros(SHAPE, bool)
    mask[4:20, 5:25, 6:18] = True
    writer = DatasetWriter(workspace, "d")
    for name, modalities in (("c1", ("T1", "T2")), ("c2", ("T1",))):
        arrays = {m: image for m in modalities}
        writer.add(
            PreparedCase(
                name, arrays, dict.fromkeys(arrays, (1.0, 0.0)), dict.fromkeys(arrays, "a.u."), mask,
                np.diag([*SPACING, 1.0]),
            )
        )  # fmt: skip
    return writer.finish("d", {}, simulated=False)


def test_the_middle_slice_halves_the_mask() -> None:
    mask = np.zeros((4, 5, 6), bool)
    mask[1, 1, 1] = mask[2, 2:4, 3] = mask[1:3, 2, 4] = True
    assert (middle_slice(mask, "axial"), middle_slice(mask, "coronal"), middle_slice(mask, "sagittal")) == (3, 2, 2)
    assert middle_slice(np.zeros((4, 5, 6), bool), "coronal") == 2


def test_pictures_are_true_in_millimetres(marked: Dataset) -> None:
    for plane, (across, up) in {"axial": (24, 60), "coronal": (24, 60), "sagittal": (60, 60)}.items():
        width, height = cell_px(marked, plane)
        assert width / height == pytest.approx(across / up, abs=0.02)
        assert draw_strip(marked, "c1", plane).shape == (height, 2 * width + GAP_PX, 3)


def test_the_patients_right_is_on_the_left_unless_turned(marked: Dataset) -> None:
    width, _ = cell_px(marked, "axial")
    for radiological, is_left in ((True, True), (False, False)):
        pane = draw_strip(marked, "c1", "axial", radiological)[:, :width].astype(int)
        white = np.argwhere((pane.min(axis=2) > 200)[30:80])  # below the name, above the lowest letter
        assert (np.median(white[:, 1]) < width / 2) == is_left


def test_the_edge_of_the_mask_is_drawn_and_a_missing_modality_is_dark_with_words(marked: Dataset) -> None:
    width, _ = cell_px(marked, "axial")
    there, lacking = draw_strip(marked, "c1", "axial"), draw_strip(marked, "c2", "axial")
    yellow = (there == OUTLINE).all(axis=2)
    assert yellow[:, :width].any() and yellow[:, width + GAP_PX :].any()
    np.testing.assert_array_equal(lacking[:, :width], there[:, :width])
    assert not (lacking[:, width:] == OUTLINE).all(axis=2).any() and lacking[:, width:].max() < 140


def test_every_view_is_written_once_and_a_side_view_serves_both_conventions(marked: Dataset) -> None:
    make_strips(marked, "c1")
    paths = {strip_path(marked, "c1", plane, side) for plane in PLANES for side in (True, False)}
    assert len(paths) == 5 and all(path.exists() for path in paths)
    assert {path.parent for path in paths} == {marked.folder / "quality" / "strips"}
    picture = Image.open(io.BytesIO(strip_path(marked, "c1", "coronal").read_bytes()))
    assert picture.size == draw_strip(marked, "c1", "coronal").shape[1::-1]
