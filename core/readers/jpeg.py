"""JPEG (8 and 12 bits, lossless) by gdcm, with what it prints heard: a complaint about the data is an error here.

gdcm decodes damaged data as far as it can and says so on standard error only ("Corrupt JPEG data: ...").
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import gdcm
from pydicom import uid
from pydicom.pixels.decoders.base import DecodeRunner

SYNTAXES = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1)
STANDARD_ERROR = 2
_ONE_AT_A_TIME = threading.Lock()
HARMLESS = re.compile(
    rb"Unsupported JPEG data precision \d+|Invalid SOS parameters for sequential JPEG"
)  # other depths tried


def is_available(syntax: str) -> bool:
    """What pydicom asks of a plugin."""
    return syntax in SYNTAXES


def decode_frame(source: bytes, runner: DecodeRunner) -> bytes:
    """A pydicom plugin: the samples of one frame.

    Raises:
        ValueError: gdcm complains, or cannot decode the frame at all.
    """
    image = _image(source, runner)
    with _said() as said:
        buffer = image.GetBuffer()
        said.seek(0)
        if buffer is None or any(not HARMLESS.match(line) for line in said):
            raise ValueError("damaged")
    return bytes(buffer.encode("utf-8", "surrogateescape"))  # gdcm hands bytes over as text


def _image(source: bytes, runner: DecodeRunner) -> gdcm.Image:
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(source)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((runner.columns, runner.rows, 1))
    image.SetDataElement(element)
    colour = gdcm.PhotometricInterpretation.GetPIType(str(runner.photometric_interpretation))
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(colour))
    if runner.samples_per_pixel > 1:
        image.SetPlanarConfiguration(runner.planar_configuration)
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str.__str__(runner.transfer_syntax))))
    bits = runner.bits_allocated  # all of them: what exceeds those that count is for the caller to see
    image.SetPixelFormat(
        gdcm.PixelFormat(runner.samples_per_pixel, runner.bits_allocated, bits, bits - 1, runner.pixel_representation)
    )
    return image


@contextmanager
def _said() -> Iterator[BinaryIO]:
    """What this process writes to its standard error meanwhile; one at a time, as it has only one."""
    with _ONE_AT_A_TIME, tempfile.TemporaryFile() as said:
        kept = os.dup(STANDARD_ERROR)
        os.dup2(said.fileno(), STANDARD_ERROR)
        try:
            yield said
        finally:
            os.dup2(kept, STANDARD_ERROR)
            os.close(kept)
