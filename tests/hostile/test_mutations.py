"""Good files with random damage: each is read or refused with a code, and the process that decodes lives on."""

from __future__ import annotations

import gzip
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import uid

from core.errors import UserError
from core.readers.decoder import Decoder
from core.types import Volume
from core.unpack import is_archive, unpack
from core.workspace import Workspace
from tests.hostile.dicom_entries import as_bytes, slices
from tests.hostile.nifti_files import image, values
from tests.hostile.other_files import npy, npz
from tests.readers.dicom_files import slice_dataset

CHECKED = ("nii.gz", "png")  # whose format carries a checksum over its content


def compressed(syntax: str) -> bytes:
    pixels = np.random.default_rng(0).integers(30, 900, (64, 72)).astype("u2")
    ds = slice_dataset(pixels, (0, 0, 0), "1.2.826.0.1.5")
    ds.compress(syntax)
    return as_bytes(ds)


def jpeg() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 31), dtype=np.uint8)).save(stream, "JPEG")
    return stream.getvalue()


def png() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 31), dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


GOOD = {
    "nii": image(),
    "nii.gz": gzip.compress(image(), mtime=0),
    "f4.nii": image(values("f4")),
    "npy": npy(values("f8")),
    "npz": npz({"T1.npy": npy(values("f4")), "T2.npy": npy(values("u1"))}),
    "png": png(),
    "jpg": jpeg(),
    "zip": npz({"T1.nii": image()}),
    "dcm": as_bytes(slices("mutated")[0]),
    "rle.dcm": compressed(uid.RLELossless),
    "jls.dcm": compressed(uid.JPEGLSLossless),
    "j2k.dcm": compressed(uid.JPEG2000Lossless),
}


def mutated(good: bytes, rng: np.random.Generator) -> bytes:
    """One of: bits flipped, a run overwritten, cut, doubled, a piece moved, a field of the header set to an extreme."""
    content = bytearray(good)
    kind, at = rng.integers(0, 6), int(rng.integers(0, len(content)))
    length = int(rng.integers(1, 64))
    if kind == 0:
        for place in rng.integers(0, len(content), rng.integers(1, 9)):
            content[place] ^= 1 << int(rng.integers(0, 8))
    elif kind == 1:
        content[at : at + length] = rng.bytes(len(content[at : at + length]))
    elif kind == 2:
        del content[at:]
    elif kind == 3:
        content[at:at] = content[at : at + length]
    elif kind == 4:
        piece = content[at : at + length]
        del content[at : at + length]
        there = int(rng.integers(0, len(content) + 1))
        content[there:there] = piece
    else:
        at = int(rng.integers(0, min(len(content), 600)))
        extreme = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\0\0\0\x80")[int(rng.integers(0, 4))]
        content[at : at + 4] = extreme[: len(content[at : at + 4])]
    return bytes(content)


def volumes(decoder: Decoder, path: Path, folder: Path) -> Iterator[Volume]:
    """Every image in a file, opened as an import would."""
    paths = [path]
    if is_archive(path):
        members = unpack(path, folder)
        for member in members:
            if member.problem is not None:
                raise member.problem
        paths = [member.path for member in members]
    for each in paths:
        for item in decoder.scan(each):
            if item.fate == "accepted":
                yield decoder.read([(each, item)], "T1")


def tally(n: int, workspace: Workspace, folder: Path) -> Counter[str]:
    """What became of `n` mutations, by code."""
    outcomes: Counter[str] = Counter()
    names = sorted(GOOD)
    with Decoder(workspace) as decoder:
        for number in range(n):
            rng = np.random.default_rng(number)
            name = names[number % len(names)]
            content = mutated(GOOD[name], rng)
            path = folder / f"mutation.{name}"
            path.write_bytes(content)
            try:
                found = list(volumes(decoder, path, folder / f"unpacked-{number}"))
            except UserError as error:
                assert error.code and str(error)
                outcomes[error.code] += 1
                continue
            for volume in found:
                assert volume.data.dtype == np.float32 and np.isfinite(volume.data).all()
                assert np.isfinite(volume.affine).all() and min(volume.spacing_mm) > 0
            is_changed = content != GOOD[name] and name in CHECKED
            if is_changed and found:
                whole = list(volumes(decoder, _good(folder, name), folder / f"good-{number}"))
                np.testing.assert_array_equal(found[0].data, whole[0].data)
            outcomes["read" if found else "not read"] += 1
        assert len(list(volumes(decoder, _good(folder, "nii"), folder / "last"))) == 1
    return outcomes


def _good(folder: Path, name: str) -> Path:
    path = folder / f"good.{name}"
    path.write_bytes(GOOD[name])
    return path


def test_what_is_not_mutated_is_read(workspace: Workspace, tmp_path: Path) -> None:
    with Decoder(workspace) as decoder:
        for name in GOOD:
            assert list(volumes(decoder, _good(tmp_path, name), tmp_path / f"out-{name}")), name


@pytest.mark.parametrize("n", [800, pytest.param(5000, marks=pytest.mark.slow)])
def test_damaged_files_are_read_or_refused(n: int, workspace: Workspace, tmp_path: Path) -> None:
    outcomes = tally(n, workspace, tmp_path)
    assert sum(outcomes.values()) == n
    assert len(outcomes) > 20, outcomes
