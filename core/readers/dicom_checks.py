"""What a DICOM header says of its pixels, doubted by arithmetic before anything is decoded."""

from __future__ import annotations

import math

from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder

from core.errors import RefusedError, UnreadableImageError
from core.readers.dicom_header import n_frames, number, text
from core.readers.item import check_size

LOSSY = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless)
NEWER = {
    "1.2.840.10008.1.2.4.110": "JPEG XL",
    "1.2.840.10008.1.2.4.111": "JPEG XL",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
}
STANDARD = "1.2.840.10008."
GREY = frozenset({(1, "MONOCHROME1"), (1, "MONOCHROME2")})  # (samples a pixel, photometric interpretation)
COLOUR = frozenset(
    {(1, "PALETTE COLOR"), *((3, name) for name in ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"))}
)
KNOWN = {name for _, name in GREY | COLOUR}
FLOATS = {32: "FloatPixelData", 64: "DoubleFloatPixelData"}


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
        unnamed = "a newer kind" if syntax.startswith(STANDARD) else "a private kind"
        name = syntax.name if syntax.name != str(syntax) else NEWER.get(syntax, unnamed)
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
    samples = dataset.get("SamplesPerPixel", 1)
    if samples not in (1, 3):
        raise UnreadableImageError("The number of values that a pixel has is impossible.", "DICOM-SAMPLES")
    _check_colour(samples, text(dataset, "PhotometricInterpretation"), in_colour)
    _check_bits(dataset, bits, in_colour)
    if n_frames(dataset) < 1:
        raise UnreadableImageError("The number of frames in the header is impossible.", "DICOM-FRAMES")
    check_size((rows, columns, n_frames(dataset)), max(1, samples * bits // 8), "DICOM-SIZE")


def _check_colour(samples: int, photometric: str, in_colour: bool) -> None:
    if photometric not in KNOWN:
        raise RefusedError(
            "The file does not say how its values are to be shown, or in a way that is not known here.",
            "DICOM-PHOTOMETRIC",
        )
    if (samples, photometric) not in GREY and not (in_colour and (samples, photometric) in COLOUR):
        raise RefusedError("The image is in colour; measured values in shades of grey are needed.", "DICOM-COLOUR")


def _check_bits(dataset: Dataset, bits: int, in_colour: bool) -> None:
    """Which of the bits count, and whether one is a sign, must be said without contradiction."""
    if bits in FLOATS and "BitsStored" not in dataset:
        return  # floating-point numbers, which have no such bits
    stored = int(dataset.get("BitsStored", bits) or 0)
    if bits not in (1, 8, 16, 32) or not 1 <= stored <= bits:
        raise RefusedError("The size of a voxel in bits is one that cannot be read.", "DICOM-BITS")
    if dataset.get("HighBit", stored - 1) != stored - 1:
        raise RefusedError("The header contradicts itself about which bits of a voxel count.", "DICOM-BITS")
    if dataset.get("PixelRepresentation", 0 if in_colour else None) not in (0, 1):
        raise UnreadableImageError("The file does not say whether its values have a sign.", "DICOM-BITS")


def check_rescale(facts: Dataset) -> None:
    """What turns stored numbers into values must be numbers that can do that.

    Raises:
        UnreadableImageError: A slope or an intercept that is none, or a slope of 0.
    """
    for tag in ("RescaleSlope", "RescaleIntercept"):
        value, said = number(facts, tag), facts.get(tag)
        if said in (None, ""):
            continue
        if value is None or abs(value) > math.sqrt(3e38) or (value == 0 and tag == "RescaleSlope"):
            raise UnreadableImageError(
                "The header's rescaling of the values is 0 or no number; export the image again.", "DICOM-RESCALE"
            )


def is_rescaled(facts: Dataset) -> bool:
    """Whether the header says how to turn stored numbers into the modality's unit."""
    if facts.get("ModalityLUTSequence"):
        return True
    slope, intercept = number(facts, "RescaleSlope"), number(facts, "RescaleIntercept")
    return slope is not None and intercept is not None and slope != 0
