"""What is read of a DICOM header: a short list of tags, for geometry, meaning and privacy. Nothing else is kept."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import Any

from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag

from core.readers.dicom_private import GE_B_VALUE, PHILIPS_B_VALUE, READ, SIEMENS_B_VALUE, private_number

KINDS: dict[str, str] = {  # SOP class -> kind; anything else is refused or has no picture
    uid.CTImageStorage: "CT",
    uid.EnhancedCTImageStorage: "CT",
    uid.LegacyConvertedEnhancedCTImageStorage: "CT",
    uid.MRImageStorage: "MR",
    uid.EnhancedMRImageStorage: "MR",
    uid.LegacyConvertedEnhancedMRImageStorage: "MR",
    uid.PositronEmissionTomographyImageStorage: "PET",
    uid.EnhancedPETImageStorage: "PET",
    uid.LegacyConvertedEnhancedPETImageStorage: "PET",
    uid.NuclearMedicineImageStorage: "NM",
    uid.XRayAngiographicImageStorage: "XA",
    uid.UltrasoundImageStorage: "US",
    uid.UltrasoundMultiFrameImageStorage: "US",
    uid.UID("1.2.840.10008.5.1.4.1.1.6"): "US",  # retired
    uid.UID("1.2.840.10008.5.1.4.1.1.3"): "US",  # retired, multi-frame
    uid.SecondaryCaptureImageStorage: "SC",
    uid.MultiFrameSingleBitSecondaryCaptureImageStorage: "SC",
    uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage: "SC",
    uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage: "SC",
    uid.MultiFrameTrueColorSecondaryCaptureImageStorage: "SC",
}
PICTURES = ("US", "SC", "XA", "NM")  # kinds that may be in colour, or a film without a place
TAGS = [
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID", "PatientID",
    "IssuerOfPatientID", "Modality", "ImageType", "BurnedInAnnotation", "SeriesDescription", "ProtocolName",
    "PatientName", "PatientBirthDate", "ContrastBolusAgent", "EchoTime", "EchoNumbers", "DiffusionBValue",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices",
    "NumberOfFrames",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "SamplesPerPixel",
    "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept", "RescaleType",
    "ModalityLUTSequence", "LossyImageCompression", "Units", "SUVType", "DecayCorrection", "CorrectedImage",
    "PatientWeight", "SeriesDate", "SeriesTime", "AcquisitionDate", "AcquisitionTime",
    "RadiopharmaceuticalInformationSequence", "PlanarConfiguration", "SequenceOfUltrasoundRegions",
    "ImagerPixelSpacing", "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData", "SegmentedRedPaletteColorLookupTableData",
    "SegmentedGreenPaletteColorLookupTableData", "SegmentedBluePaletteColorLookupTableData",
    "TemporalPositionIdentifier", "AcquisitionNumber", "FrameReferenceTime", "TriggerTime", "AcquisitionDateTime",
    "ContentDate", "ContentTime", "InversionTime", "FlipAngle", "DiffusionGradientOrientation",
    "ComplexImageComponent", "DecayCorrected", "AttenuationCorrected", "DecayCorrectionDateTime",
    "TimezoneOffsetFromUTC",
]  # fmt: skip
WHITELIST = [*(Tag(tag) for tag in TAGS), *(tag for private in READ for tag in private.tags())]
GE_B_OFFSET = 1e9
HIGH_B_VALUE = 800.0
MAPS = frozenset({"ADC", "TRACEW", "TRACE", "EADC", "FA", "CALC_BVALUE", "ISOTROPIC"})  # the scanner's own computations
_CONTRAST = re.compile(r"(?<![a-z])(gd|gad|ce|post|km|contrast|\+c)(?![a-z])")
_WORDS: tuple[tuple[str, str], ...] = (  # in a series' description, first match wins
    (r"flair|dark.?fluid|tirm", "FLAIR"),
    (r"(?<![a-z])adc(?![a-z])|_adc", "ADC"),
    (r"calc_?bval|(?<![a-z])hbv", "HBV"),
    (r"dwi|diff(?!ic)|(?<![a-z])tracew?(?![a-z])", "DWI"),
    (r"(?<![a-z])swi", "SWI"),
    (r"t2(\*|.?star)", "T2STAR"),
    (r"(?<![a-z0-9])t2(?![0-9])", "T2W"),
    (r"(?<![a-z0-9])t1(?![0-9])|mprage|vibe|spgr", "T1"),
    (r"(?<![a-z])pd(w|_|\b)", "PD"),
)


def value_of(dataset: Dataset, name: str) -> Any:
    """A tag's value, None where it is absent: `Dataset.get`, which takes four times as long to find it by its name."""
    tag = _tag(name)
    return dataset[tag].value if tag in dataset else None


@lru_cache(1000)
def _tag(name: str) -> BaseTag:
    return Tag(name)


def number(dataset: Dataset, tag: str) -> float | None:
    """A tag's first value as a finite number; None where it is absent, empty or no number."""
    values = numbers(dataset, tag)
    return values[0] if values else None


def numbers(dataset: Dataset, tag: str) -> tuple[float, ...]:
    """All values of a tag as finite numbers; () where one of them is none."""
    value = value_of(dataset, tag)
    if value is None or value == "":
        return ()
    try:
        found = tuple(float(v) for v in (value if isinstance(value, MultiValue | list | tuple) else [value]))
    except (TypeError, ValueError):
        return ()
    return found if all(math.isfinite(v) for v in found) else ()


def n_frames(dataset: Dataset) -> int:
    """The number of frames, 1 where it is not said."""
    return int(number(dataset, "NumberOfFrames") or 1)


def text(dataset: Dataset, tag: str) -> str:
    """A tag as text, for comparison within this process only."""
    value = value_of(dataset, tag)
    return "" if value is None else str(value).strip()


def image_type(dataset: Dataset) -> tuple[str, ...]:
    """ImageType's values in capitals."""
    value = value_of(dataset, "ImageType")
    if value is None:
        return ()
    values = value if isinstance(value, MultiValue | list | tuple) else [value]
    return tuple(str(v).strip().upper() for v in values)


def modality_name(dataset: Dataset, kind: str) -> str:
    """The modality by a fixed vocabulary: of the SOP class, the image type, or the words of the description."""
    if kind != "MR":
        return kind
    types = image_type(dataset)
    if "ADC" in types:
        return "ADC"
    description = f"{text(dataset, 'SeriesDescription')} {text(dataset, 'ProtocolName')}".lower()
    first = text(dataset, "SeriesDescription").lower() or description
    found = _by_words(first) or _by_words(description)
    if found in ("DWI", "") and any(map_name in types for map_name in ("TRACEW", "TRACE", "CALC_BVALUE")):
        found = "DWI"
    if found == "DWI" and (b_value(dataset) or 0) >= HIGH_B_VALUE and "DERIVED" in types:
        return "HBV"
    if found == "T1" and (text(dataset, "ContrastBolusAgent") or _CONTRAST.search(first)):
        return "T1POST"
    return found or "MR"


def _by_words(description: str) -> str:
    return next((name for pattern, name in _WORDS if re.search(pattern, description)), "")


def b_value(dataset: Dataset) -> float | None:
    """The diffusion weighting in s/mm2, by the standard tag or the vendors'."""
    standard = number(dataset, "DiffusionBValue")
    found = (private_number(dataset, tag) for tag in (SIEMENS_B_VALUE, PHILIPS_B_VALUE, GE_B_VALUE))
    private = next((value for value in found if value is not None), None)
    if standard is not None or private is None:
        return standard
    return private % GE_B_OFFSET  # which GE adds where there are several directions


def region_spacing_mm(dataset: Dataset) -> tuple[float, float] | tuple[()]:
    """(between rows, between columns) of an ultrasound's tissue regions, where they are in cm and agree; else ().

    Source:
        DICOM PS3.3 C.8.5.5, US region calibration: spatial format 1 is two-dimensional, data type 1 is tissue.
    """
    found = set()
    for region in dataset.get("SequenceOfUltrasoundRegions") or []:
        kinds = [number(region, tag) for tag in ("RegionSpatialFormat", "RegionDataType")]
        units = [number(region, tag) for tag in ("PhysicalUnitsXDirection", "PhysicalUnitsYDirection")]
        deltas = [abs(number(region, tag) or 0.0) * 10 for tag in ("PhysicalDeltaY", "PhysicalDeltaX")]
        if kinds == [1, 1] and units == [3, 3] and min(deltas) > 0:
            found.add((round(deltas[0], 6), round(deltas[1], 6)))
    return found.pop() if len(found) == 1 else ()


def privacy_fate(dataset: Dataset, kind: str) -> tuple[bool, tuple[str, ...]]:
    """Whether text may be burned into the pixels.

    Returns:
        Whether it waits until a person has looked; and warnings: DERIVED-MAP asks for the automatic check.
    """
    if kind in ("US", "SC"):
        return True, ()
    burned = text(dataset, "BurnedInAnnotation").upper()
    types = image_type(dataset)
    if burned == "NO":
        return False, ()
    if not burned and kind in ("CT", "MR", "PET"):
        if types[:2] == ("ORIGINAL", "PRIMARY"):
            return False, ()
        if kind == "MR" and types[:2] == ("DERIVED", "PRIMARY") and MAPS & set(types):
            return False, ("DERIVED-MAP",)
    return True, ()
