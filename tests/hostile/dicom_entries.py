"""DICOM files that lie, are cut, or are merely awkward."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pydicom
from pydicom import uid
from pydicom.dataset import Dataset

from tests.hostile.entry import MARK_MM, Entry, one
from tests.readers.dicom_files import CANARY, slice_dataset

NEST = struct.pack("<HHI", 0x0008, 0x1140, 0xFFFFFFFF) + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
ROWS, COLUMNS, N, AT = 5, 4, 6, (3, 1, 4)  # the mark: row, column, slice


def stack() -> np.ndarray:
    values = (np.arange(ROWS * COLUMNS * N).reshape(ROWS, COLUMNS, N) + 30).astype("u2")
    values[AT] = 900
    return values


def as_bytes(ds: Dataset) -> bytes:
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, ds, enforce_file_format=True)
    return stream.getvalue()


def slices(name: str, changes: dict[int, dict[str, Any]] | None = None, **tags: Any) -> list[Dataset]:
    """Six slices, 3 mm apart; the mark lies at MARK_MM (RAS). `changes` are to single slices."""
    pixels = stack()
    origin = np.array([-MARK_MM[0], -MARK_MM[1], MARK_MM[2]]) - [AT[1] * 1.0, AT[0] * 2.0, AT[2] * 3.0]
    found = []
    for k in range(N):
        place = [*origin[:2].tolist(), float(origin[2] + 3.0 * k)]
        own = {"InstanceNumber": 99 - k, "PatientID": f"{CANARY}-{name}", **tags, **(changes or {}).get(k, {})}
        position = own.pop("place", place)
        modality = own.pop("kind", "CT")
        found.append(
            slice_dataset(pixels[:, :, k], position, f"1.2.826.0.1.{zlib.crc32(name.encode())}", modality, **own)
        )
    return found


def folder(found: Sequence[Dataset]) -> dict[str, bytes]:
    return {f"{n}.dcm": as_bytes(ds) for n, ds in enumerate(found)}


def first(name: str, **tags: Any) -> dict[str, bytes]:
    return folder(slices(name, **tags)[:1])


SERIES: dict[str, tuple[dict[int, dict[str, Any]], dict[str, Any], set[str], bool]] = {
    "good": ({}, {}, {""}, True),
    "signed": ({}, {"PixelRepresentation": 1}, {""}, True),
    "gap": ({2: {"place": (0.0, 0.0, 500.0)}}, {}, {"DICOM-GAP", "DICOM-POSITIONS", "DICOM-MIXED"}, False),
    "double": ({2: {"place": None}}, {}, {"DICOM-DUPLICATES"}, False),
    "turned": ({2: {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}}, {}, {"DICOM-MIXED"}, False),
    "other-frame": ({2: {"FrameOfReferenceUID": "1.2.3.4"}}, {}, {"DICOM-MIXED"}, False),
    "other-spacing": ({2: {"PixelSpacing": [3.0, 3.0]}}, {}, {"DICOM-MIXED"}, False),
    "not-unit-axes": ({}, {"ImageOrientationPatient": [2, 0, 0, 0, 1, 0]}, {"DICOM-ORIENTATION"}, False),
    "skewed-axes": ({}, {"ImageOrientationPatient": [1, 0, 0, 0.7, 0.7, 0]}, {"DICOM-ORIENTATION"}, False),
    "no-place": ({}, {"ImagePositionPatient": None}, {"DICOM-NO-POSITION"}, False),
    "no-axes": ({}, {"ImageOrientationPatient": None}, {"DICOM-NO-POSITION"}, False),
    "no-spacing": ({}, {"PixelSpacing": None}, {"NO-SPACING"}, False),
    "no-rescale": ({}, {"RescaleSlope": None, "RescaleIntercept": None}, {"NO-RESCALE"}, True),
    "slope-zero": ({}, {"RescaleSlope": 0}, {"DICOM-RESCALE"}, False),
    "beyond-hu": ({}, {"RescaleSlope": 9000}, {"CT-RANGE"}, False),
    "burned-in": ({}, {"BurnedInAnnotation": "YES"}, {"BURNED-IN-UNCHECKED"}, False),
    "derived": ({}, {"ImageType": ["DERIVED", "SECONDARY"]}, {"BURNED-IN-UNCHECKED"}, False),
    "localiser": ({}, {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, {"LOCALISER"}, False),
    "no-patient": ({}, {"PatientID": ""}, {"NO-PATIENT-ID"}, True),
    "colour": ({}, {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, {"DICOM-COLOUR"}, False),
    "palette": ({}, {"PhotometricInterpretation": "PALETTE COLOR"}, {"DICOM-COLOUR"}, False),
    "no-rows": ({}, {"Rows": 0}, {"DICOM-SIZE"}, False),
    "huge-rows": ({}, {"Rows": 65535, "Columns": 65535}, {"DICOM-SIZE", "TOO-LARGE"}, False),
    "more-rows": ({}, {"Rows": 50}, {"DICOM-TRUNCATED"}, False),
    "fewer-rows": ({}, {"Rows": 2}, {"DICOM-LENGTH"}, False),
    "no-bits": ({}, {"BitsStored": 0}, {"DICOM-BITS"}, False),
    "bits-over": ({}, {"BitsStored": 17}, {"DICOM-BITS"}, False),
    "odd-bits": ({}, {"BitsAllocated": 12}, {"DICOM-BITS"}, False),
    "many-frames": ({}, {"NumberOfFrames": 4000}, {"DICOM-FRAMES", "TOO-LARGE"}, False),
    "endless-frames": ({}, {"NumberOfFrames": 2_000_000_000}, {"DICOM-FRAMES", "TOO-LARGE", "DICOM-SIZE"}, False),
    "screenshot": ({}, {"kind": "OT"}, {"BURNED-IN-UNCHECKED"}, False),
    "ultrasound": ({}, {"kind": "US"}, {"BURNED-IN-UNCHECKED"}, False),
    "mosaic": ({}, {"kind": "MR", "ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}, {"DICOM-MOSAIC"}, False),
    "pet-without-dose": ({}, {"kind": "PT"}, {"SUV-NOT-POSSIBLE"}, True),
    "plan": ({}, {"SOPClassUID": uid.RTPlanStorage, "Rows": None}, {"DICOM-NO-IMAGE", "DICOM-KIND"}, False),
    "mammogram": ({}, {"SOPClassUID": uid.DigitalMammographyXRayImageStorageForPresentation}, {"DICOM-KIND"}, False),
}


def entries() -> Iterator[tuple[str, Entry]]:
    for name, (changes, tags, codes, is_marked) in SERIES.items():
        if name == "double":
            place = slices(name)[1].ImagePositionPatient
            changes = {2: {"place": list(place)}}
        yield f"dcm-{name}", Entry(folder(slices(name, changes, **tags)), codes, is_marked)
    yield from _broken()


def _broken() -> Iterator[tuple[str, Entry]]:
    good = as_bytes(slices("broken")[0])
    damaged = {"DICOM-DAMAGED", "DICOM-TRUNCATED", "NOT-AN-IMAGE", "DICOM-SIZE", "DAMAGED", "EMPTY", "DICOM-NO-IMAGE"}
    for share in (0.02, 0.2, 0.5, 0.8, 0.97):
        yield f"dcm-cut-{share}", one("a.dcm", good[: int(len(good) * share)], damaged | {"BURNED-IN-UNCHECKED"})
    yield "dcm-magic-only", one("a.dcm", bytes(128) + b"DICM", damaged)
    yield "dcm-garbage-behind-magic", one("a.dcm", bytes(128) + b"DICM" + np.random.default_rng(5).bytes(900), damaged)
    deep = bytes(128) + b"DICM" + NEST * 9999
    yield "dcm-deep-nest", one("a.dcm", deep, damaged)
    endless = bytes(128) + b"DICM" + struct.pack("<HH2sH", 8, 0x16, b"UI", 0) * 200_000
    yield "dcm-endless", one("a.dcm", endless, damaged)
    for name, syntax in (
        ("video", uid.MPEG2MPML),
        ("private", "1.2.840.113619.5.2"),
        ("jpip", "1.2.840.10008.1.2.4.94"),
    ):
        ds = slices(name)[0]
        ds.file_meta.TransferSyntaxUID = syntax
        ds["PixelData"].VR = "OB"
        stream = io.BytesIO()
        try:
            pydicom.dcmwrite(stream, ds, implicit_vr=False, little_endian=True)
        except (ValueError, TypeError):
            continue
        yield f"dcm-syntax-{name}", one("a.dcm", stream.getvalue(), {"DICOM-SYNTAX"} | damaged)
    two = slices("two-patients")
    for ds in two[3:]:
        ds.PatientID = "CANARYxOTHER"
    yield "dcm-two-patients", Entry(folder(two), {"", "ONE-SLICE", "CT-NOT-HU"})
