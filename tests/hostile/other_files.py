"""Arrays, pictures, archives and foreign files that lie, are cut, or are merely awkward."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from tests.hostile.entry import Entry, one
from tests.hostile.nifti_files import image

FOREIGN = {
    "pdf": b"%PDF-1.7 text",
    "exe": b"MZ\x90\0" + bytes(60),
    "elf": b"\x7fELF" + bytes(60),
    "sh": b"#!/bin/sh\nrm -rf /",
    "html": b"<!DOCTYPE html><script>alert(1)</script>",
    "svg": b"<?xml version='1.0'?><svg/>",
    "gif": b"GIF89a" + bytes(9),
    "tif": b"II*\0" + bytes(40),
    "bmp": b"BM" + bytes(60),
    "webp": b"RIFF\0\0\0\0WEBPVP8 ",
    "h5": b"\x89HDF\r\n\x1a\n",
    "mat": b"MATLAB 5.0 MAT-file",
    "nrrd": b"NRRD0004\n",
    "mha": b"ObjectType = Image\n",
    "bin": bytes(4096),
    "pkl": pickle.dumps({"a": 1}, 4),
    "rar": b"Rar!\x1a\x07\0",
    "7z": b"7z\xbc\xaf\x27\x1c",
    "bz2": b"BZh91AY",
    "txt": b"hello",
    "xz": b"\xfd7zXZ\0",
    "random": np.random.default_rng(3).bytes(3000),
}


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=array.dtype == object)
    return stream.getvalue()


def npy_header(text: str, content: bytes = b"") -> bytes:
    body = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(body)) + body + content


def npz(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def png(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG")
    return stream.getvalue()


def huge_png() -> bytes:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


def entries() -> Iterator[tuple[str, Entry]]:
    for kind, content in FOREIGN.items():
        yield (
            f"foreign-{kind}",
            one(f"T1.{kind}", content, {"NOT-AN-IMAGE", "DICOM-DAMAGED", "ZIP-DAMAGED", "DOCUMENT"}),
        )
        yield f"disguised-{kind}", one("T1.nii.gz", content, {"NOT-AN-IMAGE", "DICOM-DAMAGED", "ZIP-DAMAGED"})
    for suffix in ("json", "tsv", "bval", "bvec"):
        yield f"sidecar-{suffix}", one(f"T1.{suffix}", b'{"EchoTime": 1}', {"SIDECAR"})
    yield "empty", one("T1.nii", b"", {"EMPTY"})
    yield "one-byte", one("T1.nii", b"\x5c", {"NOT-AN-IMAGE", "NII-TRUNCATED"})
    yield from _arrays()
    yield from _pictures()
    yield from _archives()


def _arrays() -> Iterator[tuple[str, Entry]]:
    good = npy(np.random.default_rng(0).uniform(1, 9, (4, 5, 6)))
    terabyte = "{'descr': '<f8', 'fortran_order': False, 'shape': (9999, 9999, 9999), }"
    code = "{'descr': '<f8', 'fortran_order': False, 'shape': __import__('os').system('true'), }"
    yield "npy-good", Entry({"T1.npy": good}, {"NO-SPACING", "NO-AXES"})
    yield "npy-cut", one("T1.npy", good[:-9], {"NPY-TRUNCATED"})
    yield "npy-longer", one("T1.npy", good + b"x", {"NPY-LENGTH"})
    yield "npy-object", one("T1.npy", npy(np.array([{"a": 1}], dtype=object)), {"NPY-OBJECT", "SHAPE"})
    yield "npy-complex", one("T1.npy", npy(np.ones((4, 5, 6), complex)), {"NPY-DTYPE"})
    yield "npy-text", one("T1.npy", npy(np.full((4, 5), "abc")), {"NPY-DTYPE"})
    yield "npy-record", one("T1.npy", npy(np.zeros((4, 5), [("a", "i4"), ("b", "f4")])), {"NPY-DTYPE"})
    yield "npy-number", one("T1.npy", npy(np.array(3.0)), {"SHAPE", "NPY-SHAPE"})
    yield "npy-list", one("T1.npy", npy(np.arange(9.0)), {"SHAPE", "NPY-SHAPE"})
    yield "npy-five-axes", one("T1.npy", npy(np.random.default_rng(0).uniform(1, 9, (3, 4, 5, 2, 2))), {"SHAPE"})
    yield "npy-terabyte", one("T1.npy", npy_header(terabyte), {"TOO-LARGE", "NPY-SHAPE", "NPY-TRUNCATED"})
    yield "npy-code", one("T1.npy", npy_header(code), {"NPY-HEADER"})
    yield "npy-deep", one("T1.npy", npy_header("(" * 5000), {"NPY-HEADER", "DAMAGED"})
    yield "npy-version-9", one("T1.npy", b"\x93NUMPY\x09\x00" + bytes(60), {"NPY-HEADER"})
    yield "npy-long-header", one("T1.npy", b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31), {"NPY-HEADER"})
    yield "npz-climbing", one("T1.npz", npz({"../T1.npy": good}), {"ZIP-PATH"})
    yield "npz-cut", one("T1.npz", npz({"T1.npy": good})[:-40], {"ZIP-DAMAGED", "NPZ-DAMAGED", "NOT-AN-IMAGE"})
    yield (
        "npz-object",
        one("T1.npz", npz({"T1.npy": npy(np.array([{}], dtype=object))}), {"NPY-OBJECT", "NPZ-NOT-USED"}),
    )
    yield "npz-not-arrays", one("T1.npz", npz({"T1.npy": b"not an array"}), {"NPY-HEADER"})


def _pictures() -> Iterator[tuple[str, Entry]]:
    good = png(np.random.default_rng(0).integers(0, 255, (9, 7), dtype=np.uint8))
    yield "png-good", Entry({"T1.png": good}, {"NO-SPACING"})
    colour = png(np.random.default_rng(0).integers(0, 255, (9, 7, 3), dtype=np.uint8))
    yield "png-colour", Entry({"T1.png": colour}, {"NO-SPACING", "PSEUDO-COLOUR"})
    yield "png-cut", one("T1.png", good[:-30], {"PICTURE-DAMAGED"})
    yield "png-start-only", one("T1.png", good[:20], {"PICTURE-DAMAGED"})
    broken = bytearray(good)
    broken[-20] ^= 0xFF
    yield "png-checksum", one("T1.png", bytes(broken), {"PICTURE-DAMAGED"})
    yield "png-huge", one("T1.png", huge_png(), {"PICTURE-SIZE", "TOO-LARGE", "PICTURE-DAMAGED"})
    yield "png-one-grey", one("T1.png", png(np.full((9, 7), 8, np.uint8)), {"CONSTANT"})
    yield "jpeg-start-only", one("T1.jpg", b"\xff\xd8\xff\xe0" + bytes(30), {"PICTURE-DAMAGED"})


def _archives() -> Iterator[tuple[str, Entry]]:
    good = image()
    for name in ("../x.nii", "/etc/x.nii", "C:\\x.nii", "a/../../x.nii", "..\\x.nii"):
        yield f"zip-path-{len(name)}-{name[0] == '/'}", one("in.zip", npz({name: good}), {"ZIP-PATH"})
    yield "zip-same-name", one("in.zip", npz({"T1.nii": good, "t1.NII": good}), {"ZIP-DUPLICATE"})
    yield "zip-empty", one("in.zip", npz({}), {"ZIP-EMPTY"})
    yield "zip-cut", one("in.zip", npz({"T1.nii": good})[:-30], {"ZIP-DAMAGED"})
    yield "zip-bomb", one("in.zip", npz({"T1.nii": bytes(1_200_000_000 // 8)}), {"NOT-AN-IMAGE", "ZIP-BOMB"})
    link = zipfile.ZipInfo("T1.nii")
    link.external_attr = 0o120777 << 16
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    yield "zip-link", one("in.zip", stream.getvalue(), {"ZIP-LINK"})
    locked = bytearray(npz({"T1.nii": good}))
    locked[6] |= 1
    locked[locked.rfind(b"PK\x01\x02") + 8] |= 1
    yield "zip-locked", one("in.zip", bytes(locked), {"ZIP-ENCRYPTED"})
    nested = npz({"zip-nested-once.zip": npz({"T1.nii": good})})
    yield "zip-nested-once", Entry({"in.zip": nested}, {""}, True)
    yield "zip-nested-twice", one("in.zip", npz({"zip-nested-twice.zip": nested}), {"ZIP-NESTED"})
    wrong = bytearray(npz({"T1.nii": good}))
    wrong[60] ^= 0xFF
    yield "zip-damaged-inside", one("in.zip", bytes(wrong), {"ZIP-DAMAGED", "ZIP-OVERLAP", "ZIP-PATH"})
