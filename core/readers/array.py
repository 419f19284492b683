"""NumPy arrays: `.npy`, and `.npz` with one image per array. The header is checked before anything is allocated."""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from core.deidentify import Pseudonym, clean_label
from core.errors import RefusedError, UnreadableImageError, UserError
from core.readers.geometry import picture_to_ras, to_ras
from core.readers.item import HEADER_BYTES, Item, Part, check_size
from core.readers.picture import to_grey
from core.readers.values import finish
from core.types import Affine, Array, Volume
from core.unpack import MAX_BYTES, check_entries, check_swelling

MAGIC = b"\x93NUMPY"
CHUNK = 1 << 20
NOT_IMAGES = ("affine", "spacing", "origin", "direction", "meta", "header")
TRUNCATED = "The file ends before the array does: it is cut off. Save it again."
COLOUR_CHANNELS = (3, 4)


@dataclass(frozen=True)
class Header:
    """What an array's header says."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool

    @property
    def n_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def matches(head: bytes) -> bool:
    """A NumPy array, or a zip (of arrays: other zips have been unpacked before)."""
    return head.startswith((MAGIC, b"PK\x03\x04"))


def scan(path: Path, pseudonym: Pseudonym) -> list[Item]:
    """One item for each array; the headers alone are read."""
    with path.open("rb") as stream:
        if stream.read(6) == MAGIC:
            stream.seek(0)
            header = _read_header(stream)
            if path.stat().st_size - stream.tell() < header.n_bytes:
                raise UnreadableImageError(TRUNCATED, "NPY-TRUNCATED")
            return [_item(header, 0, "")]
    with zipfile.ZipFile(path) as archive, path.open("rb") as raw:
        check_entries(archive.infolist(), raw, archive.start_dir)
        if sum(entry.file_size for entry in archive.infolist()) > MAX_BYTES:
            raise RefusedError("The arrays take more than 4 GB when unpacked.", "ZIP-TOO-LARGE")
        check_swelling(sum(entry.file_size for entry in archive.infolist()), path.stat().st_size)
        return [_scan_member(archive, n, entry) for n, entry in enumerate(archive.infolist())]


def _scan_member(archive: zipfile.ZipFile, n: int, entry: zipfile.ZipInfo) -> Item:
    name = clean_label(entry.filename.removesuffix(".npy"))
    try:
        with archive.open(entry) as stream:
            header = _read_header(stream)
        if len(header.shape) < 2 or name.lower() in NOT_IMAGES:
            message = "A list of numbers or a matrix beside the images; it was not used."
            return Item("array", header.shape, part=n, name=name, fate="ignored", code="NPZ-NOT-USED", message=message)
        return _item(header, n, name)
    except UserError as error:
        return Item("array", (), part=n, name=name, fate="rejected", code=error.code, message=str(error))


def _item(header: Header, part: int, name: str) -> Item:
    n_axes = len(header.shape)
    if n_axes < 2:
        raise RefusedError(f"The array has {n_axes} axes; an image has 2 or 3.", "SHAPE")
    return Item("array", header.shape, (1.0,) * min(n_axes, 3), part=part, name=name, warnings=("NO-SPACING",))


def _read_header(stream: IO[bytes]) -> Header:
    """The header, from at most 64 KB.

    Raises:
        RefusedError: Python objects, text, complex numbers or records instead of plain numbers; too large.
        UnreadableImageError: Damaged.
    """
    try:
        version = np.lib.format.read_magic(stream)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, fortran, dtype = read(stream, max_header_size=HEADER_BYTES)
    except (ValueError, KeyError, SyntaxError, TypeError, RecursionError, zipfile.BadZipFile, zlib.error) as error:
        raise UnreadableImageError("The array's header is damaged, or of an unknown version.", "NPY-HEADER") from error
    if dtype.hasobject:
        raise RefusedError("The array holds Python objects, which could run code; save plain numbers.", "NPY-OBJECT")
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise RefusedError("The array does not hold plain numbers (whole or floating-point).", "NPY-DTYPE")
    check_size(shape, dtype.itemsize, "NPY-SHAPE")
    return Header(tuple(int(n) for n in shape), dtype, bool(fortran))


def read(parts: Sequence[Part], modality: str) -> Volume:
    """One array as a volume: (I, J, K) along R, A, S; a 2-D array is a picture (rows, columns).

    An item whose `stack` is "images" becomes (columns, rows, N): one picture a slice.
    """
    path, item = parts[0]
    return placed(_read_values(path, item.part), item, modality)


def placed(values: NDArray[Any], item: Item, modality: str) -> Volume:
    """An array's values as a volume, lying and scaled as the item says.

    Raises:
        UserError: That cannot be, or does not fit the values.
    """
    if (item.slope, item.intercept) != (1.0, 0.0):
        values = values.astype(np.float64) * item.slope + item.intercept
    is_spaced = item.spacing_mm != (1.0,) * len(item.spacing_mm)
    warnings = [] if is_spaced else ["NO-SPACING"]
    if item.stack == "images":
        data, affine = _stack_pictures(values, warnings)
        return finish(data, affine, modality, warnings=warnings)
    while values.ndim > 3 and 1 in (values.shape[0], values.shape[-1]):
        values = values[0] if values.shape[0] == 1 else values[..., 0]
    if values.ndim == 2 or _is_colour(values):
        spacing = item.spacing_mm if is_spaced else (1.0, 1.0)
        data, affine = picture_to_ras(to_grey(values, warnings), (spacing[0], spacing[1]))
    elif values.ndim == 3:
        data, affine = to_ras(values, _affine(item))
        warnings += [] if item.axes_order else ["NO-AXES"]
    else:
        raise RefusedError(
            f"The array has {values.ndim} axes; an image has 2 or 3. If its first axis counts pictures, have it read "
            "as a stack of pictures (layout images).",
            "SHAPE",
        )
    return finish(data, affine, modality, warnings=warnings)


def _affine(item: Item) -> Affine:
    """Along right, anterior, superior, unless a person said otherwise.

    Raises:
        RefusedError: The letters do not name three axes, or a spacing is missing.
    """
    letters, spacing = item.axes_order or "RAS", item.spacing_mm or (1.0, 1.0, 1.0)
    if sorted("RLAPSI".find(letter) // 2 for letter in letters) != [0, 1, 2]:
        raise RefusedError(
            "The axes are three letters: one of R and L, one of A and P, one of S and I, in the array's order.", "AXES"
        )
    if len(spacing) != 3:
        raise RefusedError("An array of three axes needs three distances between voxels.", "SPACING")
    affine = np.zeros((4, 4))
    affine[3, 3] = 1.0
    for axis, (letter, size) in enumerate(zip(letters, spacing, strict=True)):
        affine["RLAPSI".index(letter) // 2, axis] = size if letter in "RAS" else -size
    return affine


def _is_colour(values: NDArray[Any]) -> bool:
    return values.ndim == 3 and values.dtype == np.uint8 and values.shape[2] in (3, 4) and min(values.shape[:2]) > 4


def _read_values(path: Path, part: int) -> NDArray[Any]:
    with path.open("rb") as stream:
        if stream.read(6) == MAGIC:
            stream.seek(0)
            values = _read_array(stream)
            if stream.tell() != os.fstat(stream.fileno()).st_size:
                raise UnreadableImageError("The file is longer than its header says.", "NPY-LENGTH")
            return values
    try:
        with zipfile.ZipFile(path) as archive, archive.open(archive.infolist()[part]) as member:
            values = _read_array(member)
            if member.read(1):  # also makes the checksum be compared
                raise UnreadableImageError("An array is longer than its header says.", "NPY-LENGTH")
            return values
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise UnreadableImageError("The archive of arrays is damaged; save it again.", "NPZ-DAMAGED") from error


def _read_array(stream: IO[bytes]) -> NDArray[Any]:
    header = _read_header(stream)
    content = bytearray()
    while len(content) < header.n_bytes:
        piece = stream.read(min(CHUNK, header.n_bytes - len(content)))
        if not piece:
            raise UnreadableImageError(TRUNCATED, "NPY-TRUNCATED")
        content += piece
    return np.frombuffer(content, header.dtype).reshape(header.shape, order="F" if header.fortran else "C")


def _stack_pictures(values: NDArray[Any], warnings: list[str]) -> tuple[Array, NDArray[np.float64]]:
    """(N, rows, columns[, channels]) or (N, squares' pixels) -> (columns, rows, N)."""
    if values.ndim == 2:
        side = math.isqrt(values.shape[1])
        if side * side != values.shape[1]:
            raise RefusedError("The rows of the array are not square pictures; save it as (N, rows, columns).", "SHAPE")
        values = values.reshape(len(values), side, side)
        warnings.append("FLAT-RESHAPED")
    if values.ndim == 4 and values.shape[3] in (1, *COLOUR_CHANNELS):
        values = np.stack([to_grey(picture, warnings) for picture in values])
    if values.ndim != 3:
        raise RefusedError("Pictures along the first axis have 2 axes each, or 3 with colour channels last.", "SHAPE")
    first, affine = picture_to_ras(values[0])
    data = np.empty((*first.shape[:2], len(values)), np.float32)
    for n, picture in enumerate(values):
        data[:, :, n] = picture_to_ras(picture)[0][:, :, 0]
    return data, affine
