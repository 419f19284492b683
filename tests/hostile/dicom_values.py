"""DICOM files with a value that is none that can be, or in an unusual wrapping: each gets a fitting code."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence as DicomSequence

from tests.hostile.dicom_entries import as_bytes, folder, slices
from tests.hostile.entry import Entry, one
from tests.hostile.other_files import npz

Tags = dict[str, Any]
PLAIN, JPEG_XL = b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.4.110\0"  # transfer syntaxes
PLACE, AXES = "ImagePositionPatient", "ImageOrientationPatient"

REFUSED: dict[str, tuple[Tags, str]] = {
    "spacing-0": ({"PixelSpacing": [0, 0]}, "DICOM-SPACING"),
    "spacing-negative": ({"PixelSpacing": [-1, 1]}, "DICOM-SPACING"),
    "spacing-huge": ({"PixelSpacing": [5000, 5000]}, "SPACING"),
    "axes-0": ({AXES: [0] * 6}, "DICOM-ORIENTATION"),
    "rows-missing": ({"Rows": None}, "DICOM-SIZE"),
    "rows-beyond": ({"Rows": 20_000}, "DICOM-SIZE"),
    "rows-huge": ({"Rows": 16_000, "Columns": 16_000}, "TOO-LARGE"),
    "high-bit": ({"BitsStored": 12, "HighBit": 15}, "DICOM-BITS"),
    "bits-64": ({"BitsAllocated": 64, "BitsStored": 64, "HighBit": 63}, "DICOM-BITS"),
    "bits-32": ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, "DICOM-TRUNCATED"),
    "bits-1": ({"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}, "DICOM-LENGTH"),
    "sign-2": ({"PixelRepresentation": 2}, "DICOM-BITS"),
    "sign-missing": ({"PixelRepresentation": None}, "DICOM-BITS"),
    "frames-3": ({"NumberOfFrames": 3}, "DICOM-FRAMES"),
    "frames-negative": ({"NumberOfFrames": -4}, "DICOM-FRAMES"),
    "samples-0": ({"SamplesPerPixel": 0}, "DICOM-SAMPLES"),
    "samples-2": ({"SamplesPerPixel": 2}, "DICOM-SAMPLES"),
    "samples-3": ({"SamplesPerPixel": 3}, "DICOM-COLOUR"),
    "photometric-missing": ({"PhotometricInterpretation": None}, "DICOM-PHOTOMETRIC"),
    "photometric-odd": ({"PhotometricInterpretation": "HSV"}, "DICOM-PHOTOMETRIC"),
    "pixels-few": ({"PixelData": b"\1\2" * 3}, "DICOM-TRUNCATED"),
    "pixels-none": ({"PixelData": b""}, "DICOM-TRUNCATED"),
    "pixels-missing": ({"PixelData": None}, "DICOM-TRUNCATED"),
    "pixels-many": ({"PixelData": bytes(6000)}, "DICOM-LENGTH"),
    "series-missing": ({"SeriesInstanceUID": None}, "DICOM-NO-SERIES"),
    "kind-unknown": ({"SOPClassUID": "1.2.3.4.5"}, "DICOM-KIND"),
    "kind-missing": ({"SOPClassUID": None}, "DICOM-DAMAGED"),
}
WRITTEN: dict[str, tuple[Tags, bytes, bytes, str]] = {  # a number is written, then overwritten by a text as long
    "position-nan": ({PLACE: [111111, 0, 0]}, b"111111", b"nan   ", "DICOM-NO-POSITION"),
    "position-infinite": ({PLACE: [111111, 0, 0]}, b"111111", b"1e4000", "DICOM-NO-POSITION"),
    "position-text": ({PLACE: [111111, 0, 0]}, b"111111", b"left  ", "DICOM-NO-POSITION"),
    "axes-nan": ({AXES: [111111, 0, 0, 0, 1, 0]}, b"111111", b"nan   ", "DICOM-NO-POSITION"),
    "spacing-nan": ({"PixelSpacing": [111111, 1]}, b"111111", b"nan   ", "DICOM-SPACING"),
    "slope-nan": ({"RescaleSlope": 111111}, b"111111", b"nan   ", "DICOM-RESCALE"),
    "slope-text": ({"RescaleSlope": 111111}, b"111111", b"one   ", "DICOM-RESCALE"),
    "slope-infinite": ({"RescaleSlope": 111111}, b"111111", b"1e3999", "DICOM-RESCALE"),
    "intercept-nan": ({"RescaleIntercept": 111111}, b"111111", b"nan   ", "DICOM-RESCALE"),
    "value-of-no-kind": ({"SliceThickness": 3}, b"\x18\x00\x50\x00DS", b"\x18\x00\x50\x00ZZ", "DICOM-DAMAGED"),
}
READ: dict[str, tuple[Tags, str]] = {  # awkward, and right all the same
    "slope-empty": ({"RescaleSlope": ""}, "NO-RESCALE"),
    "frames-0": ({"NumberOfFrames": 0}, ""),
    "instance-missing": ({"SOPInstanceUID": None}, ""),
    "letters-of-the-world": ({"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Ünïcode^日本"}, ""),
    "letters-of-japan": ({"SpecificCharacterSet": ["", "ISO 2022 IR 87"]}, ""),
    "letters-unknown": ({"SpecificCharacterSet": "KLINGON"}, ""),
}
WRAPPED: dict[str, Callable[[bytes], bytes]] = {  # what lies around the same elements
    "preamble-of-tiff": lambda content: b"II*\0" + b"x" * 124 + content[128:],
    "preamble-missing": lambda content: content[132:],
    "padded": lambda content: content + struct.pack("<HH2sHI", 0xFFFC, 0xFFFC, b"OB", 0, 8) + bytes(8),
}


def entries() -> Iterator[tuple[str, Entry]]:
    for name, (tags, code) in REFUSED.items():
        yield f"dcm-{name}", Entry(folder(slices(name, **tags)), {code})
    for name, (tags, old, new, code) in WRITTEN.items():
        files = {file: content.replace(old, new, 1) for file, content in folder(slices(name, **tags)).items()}
        yield f"dcm-{name}", Entry(files, {code})
    for name, (tags, code) in READ.items():
        yield f"dcm-{name}", Entry(folder(slices(name, **tags)), {code}, True)
    for name, wrap in WRAPPED.items():
        files = {file: wrap(content) for file, content in folder(slices(name)).items()}
        yield f"dcm-{name}", Entry(files, {""}, True)
    for name, implicit, little in (("bare-implicit", True, True), ("bare", False, True), ("bare-big", False, False)):
        yield (
            f"dcm-{name}",
            Entry({f"{n}": bare(ds, implicit, little) for n, ds in enumerate(slices(name))}, {""}, True),
        )
    yield from _names()
    yield from _nested()
    yield from _frames()


def bare(ds: Dataset, implicit: bool, little: bool) -> bytes:
    """The elements alone, without preamble and file meta."""
    plain = Dataset()
    plain.update({element.tag: element for element in ds})
    if not little:
        plain.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
    stream = DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = implicit, little
    write_dataset(stream, plain)
    return stream.getvalue()


def _names() -> Iterator[tuple[str, Entry]]:
    files = folder(slices("named-nii"))
    yield "dcm-named-nii", Entry({file.replace("dcm", "nii"): content for file, content in files.items()}, {""}, True)
    yield (
        "dcm-no-extension",
        Entry({f"IM{n}": c for n, c in enumerate(folder(slices("bare-name")).values())}, {""}, True),
    )
    yield "dcm-text", one("a.dcm", b"hello, this is no image\n" * 30, {"NOT-AN-IMAGE"})
    yield "dcm-odd-end", one("a.dcm", as_bytes(slices("odd-end")[0])[:-1], {"DICOM-TRUNCATED"})
    yield "dcm-empty", one("a.dcm", b"", {"EMPTY"})
    yield "dcm-gzipped", one("a.dcm.gz", gzip.compress(as_bytes(slices("gzipped")[0])), {"DICOM-GZIP"})
    inner = npz({f"dcm-zipped-twice.zip/{file}": c for file, c in folder(slices("zipped-twice")).items()})
    yield "dcm-zipped-twice", Entry({"in.zip": npz({"dcm-zipped-twice.zip": inner})}, {""}, True)
    yield "dcm-directory", Entry({"DICOMDIR": directory()}, {"DICOM-NO-IMAGE"})


def directory() -> bytes:
    """A media directory with one patient's record, whose name must not get anywhere."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = uid.MediaStorageDirectoryStorage
    ds.file_meta.MediaStorageSOPInstanceUID = uid.generate_uid()
    record = Dataset()
    record.DirectoryRecordType, record.PatientName, record.PatientID = "PATIENT", "CANARYxSMITH^JOHN", "CANARYxID"
    record.ReferencedFileID = ["..", "..", "etc", "passwd"]
    ds.FileSetID, ds.DirectoryRecordSequence = "CANARYxDIR", DicomSequence([record])
    return as_bytes(ds)


def _nested() -> Iterator[tuple[str, Entry]]:
    for depth in (1_000, 9_000):
        inner = b""
        for _ in range(depth):
            item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
            inner = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, len(item)) + item
        content = as_bytes(slices(f"nested-{depth}")[0])
        place = content.index(struct.pack("<HH2s", 0x0010, 0x0010, b"PN"))
        yield f"dcm-nested-{depth}", one("a.dcm", content[:place] + inner + content[place:], {"DICOM-NESTED"})
    ds = slices("private")[0]
    ds.private_block(0x0019, "ANY", create=True).add_new(0x01, "UN", b"\1\2\3\4CANARYxSMITH")
    yield "dcm-private-unknown", Entry({"a.dcm": as_bytes(ds)}, {"ONE-SLICE"})
    syntax, newer = (b"\x02\x00\x10\x00UI" + struct.pack("<H", len(name)) + name for name in (PLAIN, JPEG_XL))
    yield "dcm-jpeg-xl", one("a.dcm", as_bytes(slices("jpeg-xl")[0]).replace(syntax, newer), {"DICOM-SYNTAX"})


def _frames() -> Iterator[tuple[str, Entry]]:
    """Enhanced MR that says another number of frames than it describes, or holds."""
    for name, said, held, code in (("more", 4, 4, "DICOM-FRAMES"), ("fewer-pixels", 3, 2, "DICOM-TRUNCATED")):
        ds = slices(f"enhanced-{name}", kind="MR")[0]
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = uid.EnhancedMRImageStorage
        shared, measures, plane = Dataset(), Dataset(), Dataset()
        measures.PixelSpacing, plane.ImageOrientationPatient = [2.0, 1.0], [1, 0, 0, 0, 1, 0]
        shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = (
            DicomSequence([measures]),
            DicomSequence([plane]),
        )
        groups = [Dataset() for _ in range(3)]
        for k, group in enumerate(groups):
            place = Dataset()
            place.ImagePositionPatient = [0, 0, 3.0 * k]
            group.PlanePositionSequence = DicomSequence([place])
        ds.SharedFunctionalGroupsSequence = DicomSequence([shared])
        ds.PerFrameFunctionalGroupsSequence = DicomSequence(groups)
        ds.NumberOfFrames, ds.PixelData = said, ds.PixelData * held
        yield f"dcm-frames-{name}", one("a.dcm", as_bytes(ds), {code})
