"""Siemens mosaics: every tile at its place in the patient, or refused by name."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from nibabel.nicom.dicomwrappers import wrapper_from_data
from pydicom.dataset import Dataset

from core.cohort import Cohort
from core.ingest import ingest, scan
from core.readers.choice import Choice
from core.types import Volume
from core.workspace import Workspace
from tests.in_process import InProcess
from tests.readers.dicom_files import AXIAL, phantom, slice_dataset, write

N, ACROSS, ROWS, COLUMNS, STEP_MM = 6, 3, 5, 4, 3.5
COSINE, SINE = np.cos(0.4), np.sin(0.4)
OBLIQUE = (COSINE, SINE, 0.0, -SINE * 0.6, COSINE * 0.6, 0.8)
CENTRE = np.array([7.0, -13.0, 21.0])  # of the first slice
MARK = (4, 1, 2)  # row, column, slice
SHIFTED = ((ACROSS - 1) * COLUMNS / 2, (ACROSS - 1) * ROWS / 2)  # voxels


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.ingest.Decoder", InProcess)


def csa(values: Mapping[str, tuple[str, Sequence[str]]]) -> bytes:
    """A CSA header of the second kind (SV10) with these texts by name, after their VR."""
    content = b"SV10\4\3\2\1" + struct.pack("<II", len(values), 77)
    for name, (vr, texts) in values.items():
        content += struct.pack("<64si4siii", name.encode(), len(texts), vr.encode(), 0, len(texts), 77)
        for text in texts:
            data = text.encode() + b"\0"
            content += struct.pack("<4i", len(data), len(data), 77, len(data)) + data + bytes(-len(data) % 4)
    return content


def slices(change: int = 0) -> np.ndarray:
    """(rows, columns, slices), no two values alike, and one that is the highest."""
    pixels = phantom()[:, :, :N] + change
    pixels[MARK] = 9000
    return pixels


def normal_of(axes: Sequence[float]) -> np.ndarray:
    return np.cross(axes[:3], axes[3:])


def mosaic(
    axes: Sequence[float] = OBLIQUE, side: float = 1.0, n: int = N, pixels: np.ndarray | None = None, **tags: Any
) -> Dataset:
    """A mosaic of slices around CENTRE and on along `side` times the normal; `tags` of None are left away.

    Special tags: `csa` (bytes), `tiles` (the private number).
    """
    pixels = slices() if pixels is None else pixels
    picture = np.zeros((ACROSS * ROWS, ACROSS * COLUMNS), "u2")
    for k in range(pixels.shape[2]):
        row, column = k // ACROSS * ROWS, k % ACROSS * COLUMNS
        picture[row : row + ROWS, column : column + COLUMNS] = pixels[:, :, k]
    half = np.array([COLUMNS - 1, ROWS - 1]) / 2 + SHIFTED  # what the header's position is measured from: the picture
    corner = CENTRE - half[0] * 1.0 * np.asarray(axes[:3]) - half[1] * 2.0 * np.asarray(axes[3:])
    normal = [f"{part:.8f}" for part in side * normal_of(axes)]
    header = csa(
        {
            "AcquisitionMatrixText": ("SH", [f"{ROWS}*{COLUMNS}"]),
            "NumberOfImagesInMosaic": ("US", [str(n)]),
            "SliceNormalVector": ("FD", normal),
        }
    )
    private = {"tiles": n, "csa": header} | {name: tags.pop(name) for name in ("tiles", "csa") if name in tags}
    given = {"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"], "SpacingBetweenSlices": STEP_MM}
    given |= {"ImageOrientationPatient": list(axes), "Manufacturer": "SIEMENS", **tags}
    series = given.pop("series", "1.2.826.0.7")
    ds = slice_dataset(picture, corner.tolist(), series, "MR")
    for name, value in given.items():
        if value is not None:
            setattr(ds, name, value)
        elif name in ds:
            delattr(ds, name)
    if private["tiles"] is not None:
        ds.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", private["tiles"])
    if private["csa"] is not None:
        ds.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", private["csa"])
    return ds


def imported(workspace: Workspace, path: Path, **choice: Any) -> Volume:
    (row,) = scan(workspace, [path])
    ingest(workspace, [path], "c", corrections={row.key: Choice(row.case, row.modality, **choice)})
    cohort = Cohort.open(workspace, "c")
    (case_id,) = cohort.case_ids
    (volume,) = cohort.read(case_id).volumes.values()
    return volume


def marked_mm(volume: Volume) -> np.ndarray:
    """LPS millimetres of the highest voxel."""
    voxel = np.unravel_index(int(np.argmax(volume.data)), volume.data.shape)
    return (volume.affine @ [*voxel, 1])[:3] * [-1, -1, 1]


def place_mm(axes: Sequence[float], side: float, row: int, column: int, k: int) -> np.ndarray:
    """Where a voxel of slice k lies, counted from the first slice's middle."""
    across, down = np.asarray(axes[:3]), np.asarray(axes[3:])
    in_plane = (column - (COLUMNS - 1) / 2) * across + (row - (ROWS - 1) / 2) * 2.0 * down
    return CENTRE + in_plane + k * STEP_MM * side * normal_of(axes)


@pytest.mark.parametrize("axes", [AXIAL, OBLIQUE, (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)])
@pytest.mark.parametrize("side", [1.0, -1.0])
def test_the_marked_voxel_of_a_mosaic_keeps_its_place(
    axes: Sequence[float], side: float, workspace: Workspace, tmp_path: Path
) -> None:
    volume = imported(workspace, write(mosaic(axes, side), tmp_path / "m.dcm"))
    assert sorted(volume.data.shape) == [4, 5, 6] and sorted(volume.spacing_mm) == pytest.approx([1.0, 2.0, STEP_MM])
    np.testing.assert_allclose(marked_mm(volume), place_mm(axes, side, *MARK), atol=1e-4)
    assert not {"MOSAIC-DIRECTION", "MOSAIC-SPACING"} & set(volume.warnings)


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_every_voxel_lies_where_nibabel_puts_it(side: float, workspace: Workspace, tmp_path: Path) -> None:
    path = write(mosaic(OBLIQUE, side), tmp_path / "m.dcm")
    volume = imported(workspace, path)
    wrapper = wrapper_from_data(pydicom.dcmread(path))
    theirs = np.asarray(wrapper.get_data())
    for index in np.ndindex(*theirs.shape):
        lps = (wrapper.affine @ [*index, 1])[:3]
        voxel = np.linalg.inv(volume.affine) @ [-lps[0], -lps[1], lps[2], 1]
        np.testing.assert_allclose(voxel, np.rint(voxel), atol=1e-3)
        i, j, k = np.rint(voxel[:3]).astype(int)
        assert volume.data[i, j, k] == theirs[index]


@pytest.mark.parametrize(
    ("tags", "warning"),
    [
        ({"csa": None}, "MOSAIC-DIRECTION"),
        ({"tiles": None}, ""),
        ({"SpacingBetweenSlices": None, "SliceThickness": STEP_MM}, "MOSAIC-SPACING"),
    ],
)
def test_what_is_taken_instead_is_said(
    tags: dict[str, Any], warning: str, workspace: Workspace, tmp_path: Path
) -> None:
    volume = imported(workspace, write(mosaic(**tags), tmp_path / "m.dcm"))
    np.testing.assert_allclose(marked_mm(volume), place_mm(OBLIQUE, 1.0, *MARK), atol=1e-4)
    assert (warning in volume.warnings) if warning else not volume.warnings


OTHER_SIDE = csa({"NumberOfImagesInMosaic": ("US", [str(N)]), "SliceNormalVector": ("FD", ["1", "0", "0"])})


@pytest.mark.parametrize(
    "tags",
    [
        {"tiles": None, "csa": None},
        {"tiles": 7},
        {"n": 4},
        {"n": 1},
        {"tiles": 60000, "csa": None},
        {"csa": OTHER_SIDE},
        {"csa": b"SV10\4\3\2\1" + b"\xff" * 40},
        {"csa": csa({"NumberOfImagesInMosaic": ("US", [str(N)]), "SliceNormalVector": ("FD", ["nan", "0", "0"])})},
        {"csa": csa({"NumberOfImagesInMosaic": ("US", [str(N)]), "SliceNormalVector": ("FD", ["0", "0"])})},
        {"SpacingBetweenSlices": None, "SliceThickness": None},
        {"ImagePositionPatient": None},
        {"PixelSpacing": None},
        {"NumberOfFrames": 2},
    ],
)
def test_a_mosaic_that_does_not_say_its_geometry_for_sure_is_refused(
    tags: dict[str, Any], workspace: Workspace, tmp_path: Path
) -> None:
    path = write(mosaic(**tags), tmp_path / "m.dcm")
    report = ingest(workspace, [path], "c")
    assert [(row["fate"], row["code"]) for row in report["files"]] == [("rejected", "DICOM-MOSAIC")]
    assert report["cases"] == []


def test_mosaics_one_after_the_other_are_time_points(workspace: Workspace, tmp_path: Path) -> None:
    for n in (2, 0, 1):
        ds = mosaic(pixels=slices(100 * n), AcquisitionTime=f"1000{n:02d}.5", AcquisitionNumber=n + 1)
        write(ds, tmp_path / "s" / f"{n}.dcm")
    (row,) = scan(workspace, [tmp_path / "s"])
    assert (row.frames, row.shape, row.n_files) == (3, (COLUMNS, ROWS, N), 3)
    volume = imported(workspace, tmp_path / "s", frame=2)
    assert sorted(volume.data.ravel()) == sorted(slices(200).ravel())


def test_the_private_header_is_left_behind(workspace: Workspace, tmp_path: Path) -> None:
    secret = csa({"NumberOfImagesInMosaic": ("US", [str(N)]), "PatientComment": ("LO", ["CANARYxCSA"])})
    path = write(mosaic(csa=secret), tmp_path / "m.dcm")
    report = ingest(workspace, [path], "c")
    assert report["cases"]
    stored = b"".join(file.read_bytes() for file in workspace.root.rglob("*") if file.is_file())
    assert b"CANARYxCSA" not in stored and "CANARYxCSA" not in repr(report)
