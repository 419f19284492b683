"""Compressed frames, checked by arithmetic before anything decodes them: sizes, segments, tiles, the end."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from pydicom import uid

from core.errors import UnreadableImageError
from core.readers import jpeg2000

TRUNCATED = "The compressed image ends too early: it is cut off. Export it again."
DAMAGED = "The compressed image is damaged. Export it again, uncompressed if that can be chosen."
NOT_FRAME_STARTS = (0xC4, 0xC8, 0xCC)
JPEG_LS_FRAME, SCAN = 0xF7, 0xDA
MAX_PADDING = 16
WITHOUT_LENGTH = range(0xFF30, 0xFF40)
TILE_PART, CODESTREAM_ENDS = b"\xff\x90", b"\xff\xd9"
MAX_TILES = 65_535
RLE_HEADER, MAX_SEGMENTS = 64, 15


@dataclass(frozen=True)
class Shape:
    """What the header says of a frame."""

    rows: int
    columns: int
    samples: int
    bits: int


def check(data: bytes, syntax: str, expected: Shape) -> None:
    """Refuse a compressed frame that is not whole, or not of the size that the header says.

    Raises:
        UnreadableImageError: Truncated, damaged, or another size, depth or number of channels than announced.
    """
    if syntax == uid.RLELossless:
        _check_rle(data, expected)
        return
    try:
        found = _jpeg_2000(data) if syntax in jpeg2000.SYNTAXES else _jpeg(data)
    except (struct.error, IndexError) as error:
        raise UnreadableImageError(TRUNCATED, "DICOM-TRUNCATED") from error
    if (found.rows, found.columns) != (expected.rows, expected.columns):
        raise UnreadableImageError("The compressed image has another size than its header says.", "DICOM-SIZE")
    if found.samples != expected.samples or found.bits > expected.bits:
        raise UnreadableImageError("The compressed image has other values than its header says.", "DICOM-BITS")


def _damaged() -> UnreadableImageError:
    return UnreadableImageError(DAMAGED, "DICOM-CODESTREAM")


def _check_end(data: bytes, end: int) -> None:
    """A few bytes may follow: some writers pad with whatever lies there."""
    if end < 0 or end > len(data):
        raise UnreadableImageError(TRUNCATED, "DICOM-TRUNCATED")
    if len(data) - end > MAX_PADDING:
        raise _damaged()


def _check_rle(data: bytes, expected: Shape) -> None:
    """One segment for each byte of a sample, one behind the other.

    Source:
        DICOM PS3.5, annex G.
    """
    if len(data) < RLE_HEADER:
        raise UnreadableImageError(TRUNCATED, "DICOM-TRUNCATED")
    n, *places = struct.unpack("<16I", data[:RLE_HEADER])
    if n != expected.samples * expected.bits // 8 or n > MAX_SEGMENTS:
        raise _damaged()
    used = places[:n]
    if used[0] != RLE_HEADER or any(b <= a for a, b in pairwise(used)):
        raise _damaged()
    if used[-1] >= len(data):
        raise UnreadableImageError(TRUNCATED, "DICOM-TRUNCATED")


def _jpeg(data: bytes) -> Shape:
    """The frame header of a JPEG or JPEG-LS; every marker from the first to the last is looked at.

    Source:
        ITU-T T.81, annex B; ITU-T T.87, annex C.
    """
    found = None
    for marker, place in _segments(data):
        is_frame = (0xC0 <= marker <= 0xCF and marker not in NOT_FRAME_STARTS) or marker == JPEG_LS_FRAME
        if is_frame:
            bits, rows, columns, samples = struct.unpack(">BHHB", data[place + 4 : place + 10])
            found = Shape(rows, columns, samples, 8 if bits <= 8 else 16)
    if found is None:
        raise _damaged()
    return found


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """(marker, place) of each segment; what lies between a scan's header and the next marker is passed over."""
    if data[:2] != b"\xff\xd8":
        raise _damaged()
    place, is_ls = 2, False
    while True:
        while data[place : place + 2] == b"\xff\xff":
            place += 1
        if data[place : place + 1] not in (b"\xff", b""):
            raise _damaged()
        marker = data[place + 1]
        if marker == 0xD9:
            _check_end(data, place + 2)
            return
        is_ls = is_ls or marker == JPEG_LS_FRAME
        yield marker, place
        place += 2 + int(struct.unpack(">H", data[place + 2 : place + 4])[0])
        if marker == SCAN:
            place = _end_of_scan(data, place, is_ls)


_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_AFTER_LS_SCAN = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]", re.DOTALL)


def _end_of_scan(data: bytes, place: int, is_ls: bool) -> int:
    """Where the next marker lies; a byte FF inside of a scan is followed by a stuffed byte, or a bit in JPEG-LS."""
    found = (_AFTER_LS_SCAN if is_ls else _AFTER_SCAN).search(data, place)
    if found is None:
        raise UnreadableImageError(TRUNCATED, "DICOM-TRUNCATED")
    return found.start()


def _jpeg_2000(data: bytes) -> Shape:
    """The size that a JPEG 2000 announces, once its tile-parts follow one another to the very end, none missing.

    Source:
        ISO/IEC 15444-1, annex A: SIZ, SOT with Psot.
    """
    data = jpeg2000.codestream(data)
    if not data.startswith(jpeg2000.START):
        raise _damaged()
    x1, y1, x0, y0, width, height, tx, ty, samples = struct.unpack(">8IH", data[8:42])
    if struct.unpack(">H", data[4:6])[0] != 38 + 3 * samples or not samples or not (width and height):
        raise _damaged()
    across, down = (x1 - tx + width - 1) // width, (y1 - ty + height - 1) // height
    if not (0 < across * down <= MAX_TILES and x1 > x0 and y1 > y0):
        raise _damaged()
    _check_tiles(data, across * down)
    bits = max((data[42 + 3 * n] & 0x7F) + 1 for n in range(samples))
    return Shape(y1 - y0, x1 - x0, samples, 8 if bits <= 8 else 16 if bits <= 16 else 32)


def _check_tiles(data: bytes, expected: int) -> None:
    place = 2
    while data[place : place + 2] != TILE_PART:
        marker, length = struct.unpack(">HH", data[place : place + 4])
        if not 0xFF01 <= marker <= 0xFFFE or length < 2:
            raise _damaged()
        place += 2 if marker in WITHOUT_LENGTH else 2 + length
    seen = set()
    while data[place : place + 2] == TILE_PART:
        size, tile, length = struct.unpack(">HHI", data[place + 2 : place + 10])
        if size != 10 or tile >= expected or (length and length < 14):
            raise _damaged()
        seen.add(tile)
        place = place + length if length else data.rfind(CODESTREAM_ENDS, place)
    if data[place : place + 2] != CODESTREAM_ENDS or len(seen) != expected:
        raise UnreadableImageError(TRUNCATED, "DICOM-TRUNCATED")
    _check_end(data, place + 2)
