"""Ways in which DICOM keeps values: floats, 32 bits, one bit, colour planes, enhanced CT."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from core.cohort import Cohort
from core.ingest import ingest
from core.readers import dicom
from core.readers.registry import scan_file
from core.types import Volume
from core.workspace import Workspace
from tests.in_process import InProcess
from tests.readers.dicom_files import AXIAL, phantom, slice_dataset, write

COMES_WITH_PYDICOM = Path(pydicom.__file__).parent / "data" / "test_files"
LUMINANCE = np.array([0.299, 0.587, 0.114])
N = 4


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.ingest.Decoder", InProcess)


def imported(workspace: Workspace, path: Path) -> Volume:
    report = ingest(workspace, [path], "c")
    assert report["cases"], report["files"]
    ((modality, _),) = report["cases"][0]["volumes"].items()
    return Cohort.open(workspace, "c").read_volume(report["cases"][0]["id"], modality)


def picture(path: Path) -> np.ndarray:
    """(rows, columns) of a file's first frame, as somebody who looked at it lets it in."""
    item = replace(scan_file(path, lambda text: text)[0], position=(), axes=(), reviewed=True, fate="accepted")
    item = replace(item, frame_index=0 if item.frames > 1 else -1)
    return dicom.read([(path, item)], "image").data[::-1, ::-1, 0].T


def as_stored(pixels: np.ndarray) -> np.ndarray:
    """Axial slices from the feet up, as RAS has them."""
    return pixels.transpose(1, 0, 2)[::-1, ::-1].astype(np.float32)


def series(folder: Path, pixels: np.ndarray, modality: str = "MR", **tags: Any) -> Path:
    name = uid.generate_uid()
    for k in range(pixels.shape[2]):
        ds = slice_dataset(phantom()[:, :, k], (0, 0, 3.0 * k), name, modality, **tags)
        put(ds, pixels[:, :, k])
        write(ds, folder / f"{k}.dcm")
    return folder


def put(ds: Dataset, values: np.ndarray) -> None:
    """Values in 32 or 64 bits, floats in the elements that are theirs."""
    bits = 8 * values.dtype.itemsize
    ds.BitsAllocated = bits
    if values.dtype.kind == "f":
        for tag in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
            delattr(ds, tag)
        name = "FloatPixelData" if bits == 32 else "DoubleFloatPixelData"
        setattr(ds, name, values.astype(f"<f{bits // 8}").tobytes())
        return
    ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits - 1, int(values.dtype.kind == "i")
    ds.PixelData = values.astype(f"<{values.dtype.kind}4").tobytes()


@pytest.mark.parametrize("kind", ["f4", "f8", "i4", "u4"])
def test_floats_and_long_numbers_are_read(kind: str, workspace: Workspace, tmp_path: Path) -> None:
    pixels = (phantom()[:, :, :N].astype("f8") * 1000.25 - (0 if kind == "u4" else 90_000)).astype(kind)
    volume = imported(workspace, series(tmp_path / "s", pixels))
    np.testing.assert_allclose(volume.data, as_stored(pixels), rtol=1e-6)


def test_floats_are_rescaled_without_losing_their_fraction(workspace: Workspace, tmp_path: Path) -> None:
    pixels = phantom()[:, :, :N].astype("f4") / 7
    volume = imported(workspace, series(tmp_path / "s", pixels, RescaleSlope=2.0, RescaleIntercept=0.5))
    np.testing.assert_allclose(volume.data, as_stored(pixels) * 2 + 0.5, rtol=1e-6)


def test_floats_that_are_cut_off_are_refused(workspace: Workspace, tmp_path: Path) -> None:
    path = series(tmp_path / "s", phantom()[:, :, :1].astype("f4")) / "0.dcm"
    path.write_bytes(path.read_bytes()[:-8])
    assert ingest(workspace, [path], "c")["files"][0]["code"] == "DICOM-TRUNCATED"


def test_one_bit_a_pixel_is_unpacked(tmp_path: Path) -> None:
    bits = (np.arange(40).reshape(5, 8) % 3 == 0).astype("u1")
    ds = slice_dataset(np.zeros((5, 8), "u2"), (0, 0, 0), "1.2.3", "OT")
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = uid.MultiFrameSingleBitSecondaryCaptureImageStorage
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 1, 1, 0
    ds.NumberOfFrames, ds.PixelData = 1, np.packbits(bits.ravel(), bitorder="little").tobytes() + b"\0"
    np.testing.assert_array_equal(picture(write(ds, tmp_path / "a.dcm")), bits)


@pytest.mark.parametrize("planar", [0, 1])
def test_colour_planes_and_colour_pixels_give_one_brightness(planar: int, tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (5, 4, 3)).astype("u1")
    ds = slice_dataset(np.zeros((5, 4), "u2"), (0, 0, 0), "1.2.3", "OT")
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", planar
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.PixelData = (np.moveaxis(rgb, 2, 0) if planar else rgb).tobytes()
    np.testing.assert_allclose(picture(write(ds, tmp_path / "a.dcm")), rgb @ LUMINANCE, atol=0.51)


@pytest.mark.parametrize(
    "name",
    [
        "SC_ybr_full_422_uncompressed.dcm", "SC_rgb_rle_16bit.dcm", "SC_rgb_rle_32bit.dcm", "SC_rgb_jls_lossy_line.dcm",
        "SC_rgb_dcmtk_+eb+cy+np.dcm", "SC_rgb_dcmtk_+eb+cy+s2.dcm", "examples_rgb_color.dcm", "SC_rgb_small_odd.dcm",
    ],
)  # fmt: skip
def test_colours_of_every_kind_become_the_brightness_that_pydicom_sees(name: str) -> None:
    expected = pydicom.pixels.pixel_array(COMES_WITH_PYDICOM / name, index=0) @ LUMINANCE
    np.testing.assert_allclose(picture(COMES_WITH_PYDICOM / name), expected, atol=1.0, rtol=1e-6)


def test_a_film_in_ybr_gives_its_frames(tmp_path: Path) -> None:
    path = COMES_WITH_PYDICOM / "examples_ybr_color.dcm"
    expected = pydicom.pixels.pixel_array(path, index=0) @ LUMINANCE
    np.testing.assert_allclose(picture(path), expected, atol=1.0)


def test_enhanced_ct_is_in_hounsfield_units_by_its_groups(workspace: Workspace, tmp_path: Path) -> None:
    pixels = phantom()[:, :, :N]
    ds = slice_dataset(pixels[:, :, 0], (0, 0, 0), uid.generate_uid(), "CT", BurnedInAnnotation="NO")
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = uid.EnhancedCTImageStorage
    for tag in (
        "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "RescaleSlope",
        "RescaleIntercept",
    ):  # fmt: skip
        delattr(ds, tag)
    ds.NumberOfFrames, ds.PixelData = N, np.moveaxis(pixels, 2, 0).astype("<u2").tobytes()
    shared, measures, plane, value = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [2.0, 1.0], 3.0
    plane.ImageOrientationPatient = list(AXIAL)
    value.RescaleSlope, value.RescaleIntercept, value.RescaleType = 2.0, -1024.0, "HU"
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = DicomSequence([measures]), DicomSequence([plane])
    shared.PixelValueTransformationSequence = DicomSequence([value])
    ds.SharedFunctionalGroupsSequence = DicomSequence([shared])
    groups = []
    for k in range(N):
        group, place = Dataset(), Dataset()
        place.ImagePositionPatient = [0, 0, 3.0 * k]
        group.PlanePositionSequence = DicomSequence([place])
        groups.append(group)
    ds.PerFrameFunctionalGroupsSequence = DicomSequence(groups)
    volume = imported(workspace, write(ds, tmp_path / "e.dcm"))
    assert volume.unit == "HU" and volume.spacing_mm == (1.0, 2.0, 3.0)
    np.testing.assert_array_equal(volume.data, as_stored(pixels.astype("f8") * 2 - 1024))
