"""Files that swell when they are opened: refused within three seconds of work, with little memory."""

from __future__ import annotations

import gzip
import io
import json
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hostile.nifti_files import image
from tests.hostile.other_files import npy_header

GROWTH_MB, SECONDS = 200, 3.0
SCRIPT = """
import json, os, resource, sys
from pathlib import Path
from core.ingest import ingest
from core.workspace import Workspace
began = sum(os.times()[:4])
report = ingest(Workspace(Path(sys.argv[2])), [Path(sys.argv[1])], "c")
peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
rows = [[row["fate"], row["code"]] for row in report["files"]]
print(json.dumps({"s": sum(os.times()[:4]) - began, "mb": sum(peaks) / 1024, "rows": rows}))
"""


def zeros(n: int) -> bytes:
    """`n` zeros as zlib packs them, without holding them."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(n >> 20)) + packer.flush()


def zip_bomb() -> bytes:
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("T1.nii", "w", force_zip64=True) as file,
    ):
        for _ in range(1200):
            file.write(bytes(1 << 20))
    return stream.getvalue()


def nifti_bomb() -> bytes:
    """A header that promises 1.9 GB, and the zeros to match."""
    header = bytearray(image()[:352])
    struct.pack_into("<hhh", header, 42, 1000, 1000, 950)
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    start = packer.compress(bytes(header))
    return start + b"".join(packer.compress(bytes(1 << 20)) for _ in range(1812)) + packer.flush()


def deflated_dicom() -> bytes:
    syntax = b"1.2.840.10008.1.2.1.99"
    meta = struct.pack("<HH2sH", 2, 0x10, b"UI", len(syntax)) + syntax
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    swollen = b"".join(packer.compress(bytes(1 << 20)) for _ in range(1024)) + packer.flush()
    return bytes(128) + b"DICM" + meta + swollen


def array_bomb() -> bytes:
    stream = io.BytesIO()
    header = npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (600, 600, 600), }")
    with (
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("T1.npy", "w", force_zip64=True) as file,
    ):
        file.write(header)
        for _ in range(1728):
            file.write(bytes(1_000_000))
    return stream.getvalue()


BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "zip": ("in.zip", zip_bomb),
    "gzip": ("T1.nii.gz", lambda: zeros(1 << 30)),
    "nifti": ("T1.nii.gz", nifti_bomb),
    "dicom": ("a.dcm", deflated_dicom),
    "array": ("T1.npz", array_bomb),
    "header": ("T1.npy", lambda: npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (9999, 9999, 9999), }")),
}


def measured(path: Path, place: Path) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path), str(place)], capture_output=True, check=True, timeout=120
    )
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What an import of one small good file takes."""
    place = tmp_path_factory.mktemp("usual")
    (place / "T1.nii.gz").write_bytes(gzip.compress(image()))
    return measured(place / "T1.nii.gz", place / "workspace")


@pytest.mark.parametrize(
    "name",
    [name if name in ("zip", "header") else pytest.param(name, marks=pytest.mark.slow) for name in BOMBS],
)
def test_a_bomb_is_refused_soon_and_small(name: str, usual: dict, tmp_path: Path) -> None:
    file, make = BOMBS[name]
    (tmp_path / file).write_bytes(make())
    found = measured(tmp_path / file, tmp_path / "workspace")
    assert [fate for fate, _ in found["rows"]] == ["rejected"] and all(code for _, code in found["rows"])
    assert found["mb"] - usual["mb"] < GROWTH_MB
    assert found["s"] < SECONDS + usual["s"]
