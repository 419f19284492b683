"""NumPy arrays and pictures: values, places, colour, and refusal of what is no image."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.errors import UserError
from core.readers.item import Item
from core.readers.registry import READERS, scan_file
from core.types import Volume

VOLUME = np.arange(4 * 5 * 6, dtype="f4").reshape(4, 5, 6) + 30


def read(path: Path, part: int = 0, stack: str = "", modality: str = "T1") -> Volume:
    item = scan_file(path, str)[part]
    values = item.to_json() | {"stack": stack}
    return READERS[item.reader].read([(path, Item.from_json(values))], modality)


def code_of(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read(path)
    return caught.value.code


@pytest.mark.parametrize(
    "array", [VOLUME, np.asfortranarray(VOLUME), VOLUME.astype(">i2"), VOLUME[None], VOLUME[..., None]]
)
def test_an_array_of_three_axes_is_a_volume_as_it_is(array, tmp_path):
    np.save(tmp_path / "x.npy", array)
    volume = read(tmp_path / "x.npy")
    np.testing.assert_array_equal(volume.data, VOLUME)
    np.testing.assert_array_equal(volume.affine, np.eye(4))
    assert volume.warnings == ("NO-SPACING", "NO-AXES")


def picture_value(volume: Volume, row: int, column: int) -> float:
    """A picture's rows run to posterior, its columns to the patient's left, at 1 mm."""
    i, j, k = np.rint(np.linalg.inv(volume.affine) @ [-column, -row, 0, 1])[:3].astype(int)
    return float(volume.data[i, j, k])


def test_an_array_of_two_axes_is_a_picture(tmp_path):
    np.save(tmp_path / "x.npy", VOLUME[0])
    volume = read(tmp_path / "x.npy")
    assert volume.data.shape == (6, 5, 1)
    assert picture_value(volume, 4, 1) == VOLUME[0, 4, 1]


def test_pictures_along_the_first_axis_become_slices(tmp_path):
    np.save(tmp_path / "x.npy", VOLUME)
    volume = read(tmp_path / "x.npy", stack="images")
    assert volume.data.shape == (6, 5, 4)
    np.testing.assert_array_equal(volume.data[::-1, ::-1, 2].T, VOLUME[2])


def test_flat_rows_become_square_pictures_and_say_so(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(27.0).reshape(3, 9))
    volume = read(tmp_path / "x.npy", stack="images")
    assert volume.data.shape == (3, 3, 3)
    assert "FLAT-RESHAPED" in volume.warnings


def test_each_array_of_an_archive_is_an_image(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", T1=VOLUME, T2=VOLUME * 2, affine=np.eye(4), age=np.float64(3))
    items = scan_file(tmp_path / "x.npz", str)
    assert [(item.name, item.fate) for item in items] == [
        ("T1", "accepted"), ("T2", "accepted"), ("affine", "ignored"), ("age", "ignored"),
    ]  # fmt: skip
    np.testing.assert_array_equal(read(tmp_path / "x.npz", part=1).data, VOLUME * 2)


@pytest.mark.parametrize(
    ("array", "code"),
    [
        (np.array([[{"a": 1}]], dtype=object), "NPY-OBJECT"),
        (VOLUME.astype("c8"), "NPY-DTYPE"),
        (np.array([["a"]]), "NPY-DTYPE"),
        (np.zeros(3, [("a", "f4")]), "NPY-DTYPE"),
        (np.arange(5.0), "SHAPE"),
        (np.zeros((3, 0, 4)), "NPY-SHAPE"),
        (np.ones((3, 4, 5)), "CONSTANT"),
        (np.random.default_rng(0).random((2, 3, 4, 5)), "SHAPE"),
    ],
)
def test_what_is_no_image_is_refused_by_name(array, code, tmp_path):
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    assert code_of(tmp_path / "x.npy") == code


def header(shape: str) -> bytes:
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize(
    ("shape", "code"),
    [
        ("(16000, 16000, 16000)", "TOO-LARGE"),
        ("(99999999999999999999, 2)", "NPY-SHAPE"),
        ("(-1, 4)", "NPY-SHAPE"),
        ("(100, 100, 100)", "NPY-TRUNCATED"),
        ("__import__('os')", "NPY-HEADER"),
    ],
)
def test_a_header_that_asks_for_too_much_is_refused_without_allocating(shape, code, tmp_path):
    (tmp_path / "x.npy").write_bytes(header(shape) + bytes(64))
    assert code_of(tmp_path / "x.npy") == code


def test_an_array_that_is_longer_than_it_says_is_refused(tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, VOLUME)
    (tmp_path / "x.npy").write_bytes(buffer.getvalue() + b"1")
    assert code_of(tmp_path / "x.npy") == "NPY-LENGTH"


def test_a_member_of_an_archive_may_lie_about_nothing(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("T1.npy", header("(100, 100, 100)"))
    assert code_of(tmp_path / "x.npz") == "NPY-TRUNCATED"


@pytest.mark.parametrize("depth", ["u1", "u2"])
def test_a_grey_picture_keeps_its_values(depth, tmp_path):
    values = (VOLUME[0] * (1 if depth == "u1" else 500)).astype(depth)
    Image.fromarray(values).save(tmp_path / "x.png")
    volume = read(tmp_path / "x.png")
    assert volume.data.shape == (6, 5, 1)
    assert picture_value(volume, 3, 2) == values[3, 2]


def test_equal_channels_are_grey_and_colour_is_said(tmp_path):
    grey = VOLUME[0].astype("u1")
    Image.fromarray(np.stack([grey] * 3, axis=2)).save(tmp_path / "x.png")
    volume = read(tmp_path / "x.png")
    assert picture_value(volume, 1, 2) == grey[1, 2]
    assert "PSEUDO-COLOUR" not in volume.warnings
    Image.fromarray(np.stack([grey, grey + 9, grey], axis=2)).save(tmp_path / "x.png")
    volume = read(tmp_path / "x.png")
    assert picture_value(volume, 1, 2) == pytest.approx(grey[1, 2] + 9 * 0.587, abs=1e-3)
    assert "PSEUDO-COLOUR" in volume.warnings


def test_a_cut_picture_is_refused(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), "u1")
    for name in ("x.png", "x.jpg"):
        Image.fromarray(noise).save(tmp_path / name)
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:1500])
        assert code_of(tmp_path / name) == "PICTURE-DAMAGED"


def test_a_picture_that_promises_gigabytes_is_refused_at_once(tmp_path):
    Image.fromarray(VOLUME[0].astype("u1")).save(tmp_path / "x.png")
    content = bytearray((tmp_path / "x.png").read_bytes())
    content[16:24] = struct.pack(">II", 60_000, 60_000)
    import zlib

    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "x.png").write_bytes(content)
    assert code_of(tmp_path / "x.png") == "PICTURE-SIZE"


@pytest.mark.parametrize(
    ("content", "code", "word"),
    [
        (b"", "EMPTY", "empty"),
        (b"%PDF-1.7 ...", "NOT-AN-IMAGE", "PDF"),
        (b"GIF89a" + bytes(99), "NOT-AN-IMAGE", "GIF"),
        (b"\x80\x04\x95" + bytes(99), "NOT-AN-IMAGE", "pickle"),
        (b"hello, world", "NOT-AN-IMAGE", "text"),
        (bytes(range(7, 99)), "NOT-AN-IMAGE", "unknown"),
        (struct.pack("<i", 348) + bytes(344), "ANALYZE", "Analyze"),
        (bytes(128) + b"DICM" + bytes(99), "DICOM-DAMAGED", "DICOM"),
    ],
)
def test_anything_else_is_refused_for_what_it_is_whatever_its_name(content, code, word, tmp_path):
    (tmp_path / "T1.nii").write_bytes(content)
    with pytest.raises(UserError, match=word) as caught:
        scan_file(tmp_path / "T1.nii", str)
    assert caught.value.code == code
