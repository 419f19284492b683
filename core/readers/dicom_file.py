"""Opening a DICOM file: its whitelisted header, and its pixel data where they are asked for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.valuerep import VR

from core.errors import RefusedError, UnreadableImageError
from core.readers.dicom_header import WHITELIST
from core.readers.dicom_raw import CHARSET, TRUNCATED, converted, is_alone, read_header
from core.readers.dicom_walk import PIXEL_DATA
from core.readers.item import HEADER_BYTES
from core.unpack import MAX_FILES

GZIP = b"\x1f\x8b"
PIXELS = (PIXEL_DATA, 0x7FE00009, 0x7FE00010)  # single floats, double floats, whole numbers
WANTED = frozenset({CHARSET, *(int(tag) for tag in WHITELIST)})
Opened = tuple[Dataset, int, BinaryIO | None]  # whitelisted tags; where the pixel data begin, in the file or inflated
_kept: dict[tuple[object, ...], Opened] = {}  # headers that were looked at and are still to be read


def open_dicom(path: Path, pixels: bool) -> Dataset:
    """The whitelisted tags of a file, with its pixel data where asked for.

    A header that was looked at is kept until its pixels are asked for, so that it is taken apart once.

    Raises:
        UnreadableImageError: Damaged, or cut off.
        RefusedError: A deflated file swells beyond the limit; or the file is gzipped.
    """
    with path.open("rb") as stream:
        facts = os.fstat(stream.fileno())
        key = (path, facts.st_ino, facts.st_size, facts.st_mtime_ns)
        if stream.read(2) == GZIP:
            raise RefusedError("A gzipped DICOM file; unpack it, or put the files into a zip.", "DICOM-GZIP")
        dataset, ends, content = _kept.pop(key) if key in _kept else _whitelisted(stream)
        if pixels:
            _add_pixels(dataset, content or stream, ends)
        elif content is None and ends <= HEADER_BYTES and len(_kept) < MAX_FILES:
            _kept[key] = dataset, ends, None
    return dataset


def _whitelisted(stream: BinaryIO) -> Opened:
    header = read_header(stream, WANTED)
    elements = dict(header.elements)
    for tag, element in header.elements.items():
        known = converted(element, header.encoding) if is_alone(element) else None
        if known is not None and known.VR != VR.SQ:  # a sequence belongs to one dataset
            elements[tag] = known
    return header.dataset(elements), header.ends, None if header.content is stream else header.content


def _add_pixels(dataset: Dataset, content: BinaryIO, place: int) -> None:
    """The pixel data's element, if it comes next."""
    is_implicit, is_little = (bool(is_so) for is_so in dataset.original_encoding)
    content.seek(place)
    try:
        found = read_dataset(content, is_implicit, is_little, stop_when=lambda tag, vr, length: int(tag) not in PIXELS)
    except (EOFError, OSError) as error:
        raise UnreadableImageError(TRUNCATED, "DICOM-TRUNCATED") from error
    dataset.update(found)
