"""From DICOM's pixel data to values: decoded, sign-extended, rescaled, turned to MONOCHROME2, without padding."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.pixels.utils import get_expected_length, pixel_array

from core.errors import RefusedError, UnreadableImageError
from core.readers.dicom_header import TRUNCATED, number, text
from core.readers.item import check_size
from core.readers.picture import to_grey
from core.types import Array

JPEG_2000 = (uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)
LOSSY = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless)
NOT_FRAME_STARTS = (0xC4, 0xC8, 0xCC)
AIR_HU = -1024.0
EXACT = 2**23  # float32 holds sums of two smaller whole numbers without rounding
GREY = frozenset({(1, "MONOCHROME1"), (1, "MONOCHROME2")})  # (samples a pixel, photometric interpretation)
COLOUR = frozenset(
    {(1, "PALETTE COLOR"), *((3, name) for name in ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"))}
)


def check_syntax(dataset: Dataset) -> None:
    """Refuse, by name, a compression that nothing here decodes.

    Raises:
        RefusedError: It is a video, a rare or a private one.
    """
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        return
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if not available:
        name = syntax.name if syntax.name != str(syntax) else "a private compression"
        raise RefusedError(
            f"This file is compressed as {name}, which cannot be read; export uncompressed.", "DICOM-SYNTAX"
        )


def is_lossy(dataset: Dataset) -> bool:
    """Whether the image went through a lossy compression, now or before."""
    return dataset.file_meta.get("TransferSyntaxUID") in LOSSY or text(dataset, "LossyImageCompression") == "01"


def check_pixels(dataset: Dataset, in_colour: bool = False) -> None:
    """Arithmetic before any decoding.

    Args:
        in_colour: whether colour is let in (it becomes brightness).

    Raises:
        UnreadableImageError: Sizes missing or impossible.
        RefusedError: In colour, or too large.
    """
    rows, columns, bits = (dataset.get(tag) for tag in ("Rows", "Columns", "BitsAllocated"))
    if not all(isinstance(value, int) for value in (rows, columns, bits)):
        raise UnreadableImageError("The file does not say how large its image is.", "DICOM-SIZE")
    samples, photometric = int(dataset.get("SamplesPerPixel") or 1), text(dataset, "PhotometricInterpretation")
    if (samples, photometric) not in GREY and not (in_colour and (samples, photometric) in COLOUR):
        raise RefusedError("The image is in colour; measured values in shades of grey are needed.", "DICOM-COLOUR")
    stored = int(dataset.get("BitsStored", bits))
    if bits not in (8, 16, 32) or not 1 <= stored <= bits:
        raise RefusedError("The size of a voxel in bits is one that cannot be read.", "DICOM-BITS")
    check_size((rows, columns, n_frames(dataset)), samples * bits // 8, "DICOM-SIZE")


def n_frames(dataset: Dataset) -> int:
    """The number of frames, 1 where it is not said."""
    return int(number(dataset, "NumberOfFrames") or 1)


def frame_values(dataset: Dataset, frame: int) -> NDArray[Any]:
    """(rows, columns) as stored: whole numbers, their sign extended from the bits that count.

    Raises:
        UnreadableImageError: The data do not fit the header, or do not decode.
    """
    _check_data(dataset, frame)
    values = pixel_array(dataset, index=frame, raw=True)
    if values.shape != (dataset.Rows, dataset.Columns):
        raise UnreadableImageError("The image has another size than its header says.", "DICOM-SIZE")
    return _significant(dataset, values)


def grey_values(dataset: Dataset, frame: int, warnings: list[str]) -> NDArray[Any]:
    """(rows, columns) of a picture that may be in colour: then its brightness, which `warnings` say."""
    if (int(dataset.get("SamplesPerPixel") or 1), text(dataset, "PhotometricInterpretation")) in GREY:
        return frame_values(dataset, frame)
    _check_data(dataset, frame)
    values = pixel_array(dataset, index=frame)
    if text(dataset, "PhotometricInterpretation") == "PALETTE COLOR":
        values = apply_color_lut(values, dataset)
        values = values >> 8 if values.dtype == np.uint16 else values  # a screen shows the upper byte
    if values.shape != (dataset.Rows, dataset.Columns, 3):
        raise UnreadableImageError("The image has another size than its header says.", "DICOM-SIZE")
    return np.asarray(np.rint(to_grey(values, warnings)), np.int64)


def blanked(values: NDArray[Any], boxes: Sequence[tuple[int, int, int, int]]) -> NDArray[Any]:
    """The values with (column, row, width, height) boxes set to the lowest one."""
    if not boxes:
        return values
    result, lowest = values.copy(), values.min()
    for column, row, width, height in boxes:
        result[max(0, row) : max(0, row + height), max(0, column) : max(0, column + width)] = lowest
    return result


def _check_data(dataset: Dataset, frame: int) -> None:
    if "PixelData" not in dataset:
        raise UnreadableImageError(TRUNCATED, "DICOM-TRUNCATED")
    syntax = dataset.file_meta.get("TransferSyntaxUID", uid.ImplicitVRLittleEndian)
    if syntax.is_encapsulated:
        _check_codestream(dataset, frame, syntax)
        return
    needed = get_expected_length(dataset, unit="bytes")
    if len(dataset.PixelData) < needed:
        raise UnreadableImageError(TRUNCATED, "DICOM-TRUNCATED")
    if len(dataset.PixelData) > needed + 1:
        raise UnreadableImageError("The image data are longer than the header says.", "DICOM-LENGTH")


def _check_codestream(dataset: Dataset, frame: int, syntax: uid.UID) -> None:
    """The compressed frame must announce the header's size, and must not be cut off."""
    try:
        data = get_frame(dataset.PixelData, frame, number_of_frames=n_frames(dataset))
    except (ValueError, EOFError, struct.error) as error:
        raise UnreadableImageError(TRUNCATED, "DICOM-TRUNCATED") from error
    if syntax == uid.RLELossless:
        return
    size = _jpeg_2000_size(data) if syntax in JPEG_2000 else _jpeg_size(data)
    if size != (dataset.Rows, dataset.Columns):
        raise UnreadableImageError("The compressed image has another size than its header says.", "DICOM-SIZE")
    if b"\xff\xd9" not in data[-16:]:
        raise UnreadableImageError(TRUNCATED, "DICOM-TRUNCATED")


def _jpeg_2000_size(data: bytes) -> tuple[int, int] | None:
    place = data.find(b"\xff\x4f\xff\x51", 0, 512)
    if place < 0 or len(data) < place + 24:
        return None
    x1, y1, x0, y0 = struct.unpack(">IIII", data[place + 8 : place + 24])
    return y1 - y0, x1 - x0


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    for marker, place in _segments(data):
        if (0xC0 <= marker <= 0xCF and marker not in NOT_FRAME_STARTS) or marker == 0xF7:
            rows, columns = struct.unpack(">HH", data[place + 5 : place + 9])
            return rows, columns
    return None


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """(marker, place) of each segment of a JPEG before its image data."""
    place = 2
    while place + 9 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:
            place += 1
            continue
        yield marker, place
        if marker == 0xDA:
            return
        place += 2 + int(struct.unpack(">H", data[place + 2 : place + 4])[0])


def _significant(dataset: Dataset, values: NDArray[Any]) -> NDArray[Any]:
    """Only the bits that count: overlays may sit above them, and a sign may end below the highest."""
    unused = values.dtype.itemsize * 8 - int(dataset.get("BitsStored") or dataset.BitsAllocated)
    if unused <= 0 or values.dtype.kind not in "iu":
        return values
    kind = "i" if dataset.get("PixelRepresentation") == 1 else "u"
    typed = values.astype(f"{kind}{values.dtype.itemsize}", copy=False)
    return (typed << unused) >> unused


def rescaled(dataset: Dataset, frame_dataset: Dataset, values: NDArray[Any], kind: str) -> Array:
    """Values in the modality's unit: padding replaced, black and white turned, Modality LUT or slope applied.

    Args:
        frame_dataset: where the rescaling stands: the dataset itself, or a frame's functional group.
    """
    padding = _padding(dataset, values) if kind != "MR" else None
    if text(dataset, "PhotometricInterpretation") == "MONOCHROME1" and kind != "CT":
        values = _turned(dataset, values)
    result = _in_units(values, frame_dataset)
    if padding is not None and padding.any() and not padding.all():
        lowest = float(result[~padding].min())
        result[padding] = max(lowest, AIR_HU) if kind == "CT" else lowest
    return result


def _in_units(values: NDArray[Any], facts: Dataset) -> Array:
    slope, intercept = number(facts, "RescaleSlope"), number(facts, "RescaleIntercept")
    is_plain = not facts.get("ModalityLUTSequence") and slope == 1 and intercept is not None and intercept % 1 == 0
    if is_plain and intercept is not None and values.dtype.itemsize <= 2 and abs(intercept) < EXACT:
        return values.astype(np.float32) + np.float32(intercept)
    return np.asarray(apply_modality_lut(values.astype(np.int64), facts), np.float32)


def _padding(dataset: Dataset, values: NDArray[Any]) -> NDArray[np.bool_] | None:
    first = number(dataset, "PixelPaddingValue")
    if first is None:
        return None
    if dataset.get("PixelRepresentation") == 1 and first > 32767:
        first -= 65536  # some writers give the signed value as unsigned
    last = number(dataset, "PixelPaddingRangeLimit")
    low, high = sorted((first, first if last is None else last))
    return np.asarray((values >= low) & (values <= high))


def _turned(dataset: Dataset, values: NDArray[Any]) -> NDArray[Any]:
    stored = int(dataset.get("BitsStored") or dataset.BitsAllocated)
    lowest = -(1 << (stored - 1)) if dataset.get("PixelRepresentation") == 1 else 0
    return (2 * lowest + (1 << stored) - 1) - values.astype(np.int64)


def is_rescaled(dataset: Dataset) -> bool:
    """Whether the dataset says how to turn its numbers into the modality's unit."""
    if dataset.get("ModalityLUTSequence"):
        return True
    slope, intercept = number(dataset, "RescaleSlope"), number(dataset, "RescaleIntercept")
    return slope is not None and intercept is not None and slope != 0 and math.isfinite(slope * intercept)
