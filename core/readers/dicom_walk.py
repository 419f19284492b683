"""Taking a usual DICOM header apart in one pass over its bytes, without turning into values what nobody asks for.

Usual is: a file meta group, explicit little-endian elements of known kinds, lengths that fit. Whatever is unusual is
left to pydicom, which knows the exceptions but takes ten times as long for each element, and a series has 100,000.

Source:
    DICOM PS3.5, 7.1.2 (explicit elements), 7.5.2 (sequences); PS3.10, 7.1 (file meta).
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Collection
from typing import Any, NamedTuple

from pydicom.dataelem import RawDataElement, empty_value_for_VR
from pydicom.tag import BaseTag
from pydicom.valuerep import EXPLICIT_VR_LENGTH_16, EXPLICIT_VR_LENGTH_32

PIXEL_DATA = 0x7FE00008  # where they begin: as floats, or, eight tags on, as whole numbers
MAX_ELEMENTS = 20_000
MAX_DEPTH = 8
META, DATA = 0x00020000, 0x00080000
ITEM, END_OF_ITEM, END_OF_SEQUENCE, UNDEFINED = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD, 0xFFFFFFFF
LONG = frozenset(kind.encode() for kind in EXPLICIT_VR_LENGTH_32)  # whose length takes four bytes
NAMES = {kind.encode(): str(kind.value) for kind in (*EXPLICIT_VR_LENGTH_16, *EXPLICIT_VR_LENGTH_32)}
_start = struct.Struct("<HH2sH").unpack_from
_length = struct.Struct("<L").unpack_from
_item = struct.Struct("<HHL").unpack_from
Content = bytes | mmap.mmap
Elements = dict[int, RawDataElement]


class Walked(NamedTuple):
    """The elements of the file meta, those of the data before the pixel data, and where they end."""

    meta: Elements
    data: Elements
    ends: int


class _UnusualError(Exception):
    """Left to pydicom."""


def walk(content: Content, wanted: Collection[int] | None = None) -> Walked | None:
    """A header taken apart; None where something is unusual.

    Args:
        wanted: tags to take, others are passed over; None takes all.
    """
    if content[128:132] != b"DICM":
        return None
    try:
        meta, place = _elements(content, 132, range(META, META + 0x10000), None)
        data, ends = _elements(content, place, range(DATA, PIXEL_DATA), wanted)
    except (_UnusualError, struct.error):
        return None
    return Walked(meta, data, ends) if data else None


def _elements(
    content: Content, place: int, tags: range, wanted: Collection[int] | None, depth: int = 0
) -> tuple[Elements, int]:
    """The elements up to the first one behind `tags`, and where that one is."""
    found: Elements = {}
    lowest, end = tags.start, len(content)
    for _ in range(MAX_ELEMENTS):
        if place == end and not depth:
            return found, place
        group, number, kind, length = _start(content, place)
        tag = group << 16 | number
        if tag >= tags.stop:
            return found, place
        first = place + 8
        if kind in LONG:
            (length,) = _length(content, first)
            first += 4
        if tag < lowest or kind not in NAMES:
            raise _UnusualError
        place = first + length if length != UNDEFINED else _after_sequence(content, first, kind, depth + 1)
        if place > end:
            raise _UnusualError
        if wanted is None or tag in wanted:
            last = place if length != UNDEFINED else place - 8
            found[tag] = _raw(tag, NAMES[kind], content[first:last])
    raise _UnusualError


def _raw(tag: int, kind: str, value: bytes) -> RawDataElement:
    content: Any = value or empty_value_for_VR(kind, raw=True)
    return RawDataElement(BaseTag(tag), kind, len(value), content, 0, False, True)


def _after_sequence(content: Content, place: int, kind: bytes, depth: int) -> int:
    """Behind the end of a sequence that does not say its length."""
    if kind != b"SQ" or depth > MAX_DEPTH:
        raise _UnusualError
    while True:
        group, number, length = _item(content, place)
        tag = group << 16 | number
        place += 8
        if tag == END_OF_SEQUENCE:
            return place
        if tag != ITEM:
            raise _UnusualError
        place = place + length if length != UNDEFINED else _after_item(content, place, depth)


def _after_item(content: Content, place: int, depth: int) -> int:
    _, place = _elements(content, place, range(END_OF_ITEM), (), depth)
    group, number, _ = _item(content, place)
    if group << 16 | number != END_OF_ITEM:
        raise _UnusualError
    return place + 8
