"""A DICOM header as it lies in the file: its elements before they are turned into values."""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import BinaryIO, TypeGuard

from pydicom import uid
from pydicom.charset import convert_encodings, default_encoding
from pydicom.dataelem import DataElement, RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag
from pydicom.valuerep import AMBIGUOUS_VR, VR

from core.errors import RefusedError, UnreadableImageError
from core.readers.dicom_walk import MAX_ELEMENTS, PIXEL_DATA, walk

DEFLATED = uid.DeflatedExplicitVRLittleEndian.encode()
PLAIN = {  # (implicit, little endian) -> transfer syntax
    (True, True): uid.ImplicitVRLittleEndian,
    (False, True): uid.ExplicitVRLittleEndian,
    (False, False): uid.ExplicitVRBigEndian,
}
UNUSUAL = {uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.DeflatedExplicitVRLittleEndian}
USUAL = frozenset(uid.AllTransferSyntaxes) - UNUSUAL
SYNTAX, CHARSET = 0x00020010, 0x00080005
MAX_META = 1 << 20
MAX_SHARED_BYTES = 4096
MAX_INFLATED = MAX_MAPPED = 64 * 1024**2
TRUNCATED = "The DICOM file ends too early: it is cut off. Export it again."
Encoding = tuple[str, ...]
Element = RawDataElement | DataElement


@dataclass(frozen=True)
class Header:
    """What stands before the pixel data.

    Attributes:
        encoding: of its texts.
        ends: where the pixel data begin.
        content: in which they do: the file, or what a deflated one swells to.
    """

    meta: FileMetaDataset
    elements: Mapping[BaseTag, Element]
    encoding: Encoding
    is_implicit: bool
    is_little: bool
    ends: int
    content: BinaryIO

    def dataset(self, elements: Mapping[BaseTag, Element]) -> Dataset:
        """Elements of this header as pydicom has them: converted when they are asked for."""
        dataset = Dataset(dict(elements))
        dataset.set_original_encoding(self.is_implicit, self.is_little, list(self.encoding))
        dataset.file_meta = self.meta
        return dataset


def read_header(stream: BinaryIO, wanted: frozenset[int] | None = None) -> Header:
    """The header of a file.

    Args:
        wanted: tags to take; None takes all.

    Raises:
        UnreadableImageError: Damaged, or cut off.
        RefusedError: A deflated file swells beyond the limit.
    """
    size = min(os.fstat(stream.fileno()).st_size, MAX_MAPPED)
    with mmap.mmap(stream.fileno(), size, access=mmap.ACCESS_READ) as content:
        walked = walk(content, wanted)
    if walked is not None and _syntax(walked.meta.get(SYNTAX)) in USUAL:
        meta = FileMetaDataset({raw.tag: raw for raw in walked.meta.values()})
        data = {raw.tag: raw for raw in walked.data.values()}
        return Header(meta, data, _encoding(walked.data.get(CHARSET)), False, True, walked.ends, stream)
    try:
        return _by_pydicom(_plain(stream), wanted)
    except (EOFError, OSError, InvalidDicomError) as error:
        raise UnreadableImageError(TRUNCATED, "DICOM-TRUNCATED") from error


def _syntax(raw: RawDataElement | None) -> str:
    return "" if raw is None or raw.value is None else raw.value.rstrip(b"\0 ").decode("ascii", "replace")


@lru_cache(64)
def _encoding(raw: RawDataElement | None) -> Encoding:
    return (default_encoding,) if raw is None else tuple(convert_encodings(convert_raw_data_element(raw).value))


def _by_pydicom(content: BinaryIO, wanted: frozenset[int] | None) -> Header:
    found = read_partial(content, _stop(), force=True, specific_tags=None if wanted is None else [*wanted])
    is_implicit, is_little = (bool(is_so) for is_so in found.original_encoding)
    if "TransferSyntaxUID" not in found.file_meta:
        found.file_meta.TransferSyntaxUID = PLAIN[is_implicit, is_little]
    charset = found.original_character_set
    encoding = (charset,) if isinstance(charset, str) else tuple(charset)
    tags = found.keys()  # going over the dataset itself would convert all
    elements = {tag: found.get_item(tag) for tag in tags}
    return Header(found.file_meta, elements, encoding, is_implicit, is_little, content.tell(), content)


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


def is_alone(element: Element) -> TypeGuard[RawDataElement]:
    """Whether it can be converted without the others of its dataset, and is worth remembering."""
    if not isinstance(element, RawDataElement) or len(element.value or b"") > MAX_SHARED_BYTES:
        return False
    return element.VR not in (None, VR.UN) or not element.tag.is_private  # whose kind depends on who made it


@lru_cache(20_000)
def converted(raw: RawDataElement, encoding: Encoding) -> DataElement | None:
    """The element of one that `is_alone`, once for all slices that have the very same; None where that fails."""
    try:
        element = convert_raw_data_element(raw, encoding=list(encoding))
    except (ValueError, TypeError, LookupError, NotImplementedError):
        return None  # an error where somebody asks its dataset for it
    return None if element.VR in AMBIGUOUS_VR else element


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
