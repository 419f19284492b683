"""NIfTI-1 and -2: `.nii`, `.nii.gz`, `.hdr` with `.img`. A gzip is read to its trailer, so damage is not unseen."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from core.deidentify import Pseudonym
from core.errors import RefusedError, UnreadableImageError
from core.readers.geometry import check_affine, flips_to_ras, is_sheared, orientation, to_ras
from core.readers.item import MAX_FRAMES, Item, Part, check_size
from core.readers.room import voxels
from core.readers.values import finish
from core.types import Affine, Array, Volume
from core.unpack import MAX_BYTES, check_swelling

CHUNK = 1 << 20
MAX_OFFSET = 64 * 1024**2
MAX_DEFLATE_RATIO = 1032
UNITS_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
HALF = "NII-PAIR"
HALF_WORDS = "This is one half of an .hdr/.img pair, and the other half is not beside it; import both together."
TRUNCATED = "The file ends before the image does: it is cut off. Copy or export it again."
NUMBER_TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"
}  # fmt: skip
REFUSED_TYPES = {
    1: "one-bit", 32: "complex", 128: "colour (RGB)", 1536: "128-bit", 1792: "complex", 2048: "complex",
    2304: "colour (RGBA)",
}  # fmt: skip


@dataclass(frozen=True)
class Header:
    """The facts of a NIfTI header that are used."""

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    offset: int
    slope: float
    intercept: float
    affine: Affine
    warnings: tuple[str, ...]
    frames: int = 1
    is_half: bool = False

    @property
    def frame_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def needed(self) -> int:
        """Where the file of the voxels ends."""
        return self.offset + self.frames * self.frame_bytes


def matches(head: bytes) -> bool:
    """NIfTI's header size in either byte order, with its magic string."""
    return _version(head) is not None


def _version(head: bytes) -> tuple[int, str] | None:
    """(348 or 540, byte order)."""
    for order in "<>":
        size = int.from_bytes(head[:4], "little" if order == "<" else "big")
        if size == 348 and head[344:348] in (b"n+1\0", b"ni1\0"):
            return 348, order
        if size == 540 and head[4:8] in (b"n+2\0", b"ni2\0"):
            return 540, order
    return None


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The file's content, inflated where it is gzipped; damage becomes a sentence."""
    with path.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        try:
            yield cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if zipped else raw
        except EOFError as error:
            raise UnreadableImageError(TRUNCATED, "NII-TRUNCATED") from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise UnreadableImageError(
                "The gzip is damaged (its checksum does not fit its content). Copy or export it again.", "NII-GZIP"
            ) from error


def _read_header(stream: BinaryIO) -> Header:
    head = stream.read(540)
    version = _version(head)
    if version is None or len(head) < version[0]:
        raise UnreadableImageError(TRUNCATED, "NII-TRUNCATED")
    size, order = version
    is_half = head[:size].find(b"ni1\0") == 344 or head[4:8] == b"ni2\0"
    kind: Any = nib.nifti1.Nifti1Header if size == 348 else nib.nifti2.Nifti2Header
    fields: Any = kind(head[:size], endianness=order, check=False)
    shape, frames = _shape([int(n) for n in fields["dim"]])
    dtype = _dtype(int(fields["datatype"]), int(fields["bitpix"]), order)
    check_size(shape, dtype.itemsize, "NII-DIMENSIONS")
    if frames > MAX_FRAMES or frames * math.prod(shape) * dtype.itemsize > MAX_BYTES:
        raise RefusedError("The file takes more than 4 GB, or holds more than 5,000 frames; split it.", "TOO-LARGE")
    slope, intercept = _scaling(float(fields["scl_slope"]), float(fields["scl_inter"]))
    affine, warnings = _geometry(fields)
    warnings += ("ONE-SLICE",) if shape[2] == 1 else ()
    offset = _offset(float(fields["vox_offset"]), 0 if is_half else size + 4)
    return Header(shape, dtype, offset, slope, intercept, affine, warnings, frames, is_half)


def _shape(dim: list[int]) -> tuple[tuple[int, int, int], int]:
    """(I, J, K), and how many of them follow one another."""
    if not 1 <= dim[0] <= 7 or any(n < 1 for n in dim[1 : dim[0] + 1]):
        raise UnreadableImageError("The header's dimensions make no image; the file is damaged.", "NII-DIMENSIONS")
    lengths = dim[1 : dim[0] + 1]
    if len(lengths) < 2:
        raise UnreadableImageError("The file holds a list of numbers, not an image.", "NII-DIMENSIONS")
    i, j, k, *more = [*lengths, 1, 1][: max(3, len(lengths))]
    return (i, j, k), math.prod(more)


def _dtype(code: int, bits: int, order: str) -> np.dtype[Any]:
    if code in REFUSED_TYPES:
        name = "NII-RGB" if code in (128, 2304) else "NII-DATATYPE"
        raise RefusedError(
            f"The voxels are {REFUSED_TYPES[code]} values; one plain number a voxel is needed. "
            "Convert the image first.",
            name,
        )
    if code not in NUMBER_TYPES:
        raise UnreadableImageError("The header names no known kind of number; the file is damaged.", "NII-DATATYPE")
    dtype: np.dtype[Any] = np.dtype(order + NUMBER_TYPES[code])
    if bits != dtype.itemsize * 8:
        raise UnreadableImageError("The header contradicts itself about the size of a voxel.", "NII-DATATYPE")
    return dtype


def _offset(value: float, smallest: int) -> int:
    if value == 0:
        return smallest
    if not math.isfinite(value) or value != int(value) or not smallest <= value <= MAX_OFFSET:
        raise UnreadableImageError("The header points to a wrong place for the image data.", "NII-OFFSET")
    return int(value)


def _scaling(slope: float, intercept: float) -> tuple[float, float]:
    if slope == 0 or math.isnan(slope):
        return 1.0, 0.0
    if not math.isfinite(slope) or not math.isfinite(intercept):
        raise UnreadableImageError("The header's scaling of the values is not a number.", "NII-SCALING")
    return slope, intercept


def _geometry(fields: Any) -> tuple[Affine, tuple[str, ...]]:
    """sform where it is set, else qform, else the voxel sizes alone. In mm, whatever the header's unit."""
    code = int(fields["xyzt_units"]) & 0x07
    if code not in UNITS_MM:
        raise UnreadableImageError("The header names no known unit of length.", "NII-UNITS")
    warnings: list[str] = []
    sform = fields.get_sform() if fields["sform_code"] > 0 else None
    qform = _qform(fields) if fields["qform_code"] > 0 else None
    if sform is not None:
        affine = sform
        if qform is not None and not _same_place(sform, qform, fields["dim"][1:4]):
            warnings.append("NII-FORMS-DISAGREE")
    elif qform is not None:
        affine = qform
    else:
        affine = np.diag([*np.abs(np.asarray(fields["pixdim"][1:4], float)), 1.0])
        warnings.append("NII-NO-ORIENTATION")
    affine = np.diag([UNITS_MM[code]] * 3 + [1.0]) @ np.asarray(affine, float)
    check_affine(affine)
    if is_sheared(affine):
        warnings.append("NII-SHEAR")
    return affine, tuple(warnings)


def _qform(fields: Any) -> Affine:
    spacing = np.asarray(fields["pixdim"][1:4], float)
    if not np.isfinite(spacing).all() or (spacing <= 0).any():
        raise UnreadableImageError("A voxel size in the header is zero or not a number.", "SPACING")
    try:
        return np.asarray(fields.get_qform(), float)
    except (HeaderDataError, ValueError) as error:
        raise UnreadableImageError("The rotation in the header is impossible.", "GEOMETRY") from error


def _same_place(first: Affine, second: Affine, shape: Sequence[int]) -> bool:
    """Whether both matrices put every corner within a tenth of a voxel of each other."""
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], float)
    corners[:, :3] *= np.maximum(np.asarray(shape, float) - 1, 1)
    apart = np.linalg.norm(corners @ (first - second).T, axis=1).max()
    return bool(apart <= 0.1 * np.linalg.norm(first[:3, :3], axis=0).min())


def scan(path: Path, pseudonym: Pseudonym) -> list[Item]:
    """One item; the header alone is read. Half of a pair is refused until its other half is found beside it."""
    with _opened(path) as stream:
        header = _read_header(stream)
        if not header.is_half:
            _check_length(path, header, isinstance(stream, gzip.GzipFile))
    spacing = check_affine(header.affine)
    warnings = (*header.warnings, *(["FRAME-CHOSEN"] if header.frames > 1 else []))
    item = Item("nifti", header.shape, spacing, orientation(header.affine), warnings=warnings, frames=header.frames)
    return [replace(item, fate="rejected", code=HALF, message=HALF_WORDS) if header.is_half else item]


def _check_length(path: Path, header: Header, zipped: bool) -> None:
    """Refuse by arithmetic alone what the file cannot hold."""
    size, needed = path.stat().st_size, header.needed
    if size * (MAX_DEFLATE_RATIO if zipped else 1) < needed:
        raise UnreadableImageError(TRUNCATED, "NII-TRUNCATED")
    if zipped:
        check_swelling(needed, size)
    if not zipped and size > needed:
        raise UnreadableImageError("The file is longer than its header says; one of the two is wrong.", "NII-LENGTH")


def read(parts: Sequence[Part], modality: str) -> Volume:
    """The volume in RAS, its values scaled; of several frames the one that the item names, else the first.

    Args:
        parts: one file, or a header and its image.
    """
    item = parts[0][1]
    with _opened(parts[0][0]) as stream:
        header = _read_header(stream)
    if header.is_half and len(parts) < 2:
        raise RefusedError(HALF_WORDS, HALF)
    frame = max(0, item.frame_index)
    if frame >= header.frames:
        raise UnreadableImageError(f"There is no frame {frame}; the file holds {header.frames}.", "FRAME")
    with _opened(parts[-1][0]) as stream:
        _check_length(parts[-1][0], header, isinstance(stream, gzip.GzipFile))
        stream.seek(header.offset + frame * header.frame_bytes)
        raw = _read_exactly(stream, header.frame_bytes)
        _pass_over(stream, (header.frames - frame - 1) * header.frame_bytes)
        if stream.read(1):  # also takes a gzip to its trailer, where its checksum is
            raise UnreadableImageError(
                "The file is longer than its header says; one of the two is wrong.", "NII-LENGTH"
            )
    warnings = [*header.warnings, *(["FRAME-CHOSEN"] if header.frames > 1 and item.frame_index < 0 else [])]
    stored = np.frombuffer(raw, header.dtype).reshape(header.shape, order="F")
    data, affine = to_ras(_scaled(stored, header), header.affine)
    return finish(data, affine, modality, warnings=warnings)


def _read_exactly(stream: BinaryIO, needed: int) -> NDArray[np.uint8]:
    content = np.empty(needed, np.uint8)  # takes memory only as it is filled
    left = content.data
    while left:
        n = cast(Any, stream).readinto(left[:CHUNK])
        if not n:
            raise UnreadableImageError(TRUNCATED, "NII-TRUNCATED")
        left = left[n:]
    return content


def _pass_over(stream: BinaryIO, needed: int) -> None:
    while needed > 0:
        piece = stream.read(min(CHUNK, needed))
        if not piece:
            raise UnreadableImageError(TRUNCATED, "NII-TRUNCATED")
        needed -= len(piece)


def _scaled(stored: NDArray[Any], header: Header) -> Array:
    """The values, written backwards along the axes that will be turned: turning costs no copy then."""
    slope, intercept = header.slope, header.intercept
    flips = flips_to_ras(header.affine)
    data = voxels(stored.shape[::-1]).T[flips]
    with np.errstate(over="ignore", invalid="ignore"):  # what does not fit becomes infinite, and is refused later
        for k in range(stored.shape[2]):
            plane = stored[:, :, k]
            scaled = plane if (slope, intercept) == (1.0, 0.0) else plane.astype(np.float64) * slope + intercept
            data[:, :, k] = scaled
    return data
