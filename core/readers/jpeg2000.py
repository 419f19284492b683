"""JPEG 2000 with openjpeg's doubts heard: what it notices in damaged data, and decodes nevertheless, is an error here.

The format has no checksum. But each coded block must use up its bytes, and damage makes a block end early or late.
openjpeg looks at that where the header promises "predictable termination"; the promise changes nothing else, so it is
written into the header before decoding. The wrapper that pydicom uses throws warnings away: hence the library itself.

Source: ISO/IEC 15444-1, annexes A (markers), B.12 and D.4 (termination); openjpeg 2.5, openjpeg.h (the functions).
"""

from __future__ import annotations

import ctypes
import re
from ctypes import POINTER, c_char_p, c_int32, c_int64, c_size_t, c_uint16, c_uint32, c_void_p
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from openjpeg.utils import decode_pixel_data
from pydicom import uid
from pydicom.pixels.decoders.base import DecodeRunner

SYNTAXES = (uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)
DECODER_DEPENDENCIES = {syntax: ("pylibjpeg-openjpeg>=2.6",) for syntax in SYNTAXES}
PLAIN_CODESTREAM = 0
START = b"\xff\x4f\xff\x51"
PARAMETERS_BYTES = 1 << 15  # more than opj_dparameters_t takes
STREAM_BYTES = 1 << 20
PREDICTABLE, BYPASS, HIGH_THROUGHPUT = 0x10, 0x01, 0x40  # styles of a coded block
TOLERANCE_BYTES = 8  # honest encoders end a block within five bytes of what is read
HARMLESS = re.compile(r"Psot|unknown marker|Unknown marker", re.IGNORECASE)
_ENDS = re.compile(r"PTERM check failure: (\d+) ")

_MESSAGE = ctypes.CFUNCTYPE(None, c_char_p, c_void_p)
_READ = ctypes.CFUNCTYPE(c_size_t, c_void_p, c_size_t, c_void_p)
_SKIP = ctypes.CFUNCTYPE(c_int64, c_int64, c_void_p)
_SEEK = ctypes.CFUNCTYPE(c_int32, c_int64, c_void_p)
NOTHING_LEFT = c_size_t(-1).value


class _Component(ctypes.Structure):
    _fields_ = (
        *((name, c_uint32) for name in ("dx", "dy", "w", "h", "x0", "y0", "prec", "bpp", "sgnd", "resno", "factor")),
        ("data", POINTER(c_int32)),
        ("alpha", c_uint16),
    )


class _Image(ctypes.Structure):
    _fields_ = (
        *((name, c_uint32) for name in ("x0", "y0", "x1", "y1", "numcomps")),
        ("color_space", c_int32),
        ("comps", POINTER(_Component)),
    )


def _load() -> Any:
    """openjpeg as it lies inside pydicom's wrapper; None where a build hides it."""
    try:
        import _openjpeg  # type: ignore[import-not-found]

        library = ctypes.CDLL(_openjpeg.__file__)
        library.opj_create_decompress.restype = library.opj_stream_create.restype = c_void_p
        library.opj_decoder_set_strict_mode.restype = c_int32
    except (ImportError, OSError, AttributeError):
        return None
    return library


_LIBRARY = _load()


def is_available(syntax: str) -> bool:
    """What pydicom asks of a plugin."""
    return _LIBRARY is not None and syntax in SYNTAXES


def decode_frame(source: bytes, runner: DecodeRunner) -> bytes:
    """A pydicom plugin: the samples of one frame, pixel after pixel, in the smallest whole number that holds them.

    Raises:
        ValueError: The codestream is damaged.
    """
    components = decode(codestream(source))
    if not source.startswith(START) and len(components) > 1:
        return bytes(decode_pixel_data(source, version=2, **runner.options))  # the boxes say which colours are meant
    precision = max(prec for _, prec, _ in components)
    size = 1 if precision <= 8 else 2 if precision <= 16 else 4
    runner.set_option("bits_allocated", 8 * size)
    if runner.photometric_interpretation in ("YBR_ICT", "YBR_RCT"):
        runner.set_option("photometric_interpretation", "RGB")  # openjpeg turns them
    return np.stack([values for values, _, _ in components], axis=-1).astype(f"<i{size}").tobytes()


def decode(data: bytes) -> list[tuple[NDArray[np.int32], int, bool]]:
    """Each component's values (rows, columns), its precision in bits, and whether it is signed.

    Raises:
        ValueError: The codestream is damaged.
    """
    stream = _Stream(_promising(data))
    codec = c_void_p(_LIBRARY.opj_create_decompress(PLAIN_CODESTREAM))
    image = POINTER(_Image)()
    try:
        if not _decoded(codec, stream, image) or any(_is_damage(text) for text in stream.said):
            raise ValueError("damaged")
        return [_values(image.contents.comps[n]) for n in range(image.contents.numcomps)]
    finally:
        if image:
            _LIBRARY.opj_image_destroy(image)
        _LIBRARY.opj_destroy_codec(codec)
        _LIBRARY.opj_stream_destroy(stream.handle)


def _decoded(codec: c_void_p, stream: _Stream, image: Any) -> bool:
    parameters = ctypes.create_string_buffer(PARAMETERS_BYTES)
    _LIBRARY.opj_set_default_decoder_parameters(parameters)
    _LIBRARY.opj_set_warning_handler(codec, stream.listen, None)
    _LIBRARY.opj_set_error_handler(codec, stream.listen, None)
    return bool(
        _LIBRARY.opj_setup_decoder(codec, parameters)
        and _LIBRARY.opj_decoder_set_strict_mode(codec, 1)
        and _LIBRARY.opj_read_header(stream.handle, codec, ctypes.byref(image))
        and _LIBRARY.opj_decode(codec, stream.handle, image)
    )


def _values(component: _Component) -> tuple[NDArray[np.int32], int, bool]:
    if not component.data:
        raise ValueError("no data")
    values = np.ctypeslib.as_array(component.data, (component.h, component.w)).copy()
    return values, int(component.prec), bool(component.sgnd)


@dataclass
class _Stream:
    """The codestream as openjpeg reads it, and what openjpeg says of it."""

    data: bytes
    place: int = 0
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.listen = _MESSAGE(lambda text, _: self.said.append(text.decode("latin-1")))
        self._calls = _READ(self._read), _SKIP(self._skip), _SEEK(self._seek)  # kept alive as long as the stream
        self.handle = c_void_p(_LIBRARY.opj_stream_create(c_size_t(STREAM_BYTES), 1))
        read, skip, seek = self._calls
        _LIBRARY.opj_stream_set_read_function(self.handle, read)
        _LIBRARY.opj_stream_set_skip_function(self.handle, skip)
        _LIBRARY.opj_stream_set_seek_function(self.handle, seek)
        _LIBRARY.opj_stream_set_user_data_length(self.handle, ctypes.c_uint64(len(self.data)))

    def _read(self, buffer: int, size: int, _: object) -> int:
        piece = self.data[self.place : self.place + size]
        if not piece:
            return int(NOTHING_LEFT)
        ctypes.memmove(buffer, piece, len(piece))
        self.place += len(piece)
        return len(piece)

    def _skip(self, size: int, _: object) -> int:
        self.place += size
        return size

    def _seek(self, place: int, _: object) -> int:
        self.place = place
        return 1


def codestream(data: bytes) -> bytes:
    """The codestream alone, where a writer put the boxes of a JP2 file around it."""
    place = 0
    while not data.startswith(START) and 0 <= place <= len(data) - 8:
        length, kind = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        if kind == b"jp2c":
            return data[place + 8 : place + length if length else len(data)]
        place = place + length if length >= 8 else -1
    return data


def _promising(data: bytes) -> bytes:
    """The codestream with the promise of predictable termination in its main header, where the blocks are plain."""
    place = data.find(b"\xff\x52", 0, data.find(b"\xff\x90"))
    if place < 0 or len(data) < place + 14 or data[place + 12] & (BYPASS | HIGH_THROUGHPUT):
        return data
    changed = bytearray(data)
    changed[place + 12] |= PREDICTABLE
    return bytes(changed)


def _is_damage(text: str) -> bool:
    ends = _ENDS.match(text)
    return int(ends[1]) > TOLERANCE_BYTES if ends else not HARMLESS.search(text)
