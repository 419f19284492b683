"""How much of the damage to compressed DICOM frames is noticed: single bits changed at random, and frames cut short.

Also what listening to the decoder costs: seconds a frame of 512 x 512, beside pydicom's usual decoder.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import gdcm
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels.utils import pixel_array

from benchmarks import Figures, Targets
from benchmarks.timing import duel
from core.errors import UserError
from core.readers.dicom_pixels import frame_values

TARGETS: Targets = {"j2k_bits_noticed": (">=", 0.85), "jls_bits_noticed": (">=", 0.85), "cuts_missed": ("<=", 0.0)}
SIZE, TRIES, ROUNDS = 512, 200, 7
SYNTAXES = {"j2k": uid.JPEG2000Lossless, "jls": uid.JPEGLSLossless, "rle": uid.RLELossless}


def measure_damage() -> Figures:
    """Shares of the damage that is refused, for each way of compressing."""
    figures: Figures = {"cuts_missed": 0.0}
    frames = {name: _compressed(syntax) for name, syntax in SYNTAXES.items()} | {"jpeg": _jpeg_lossless()}
    for name, ds in frames.items():
        data = get_frame(ds.PixelData, 0, number_of_frames=1)
        rng = np.random.default_rng(0)
        flips = [_flipped(data, rng) for _ in range(TRIES if name != "rle" else TRIES // 10)]
        figures[f"{name}_bits_noticed"] = float(np.mean([_is_refused(ds, flip) for flip in flips]))
        cuts = [data[: int(len(data) * share)] + end for share in (0.1, 0.5, 0.9, 0.99) for end in (b"", b"\xff\xd9")]
        figures["cuts_missed"] += float(sum(not _is_refused(ds, cut) for cut in cuts))
        ds.PixelData = encapsulate([data])
    for name in ("j2k", "jpeg"):
        ds = frames[name]
        times = duel(lambda ds=ds: frame_values(ds, 0), lambda ds=ds: pixel_array(ds, raw=True), ROUNDS)
        figures |= times.figures(name, "pydicom")
    return figures


def _flipped(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    changed[int(rng.integers(300, len(data) - 4))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _is_refused(ds: Dataset, data: bytes) -> bool:
    ds.PixelData = encapsulate([data])
    try:
        frame_values(ds, 0)
    except UserError:
        return True
    return False


def _picture() -> NDArray[np.uint16]:
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    smooth = 1500 + 900 * np.sin(rows / 57.0) * np.cos(columns / 31.0)
    return np.rint(smooth + np.random.default_rng(0).normal(0, 20, smooth.shape)).astype("<u2")


def _plain() -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = uid.CTImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = uid.generate_uid()
    ds.Rows = ds.Columns = SIZE
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    ds.PixelData = _picture().tobytes()
    return ds


def _compressed(syntax: uid.UID) -> Dataset:
    ds = _plain()
    ds.compress(syntax)
    return ds


def _jpeg_lossless() -> Dataset:
    """pydicom writes no JPEG; gdcm does, from file to file."""
    with tempfile.TemporaryDirectory() as place:
        plain, packed = Path(place) / "plain.dcm", Path(place) / "packed.dcm"
        pydicom.dcmwrite(plain, _plain(), enforce_file_format=True)
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(plain))
        reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        change.SetInput(reader.GetImage())
        change.Change()
        writer.SetFileName(str(packed))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.Write()
        return pydicom.dcmread(io.BytesIO(packed.read_bytes()))
