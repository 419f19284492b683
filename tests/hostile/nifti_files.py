"""NIfTI and gzip files that lie, are cut, or are merely awkward."""

from __future__ import annotations

import gzip
import io
import struct
from collections.abc import Iterator

import nibabel as nib
import numpy as np

from tests.hostile.entry import MARK_MM, Entry, one

SHAPE, MARK = (4, 5, 6), (1, 3, 4)


def values(dtype: str = "i2") -> np.ndarray:
    data = np.random.default_rng(1).integers(10, 90, SHAPE).astype(dtype)
    data[MARK] = 99
    return data


def affine() -> np.ndarray:
    matrix = np.diag([-1.0, -2.0, 3.0, 1.0])
    matrix[:3, 3] = MARK_MM - matrix[:3, :3] @ MARK
    return matrix


def image(data: np.ndarray | None = None, kind: type = nib.Nifti1Image, matrix: np.ndarray | None = None) -> bytes:
    return kind(values() if data is None else data, affine() if matrix is None else matrix).to_bytes()


def patched(place: int, layout: str, *numbers: float) -> bytes:
    whole = bytearray(image())
    struct.pack_into("<" + layout, whole, place, *numbers)
    return bytes(whole)


LYING_HEADERS = {  # name -> place, layout, numbers, codes
    "no-axes": (40, "h", (0,), {"NII-DIMENSIONS"}),
    "eight-axes": (40, "h", (8,), {"NII-DIMENSIONS"}),
    "negative-axis": (42, "h", (-4,), {"NII-DIMENSIONS"}),
    "empty-axis": (44, "h", (0,), {"NII-DIMENSIONS"}),
    "huge-axes": (42, "hhh", (32767, 32767, 32767), {"NII-DIMENSIONS", "TOO-LARGE"}),
    "large-axis": (42, "h", (4000,), {"NII-TRUNCATED"}),
    "one-axis": (40, "h", (1,), {"NII-DIMENSIONS"}),
    "unknown-type": (70, "h", (3,), {"NII-DATATYPE"}),
    "one-bit": (70, "hh", (1, 1), {"NII-DATATYPE"}),
    "complex": (70, "hh", (32, 64), {"NII-DATATYPE"}),
    "colour": (70, "hh", (128, 24), {"NII-RGB"}),
    "colour-alpha": (70, "hh", (2304, 32), {"NII-RGB"}),
    "long-double": (70, "hh", (1536, 128), {"NII-DATATYPE"}),
    "bits-lie": (72, "h", (8,), {"NII-DATATYPE"}),
    "offset-inside": (108, "f", (12.0,), {"NII-OFFSET"}),
    "offset-nan": (108, "f", (float("nan"),), {"NII-OFFSET"}),
    "offset-infinite": (108, "f", (float("inf"),), {"NII-OFFSET"}),
    "offset-huge": (108, "f", (1e12,), {"NII-OFFSET"}),
    "offset-half": (108, "f", (352.5,), {"NII-OFFSET"}),
    "offset-beyond": (108, "f", (3000.0,), {"NII-TRUNCATED"}),
    "slope-infinite": (112, "ff", (float("inf"), 0.0), {"NII-SCALING"}),
    "offset-of-values-nan": (112, "ff", (1.0, float("nan")), {"NII-SCALING"}),
    "unit-unknown": (123, "B", (7,), {"NII-UNITS"}),
    "sform-nan": (280, "f", (float("nan"),), {"GEOMETRY"}),
    "sform-zero": (280, "12f", (0.0,) * 12, {"SPACING"}),
    "sform-flat": (280, "12f", (1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0), {"GEOMETRY", "SPACING"}),
    "sform-huge": (280, "f", (1e20,), {"SPACING", "GEOMETRY"}),
    "far-away": (292, "f", (1e9,), {"GEOMETRY"}),
    "no-magic": (344, "4s", (b"xxxx",), {"ANALYZE", "NOT-AN-IMAGE"}),
    "half-of-a-pair": (344, "4s", (b"ni1\0",), {"NII-PAIR"}),
}


def entries() -> Iterator[tuple[str, Entry]]:
    good = image()
    zipped = gzip.compress(good, mtime=0)
    for name, (place, layout, numbers, codes) in LYING_HEADERS.items():
        yield f"nii-{name}", one("T1.nii", patched(place, layout, *numbers), codes)
    for share in (0.0005, 0.1, 0.4, 0.9, 0.999):
        yield (
            f"nii-cut-{share}",
            one("T1.nii", good[: max(1, int(len(good) * share))], {"NII-TRUNCATED", "NOT-AN-IMAGE"}),
        )
        cut = zipped[: max(3, int(len(zipped) * share))]
        yield f"gz-cut-{share}", one("T1.nii.gz", cut, {"NII-TRUNCATED", "NII-GZIP", "NOT-AN-IMAGE"})
    for name, at in (("crc", -8), ("size", -4), ("start", 12), ("middle", len(zipped) // 2)):
        flipped = bytearray(zipped)
        flipped[at] ^= 0x5A
        codes = {"NII-GZIP", "NII-TRUNCATED", "NOT-AN-IMAGE", "NII-DIMENSIONS", "NII-DATATYPE"}
        yield f"gz-flipped-{name}", one("T1.nii.gz", bytes(flipped), codes)
    yield "nii-longer", one("T1.nii", good + bytes(50), {"NII-LENGTH"})
    yield "gz-longer", one("T1.nii.gz", gzip.compress(good + bytes(50)), {"NII-LENGTH"})
    yield "gz-of-gz", one("T1.nii.gz", gzip.compress(zipped), {"NOT-AN-IMAGE"})
    yield "gz-garbage-behind", one("T1.nii.gz", zipped + b"garbage", {"NII-GZIP"})
    yield "gz-bomb", one("T1.nii.gz", gzip.compress(bytes(80_000_000), 9), {"NOT-AN-IMAGE"})
    yield "constant", one("T1.nii", image(np.full(SHAPE, 7, "i2")), {"CONSTANT"})
    nan = values("f4")
    yield "all-nan", one("T1.nii", image(np.full_like(nan, np.nan)), {"NON-FINITE"})
    nan[0, 0, 0] = np.nan
    yield "one-nan", Entry({"T1.nii": image(nan)}, {"NON-FINITE-REPLACED"}, True)
    yield "ct-range", one("CT.nii", image(values("f4") * 1e6), {"CT-RANGE"})
    yield from _awkward(good, zipped)


def _awkward(good: bytes, zipped: bytes) -> Iterator[tuple[str, Entry]]:
    """Unusual, and right."""
    yield "good", Entry({"T1.nii": good}, {""}, True)
    yield "good-gz", Entry({"T1.nii.gz": zipped}, {""}, True)
    yield "gz-under-another-name", Entry({"T1.nii": zipped}, {""}, True)
    yield "gz-two-members", Entry({"T1.nii.gz": gzip.compress(good[:400]) + gzip.compress(good[400:])}, {""}, True)
    yield "nifti-2", Entry({"T1.nii": image(kind=nib.Nifti2Image)}, {""}, True)
    for dtype in ("u1", "i1", "u2", "i4", "u4", "f4", "f8"):
        yield f"type-{dtype}", Entry({"T1.nii": image(values(dtype))}, {""}, True)
    swapped = nib.Nifti1Image(values(">i2"), affine(), header=nib.Nifti1Header(endianness=">"))
    yield "big-endian", Entry({"T1.nii": swapped.to_bytes()}, {""}, True)
    frames = np.stack([values(), values() + 1], axis=3)
    yield "four-axes", Entry({"T1.nii": image(frames)}, {"FRAME-CHOSEN"}, True)
    yield "trailing-ones", Entry({"T1.nii": image(values()[..., None, None])}, {""}, True)
    metres = bytearray(image(matrix=np.diag([1e-3, 1e-3, 1e-3, 1.0]) @ affine()))
    metres[123] = 1
    yield "metres", Entry({"T1.nii": bytes(metres)}, {""}, True)
    sheared = affine()
    sheared[0, 1] = 0.5
    sheared[:3, 3] = MARK_MM - sheared[:3, :3] @ MARK
    yield "sheared", Entry({"T1.nii": image(matrix=sheared)}, {"NII-SHEAR", "NII-FORMS-DISAGREE"}, True)
    bare = bytearray(good)
    bare[252:256] = bytes(4)
    yield "no-orientation", Entry({"T1.nii": bytes(bare)}, {"NII-NO-ORIENTATION"})
    pair = nib.Nifti1Pair(values(), affine())
    files = nib.Nifti1Pair.make_file_map()
    for part in files.values():
        part.fileobj = io.BytesIO()
    pair.to_file_map(files)
    halves = {kind: part.fileobj.getvalue() for kind, part in files.items()}
    yield "pair", Entry({"T1.hdr": halves["header"], "T1.img": halves["image"]}, {""}, True)
