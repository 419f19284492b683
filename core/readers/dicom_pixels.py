"""From DICOM's pixel data to values: decoded, sign-extended, rescaled, turned to MONOCHROME2, without padding."""

from __future__ import annotations

import struct
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.pixels.utils import get_expected_length, pixel_array

from core.errors import UnreadableImageError
from core.readers import codestream, jpeg, jpeg2000
from core.readers.codestream import Shape
from core.readers.dicom_checks import FLOATS, GREY
from core.readers.dicom_header import n_frames, number, text
from core.readers.dicom_raw import TRUNCATED
from core.readers.picture import to_grey
from core.types import Array

AS_STORED = (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian)
LISTENING = "listening"  # decoders of ours, which tell of damage that pydicom's keep to themselves
AIR_HU = -1024.0
BYTE = 8
EXACT = 2**23  # float32 holds sums of two smaller whole numbers without rounding

for _module in (jpeg, jpeg2000):
    for _syntax in _module.SYNTAXES:
        get_decoder(_syntax).add_plugin(LISTENING, (_module.__name__, "decode_frame"))


def frame_values(dataset: Dataset, frame: int) -> NDArray[Any]:
    """(rows, columns) as stored: whole numbers, their sign extended from the bits that count.

    Raises:
        UnreadableImageError: The data do not fit the header, or do not decode.
    """
    values = _decoded(dataset, frame, raw=True)
    if values.shape != (dataset.Rows, dataset.Columns):
        raise UnreadableImageError("The image has another size than its header says.", "DICOM-SIZE")
    return _significant(dataset, values)


def _plain_frame(dataset: Dataset, frame: int) -> NDArray[Any] | None:
    """One frame of uncompressed shades of grey as it lies in the pixel data; None where it takes more than that."""
    samples = int(dataset.get("SamplesPerPixel") or 1)
    is_plain = dataset.file_meta.get("TransferSyntaxUID") in AS_STORED and "PixelData" in dataset
    if not is_plain or samples != 1 or dataset.BitsAllocated < BYTE:
        return None
    kind = "i" if dataset.get("PixelRepresentation") == 1 else "u"
    dtype = np.dtype(f"<{kind}{dataset.BitsAllocated // 8}")
    size = dataset.Rows * dataset.Columns
    values = np.frombuffer(dataset.PixelData, dtype, size, offset=frame * size * dtype.itemsize)
    return values.reshape(dataset.Rows, dataset.Columns)


def grey_values(dataset: Dataset, frame: int, warnings: list[str]) -> NDArray[Any]:
    """(rows, columns) of a picture that may be in colour: then its brightness, which `warnings` say."""
    if (int(dataset.get("SamplesPerPixel") or 1), text(dataset, "PhotometricInterpretation")) in GREY:
        return frame_values(dataset, frame)
    values = _decoded(dataset, frame, raw=False)
    if text(dataset, "PhotometricInterpretation") == "PALETTE COLOR":
        values = apply_color_lut(values, dataset)
        values = values >> 8 if values.dtype == np.uint16 else values  # a screen shows the upper byte
    if values.shape != (dataset.Rows, dataset.Columns, 3):
        raise UnreadableImageError("The image has another size than its header says.", "DICOM-SIZE")
    return np.asarray(np.rint(to_grey(values, warnings)), np.int64)


def _check_data(dataset: Dataset, frame: int) -> None:
    data = dataset.get("PixelData") or dataset.get(FLOATS.get(dataset.BitsAllocated, ""))
    if not data:
        raise UnreadableImageError(TRUNCATED, "DICOM-TRUNCATED")
    syntax = dataset.file_meta.get("TransferSyntaxUID", uid.ImplicitVRLittleEndian)
    if syntax.is_encapsulated:
        _check_compressed(dataset, frame, syntax)
        return
    needed = get_expected_length(dataset, unit="bytes")
    if len(data) < needed:
        raise UnreadableImageError(TRUNCATED, "DICOM-TRUNCATED")
    if len(data) > needed + 1:
        raise UnreadableImageError("The image data are longer than the header says.", "DICOM-LENGTH")


def _check_compressed(dataset: Dataset, frame: int, syntax: uid.UID) -> None:
    """The compressed frame must be whole, and announce the header's size."""
    try:
        data = get_frame(dataset.PixelData, frame, number_of_frames=n_frames(dataset))
    except (ValueError, EOFError, struct.error) as error:
        raise UnreadableImageError(TRUNCATED, "DICOM-TRUNCATED") from error
    samples = int(dataset.get("SamplesPerPixel") or 1)
    codestream.check(data, syntax, Shape(dataset.Rows, dataset.Columns, samples, dataset.BitsAllocated))


def _decoded(dataset: Dataset, frame: int, raw: bool) -> NDArray[Any]:
    """One frame: as it lies there, or by the decoder that tells of damage, where there is one."""
    _check_data(dataset, frame)
    values = _plain_frame(dataset, frame) if raw else None
    if values is not None:
        return values
    decoder = get_decoder(dataset.file_meta.get("TransferSyntaxUID", uid.ImplicitVRLittleEndian))
    plugin = LISTENING if LISTENING in decoder.available_plugins else ""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*non-conformant padding")  # more values than the header says
            return pixel_array(dataset, index=frame, raw=raw, decoding_plugin=plugin, correct_unused_bits=False)
    except (RuntimeError, ValueError, UserWarning) as error:
        raise UnreadableImageError(codestream.DAMAGED, "DICOM-CODESTREAM") from error


def _significant(dataset: Dataset, values: NDArray[Any]) -> NDArray[Any]:
    """Only the bits that count: overlays may sit above them, and a sign may end below the highest."""
    unused = values.dtype.itemsize * 8 - int(dataset.get("BitsStored") or dataset.BitsAllocated)
    if unused <= 0 or values.dtype.kind not in "iu":
        return values
    kind = "i" if dataset.get("PixelRepresentation") == 1 else "u"
    typed = values.astype(f"{kind}{values.dtype.itemsize}", copy=False)
    kept = (typed << unused) >> unused
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated and not _fits(typed, kept, unused):
        raise UnreadableImageError("The compressed image has other values than its header says.", "DICOM-BITS")
    return kept


def _fits(values: NDArray[Any], kept: NDArray[Any], unused: int) -> bool:
    """Whether what was left out of compressed values is nothing, or a sign: damage runs over the bits that count."""
    counting = (1 << (values.dtype.itemsize * 8 - unused)) - 1
    return bool(((values == kept) | (values == kept & counting)).all())


def rescale(dataset: Dataset, frame_dataset: Dataset, values: NDArray[Any], kind: str, out: Array) -> None:
    """Values in the modality's unit: padding replaced, black and white turned, Modality LUT or slope applied.

    Args:
        frame_dataset: where the rescaling stands: the dataset itself, or a frame's functional group.
        out: (rows, columns) where they are written.
    """
    padding = _padding(dataset, values) if kind != "MR" else None
    if text(dataset, "PhotometricInterpretation") == "MONOCHROME1" and kind != "CT":
        values = _turned(dataset, values)
    _put_in_units(values, frame_dataset, out)
    if padding is not None and padding.any() and not padding.all():
        lowest = float(out[~padding].min())
        out[padding] = max(lowest, AIR_HU) if kind == "CT" else lowest


def _put_in_units(values: NDArray[Any], facts: Dataset, out: Array) -> None:
    slope, intercept = number(facts, "RescaleSlope"), number(facts, "RescaleIntercept")
    if facts.get("ModalityLUTSequence"):
        out[...] = apply_modality_lut(values.astype(np.int64), facts)
    elif slope is None or intercept is None:
        out[...] = values
    elif slope == 1 and intercept % 1 == 0 and values.dtype.itemsize <= 2 and abs(intercept) < EXACT:
        np.add(values, np.float32(intercept), out=out)
    else:
        out[...] = values.astype(np.float64) * slope + intercept


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
