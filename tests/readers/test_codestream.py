"""Compressed frames: read as other libraries read them when whole, refused when cut, changed or announced wrongly."""

from __future__ import annotations

from pathlib import Path

import gdcm
import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame

from core.errors import UnreadableImageError
from core.readers import jpeg2000
from core.readers.dicom_pixels import frame_values, grey_values
from tests.readers.dicom_files import slice_dataset, write

HONEST = Path(pydicom.__file__).parent / "data" / "test_files"  # files of several encoders that come with pydicom
BY_GDCM = {
    uid.JPEGLosslessSV1: gdcm.TransferSyntax.JPEGLosslessProcess14_1,
    uid.JPEGLossless: gdcm.TransferSyntax.JPEGLosslessProcess14,
}
LOSSLESS = (uid.JPEG2000Lossless, uid.JPEGLSLossless, uid.RLELossless, *BY_GDCM)
N_FLIPS = 40
LEAST_NOTICED = {uid.JPEG2000Lossless: 0.8, uid.JPEGLSLossless: 0.8, uid.JPEGLosslessSV1: 0.1, uid.JPEGLossless: 0.1}


def picture() -> np.ndarray:
    """A smooth 12-bit image with noise, as a scan has."""
    rows, columns = np.mgrid[0:96, 0:80]
    smooth = 1500 + 900 * np.sin(rows / 17.0) * np.cos(columns / 11.0)
    return np.rint(smooth + np.random.default_rng(0).normal(0, 20, smooth.shape)).astype("u2")


def compressed(syntax: str, folder: Path) -> Dataset:
    ds = slice_dataset(picture(), (0, 0, 0), "1.2.826.0.1.9", BitsStored=12, HighBit=11)
    if syntax not in BY_GDCM:
        ds.compress(syntax)
        return ds
    reader = gdcm.ImageReader()
    reader.SetFileName(str(write(ds, folder / "plain.dcm")))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(BY_GDCM[syntax]))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(folder / "packed.dcm"))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return pydicom.dcmread(folder / "packed.dcm")


def replaced(ds: Dataset, data: bytes) -> Dataset:
    ds.PixelData = encapsulate([data])
    return ds


def refusal(ds: Dataset) -> str:
    """The code under which the first frame is refused; "" where it is read."""
    try:
        frame_values(ds, 0)
    except UnreadableImageError as error:
        return error.code
    return ""


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_what_is_whole_is_read_to_the_bit(syntax, tmp_path):
    np.testing.assert_array_equal(frame_values(compressed(syntax, tmp_path), 0), picture())


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize("ending", [b"", b"\xff\xd9"])
def test_what_is_cut_is_refused_even_with_a_new_ending(syntax, ending, tmp_path):
    ds = compressed(syntax, tmp_path)
    data = get_frame(ds.PixelData, 0, number_of_frames=1)
    for share in (0.02, 0.3, 0.7, 0.95):
        code = refusal(replaced(ds, data[: int(len(data) * share)] + ending))
        assert code in ("DICOM-TRUNCATED", "DICOM-CODESTREAM", "DICOM-BITS"), (share, code)


@pytest.mark.parametrize("syntax", LEAST_NOTICED)
def test_most_single_changed_bits_are_noticed(syntax, tmp_path):
    """The formats hold no checksum; what a decoder can notice is refused, and how much that is stands here."""
    ds = compressed(syntax, tmp_path)
    data = get_frame(ds.PixelData, 0, number_of_frames=1)
    noticed = 0
    for seed in range(N_FLIPS):
        rng, changed = np.random.default_rng(seed), bytearray(data)
        changed[int(rng.integers(300, len(data) - 4))] ^= 1 << int(rng.integers(8))
        noticed += bool(refusal(replaced(ds, bytes(changed))))
    assert noticed >= LEAST_NOTICED[syntax] * N_FLIPS


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize(
    ("tags", "codes"),
    [
        ({"Rows": 95}, {"DICOM-SIZE", "DICOM-CODESTREAM"}),
        ({"Columns": 96, "Rows": 80}, {"DICOM-SIZE", ""}),
        ({"SamplesPerPixel": 3}, {"DICOM-BITS", "DICOM-CODESTREAM"}),
        ({"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}, {"DICOM-BITS", "DICOM-CODESTREAM"}),
        ({"BitsStored": 10, "HighBit": 9}, {"DICOM-BITS"}),
    ],
)
def test_what_the_header_announces_wrongly_is_refused(syntax, tags, codes, tmp_path):
    ds = compressed(syntax, tmp_path)
    for name, value in tags.items():
        setattr(ds, name, value)
    if "" in codes and syntax != uid.RLELossless:  # run lengths alone know no rows
        codes = codes - {""}
    assert refusal(ds) in codes


@pytest.mark.parametrize(
    "name",
    [
        "693_J2KI.dcm", "J2K_pixelrep_mismatch.dcm", "JPEG2000.dcm", "MR_small_jp2klossless.dcm", "MR_small_RLE.dcm",
        "MR_small_jpeg_ls_lossless.dcm", "JPEGLSNearLossless_08.dcm", "JPEGLSNearLossless_16.dcm",
    ],
)  # fmt: skip
def test_honest_files_of_other_encoders_are_read_as_pydicom_reads_them(name):
    ds = pydicom.dcmread(HONEST / name)
    np.testing.assert_array_equal(frame_values(ds, 0), ds.pixel_array)


@pytest.mark.parametrize(
    "name",
    ["GDCMJ2K_TextGBR.dcm", "examples_jpeg2k.dcm", "SC_rgb_jpeg.dcm", "SC_rgb_jpeg_gdcm.dcm", "SC_rgb_gdcm_KY.dcm"],
)
def test_honest_pictures_in_colour_become_the_brightness_that_pydicom_sees(name):
    ds = pydicom.dcmread(HONEST / name)
    brightness = pydicom.pixels.pixel_array(ds) @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(grey_values(ds, 0, []), brightness, atol=1.0)


@pytest.mark.parametrize("name", ["JPGExtended.dcm", "JPEG-lossy.dcm"])
def test_jpeg_of_twelve_bits_is_read(name):
    """The two values are those that pydicom's own tests expect of libjpeg."""
    values = frame_values(pydicom.dcmread(HONEST / name), 0)
    assert (values[420, 140], values[230, 120]) == (244, 95)


def test_a_codestream_that_openjpeg_cannot_parse_is_refused():
    assert refusal(pydicom.dcmread(HONEST / "JPEG2000-embedded-sequence-delimiter.dcm")) == "DICOM-CODESTREAM"


def test_openjpeg_is_listened_to_on_this_machine():
    assert all(jpeg2000.is_available(syntax) for syntax in jpeg2000.SYNTAXES)
