"""Writes small DICOM series with known geometry and values, for the tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CANARY = "CANARYxSMITH"
STUDY, FRAME = uid.generate_uid(), uid.generate_uid()
SOP = {
    "CT": uid.CTImageStorage,
    "MR": uid.MRImageStorage,
    "PT": uid.PositronEmissionTomographyImageStorage,
    "US": uid.UltrasoundImageStorage,
    "OT": uid.SecondaryCaptureImageStorage,
}


def slice_dataset(
    pixels: NDArray[Any], position: Sequence[float], series: str, modality: str = "CT", **tags: Any
) -> Dataset:
    """One slice (rows, columns) of 16-bit values; `tags` overrule, None removes. Identity is full of canaries."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = SOP[modality]
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = uid.generate_uid()
    ds.Modality, ds.StudyInstanceUID, ds.SeriesInstanceUID = modality, STUDY, series
    ds.FrameOfReferenceUID = FRAME
    ds.PatientID, ds.PatientName, ds.PatientBirthDate = f"{CANARY}-ID", f"{CANARY}^JOHN", "19610203"
    ds.InstitutionName, ds.SeriesDescription, ds.StudyDate = f"{CANARY} CLINIC", f"t2_tse {CANARY}", "20240102"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.ImagePositionPatient, ds.ImageOrientationPatient = list(position), list(AXIAL)
    ds.PixelSpacing, ds.SliceThickness = [2.0, 1.0], 3.0
    ds.Rows, ds.Columns = pixels.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    if modality == "CT":
        ds.RescaleSlope, ds.RescaleIntercept = 1, -1000
    ds.PixelData = pixels.astype(f"<{pixels.dtype.kind}2").tobytes()
    for name, value in tags.items():
        if value is None:
            delattr(ds, name)
        else:
            setattr(ds, name, value)
    return ds


def write(ds: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, ds, enforce_file_format=True)
    return path


def phantom(dtype: str = "u2") -> NDArray[Any]:
    """(rows 5, columns 4, slices 6), no two values alike, not starting at 0."""
    return (np.arange(5 * 4 * 6).reshape(5, 4, 6) * 7 + 30).astype(dtype)


def series(
    folder: Path,
    pixels: NDArray[Any] | None = None,
    origin: Sequence[float] = (-11.0, 24.0, 39.0),
    step: Sequence[float] = (0.0, 0.0, 3.0),
    order: Sequence[int] = (3, 0, 5, 1, 4, 2),
    modality: str = "CT",
    **tags: Any,
) -> list[Path]:
    """Write a series; file names and instance numbers say nothing of the order."""
    pixels = phantom() if pixels is None else pixels
    name = tags.pop("series_uid", None) or uid.generate_uid()
    paths = []
    for n, k in enumerate(order):
        place = np.asarray(origin) + k * np.asarray(step)
        ds = slice_dataset(pixels[:, :, k], place.tolist(), name, modality, InstanceNumber=n + 1, **tags)
        paths.append(write(ds, folder / f"{n:03d}.dcm"))
    return paths


def tracer(dose: float = 3.7e8, half_life: float = 6586.2, time: str = "090000") -> DicomSequence:
    item = Dataset()
    item.RadionuclideTotalDose, item.RadionuclideHalfLife = dose, half_life
    item.RadiopharmaceuticalStartTime = time
    return DicomSequence([item])
