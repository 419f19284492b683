"""Opening a DICOM file: its whitelisted header, and its pixel data where they are asked for."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from pydicom import uid
from pydicom.dataelem import DataElement, RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset, read_partial
from pydicom.tag import BaseTag
from pydicom.valuerep import AMBIGUOUS_VR, VR

from core.errors import RefusedError, UnreadableImageError
from core.readers.dicom_header import WHITELIST
from core.readers.item import HEADER_BYTES
from core.unpack import MAX_FILES

DEFLATED = uid.DeflatedExplicitVRLittleEndian.encode()
MAX_META, MAX_ELEMENTS = 1 << 20, 20_000
PIXEL_DATA = 0x7FE00010
PLAIN = {  # (implicit, little endian) -> transfer syntax
    (True, True): uid.ImplicitVRLittleEndian,
    (False, True): uid.ExplicitVRLittleEndian,
    (False, False): uid.ExplicitVRBigEndian,
}
MAX_SHARED_BYTES = 1024
MAX_INFLATED = 64 * 1024**2
TRUNCATED = "The DICOM file ends too early: it is cut off. Export it again."
Encoding = tuple[str, ...]
_kept: dict[tuple[object, ...], tuple[Dataset, int]] = {}  # headers that were looked at and are still to be read


def open_dicom(path: Path, pixels: bool) -> Dataset:
    """The whitelisted tags of a file, with its pixel data where asked for.

    A header that was looked at is kept until its pixels are asked for, so that it is taken apart once.

    Raises:
        UnreadableImageError: Damaged, or cut off.
        RefusedError: A deflated file swells beyond the limit.
    """
    with path.open("rb") as stream:
        facts = os.fstat(stream.fileno())
        key = (path, facts.st_ino, facts.st_size, facts.st_mtime_ns)
        kept = _kept.pop(key, None)
        content = stream if kept else _plain(stream)
        try:
            dataset, ends = kept or _header(content)
            if pixels:
                content.seek(ends)
                _add_pixels(dataset, content)
        except (EOFError, OSError, InvalidDicomError) as error:
            raise UnreadableImageError(TRUNCATED, "DICOM-TRUNCATED") from error
        if not pixels and content is stream and ends <= HEADER_BYTES and len(_kept) < MAX_FILES:
            _kept[key] = dataset, ends
    return dataset


def _header(content: BinaryIO) -> tuple[Dataset, int]:
    """The whitelisted tags, and where the pixel data begin."""
    found = read_partial(content, _stop(), force=True, specific_tags=[*WHITELIST])
    is_implicit, is_little = (bool(is_so) for is_so in found.original_encoding)
    shared = {tag: raw and converted(raw, encoding) for tag, raw, encoding in alone(found)}
    dataset = Dataset({tag: element or found.get_item(tag) for tag, element in shared.items()})
    dataset.set_original_encoding(is_implicit, is_little, found.original_character_set)
    dataset.file_meta = found.file_meta
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = PLAIN[is_implicit, is_little]
    return dataset, content.tell()


def alone(dataset: Dataset) -> Iterator[tuple[BaseTag, RawDataElement | None, Encoding]]:
    """Each tag; its element as it lies in the file, where that can be converted without the others; the charset.

    The slices of a series have most of their elements in common: such a one needs to be converted once only.
    """
    charset = dataset.original_character_set
    encoding = (charset,) if isinstance(charset, str) else tuple(charset)
    tags = dataset.keys()  # going over the dataset itself would convert all
    for tag in tags:
        element = dataset.get_item(tag)
        if isinstance(element, RawDataElement) and _is_alone(element):
            yield tag, element._replace(value_tell=0), encoding
        else:
            yield tag, None, encoding


def _is_alone(raw: RawDataElement) -> bool:
    """A private element without a kind needs its creator; a sequence has parts; a long value is not worth keeping."""
    is_known = raw.VR not in (None, VR.UN) or not raw.tag.is_private
    return is_known and raw.VR != VR.SQ and len(raw.value or b"") <= MAX_SHARED_BYTES


@lru_cache(20_000)
def converted(raw: RawDataElement, encoding: Encoding) -> DataElement | None:
    """The element of a raw one; None where it takes others to convert it, or it fails: in its dataset it will, too."""
    try:
        element = convert_raw_data_element(raw, encoding=list(encoding))
    except (ValueError, TypeError, LookupError, NotImplementedError):
        return None
    return None if element.VR in AMBIGUOUS_VR or element.VR == VR.SQ else element


def _stop() -> Callable[[BaseTag, str | None, int], bool]:
    """Where to stop: at the pixel data; and a limit on the number of elements."""
    count = 0

    def stop(tag: BaseTag, vr: str | None, length: int) -> bool:
        nonlocal count
        count += 1
        if count > MAX_ELEMENTS:
            raise UnreadableImageError("The DICOM file has endless elements; it is damaged.", "DICOM-DAMAGED")
        return int(tag) >= PIXEL_DATA

    return stop


def _add_pixels(dataset: Dataset, content: BinaryIO) -> None:
    """The pixel data's element, if it comes next."""
    is_implicit, is_little = (bool(is_so) for is_so in dataset.original_encoding)
    found = read_dataset(content, is_implicit, is_little, stop_when=lambda tag, vr, length: int(tag) != PIXEL_DATA)
    dataset.update(found)


def _plain(stream: BinaryIO) -> BinaryIO:
    """The file itself, or, of a deflated one, what it swells to, which is counted."""
    start_of_data = _end_of_meta(stream)
    stream.seek(0)
    is_deflated = DEFLATED in stream.read(start_of_data)
    stream.seek(0)
    return _inflated(stream, start_of_data) if is_deflated else stream


def _inflated(stream: BinaryIO, start_of_data: int) -> BinaryIO:
    """A deflated file as a plain one."""
    stream.seek(start_of_data)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflater.decompress(stream.read(), MAX_INFLATED)
    except zlib.error as error:
        raise UnreadableImageError("The deflated DICOM file is damaged. Export it again.", "DICOM-DAMAGED") from error
    if inflater.unconsumed_tail:
        raise RefusedError("The deflated file swells beyond 64 MB; export it uncompressed.", "DICOM-BOMB")
    if not inflater.eof:
        raise UnreadableImageError(TRUNCATED, "DICOM-TRUNCATED")
    plain = uid.ExplicitVRLittleEndian.encode() + b"\0"
    start = bytes(128) + b"DICM" + struct.pack("<HH2sH", 2, 0x10, b"UI", len(plain)) + plain
    return BytesIO(start + content)


def _end_of_meta(stream: BinaryIO) -> int:
    """Where the file meta group (always explicit, little endian) ends."""
    place = 132
    while place < MAX_META:
        stream.seek(place)
        head = stream.read(12)
        if len(head) < 8 or head[:2] != b"\x02\x00":
            return place
        long = head[4:6] in (b"OB", b"OW", b"UN", b"UT", b"SQ")
        place += 12 + int(struct.unpack("<I", head[8:12])[0]) if long else 8 + int(struct.unpack("<H", head[6:8])[0])
    raise UnreadableImageError("The start of the DICOM file is damaged.", "DICOM-DAMAGED")
