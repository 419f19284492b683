"""Looking at a DICOM file: one item a slice, frame or tile, with whitelisted facts; the header alone is read."""

from __future__ import annotations

import re
import struct
from dataclasses import replace
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import UID

from core.deidentify import Pseudonym
from core.errors import RefusedError, UnreadableImageError, UserError
from core.readers import dicom_mosaic as mosaic
from core.readers.dicom_checks import check_pixels, check_rescale, check_syntax, is_lossy, is_rescaled
from core.readers.dicom_file import open_dicom
from core.readers.dicom_groups import functional_group
from core.readers.dicom_header import (
    KINDS,
    PICTURES,
    image_type,
    modality_name,
    n_frames,
    number,
    numbers,
    privacy_fate,
    region_spacing_mm,
    text,
)
from core.readers.dicom_suv import suv_factor
from core.readers.dicom_traits import component_of, times, traits
from core.readers.item import MAX_FRAMES, Item

MAX_NAME = 80
LOCALISERS = ("LOCALIZER", "SCOUT", "TOPOGRAM")
DAMAGED = "The DICOM header is damaged: a value in it is none that can be. Export the file again."
DAMAGE = (  # what pydicom raises on values that are none
    ValueError, TypeError, LookupError, AttributeError, NotImplementedError, OverflowError, RecursionError,
    struct.error,
)  # fmt: skip
WITHOUT_UNIT = {"CT": "NO-RESCALE", "PET": "SUV-NOT-POSSIBLE"}
UNCHECKED = "Text with a person's name may be burned into this picture; somebody has to look at it first."


def matches(head: bytes) -> bool:
    """ "DICM" after the preamble; without one, an element of group 2 or 8 at the very start, in either byte order."""
    if head[128:132] == b"DICM":
        return True
    is_little = head[:2] in (b"\x08\x00", b"\x02\x00") and head[3:4] == b"\x00"
    return len(head) > 64 and (is_little or (head[:3] == b"\x00\x08\x00" and head[4:6].isalpha()))


def scan(path: Path, pseudonym: Pseudonym) -> list[Item]:
    """One item for each slice or frame; the header alone is read.

    Raises:
        UserError: The file says of no image whose it is, or is damaged.
    """
    try:
        return _scanned(path, pseudonym)
    except DAMAGE as error:
        raise UnreadableImageError(DAMAGED, "DICOM-DAMAGED") from error


def _scanned(path: Path, pseudonym: Pseudonym) -> list[Item]:
    dataset = open_dicom(path, pixels=False)
    kind = KINDS.get(str(dataset.get("SOPClassUID", "")))
    if kind is None:
        return [_without_picture(dataset)]
    item = _identified(dataset, kind, pseudonym)
    try:
        held_back, warnings = privacy_fate(dataset, kind)
        if any(word in image_type(dataset) for word in LOCALISERS):
            return [
                replace(item, fate="ignored", code="LOCALISER", message="A localiser: planning lines, not a volume.")
            ]
        if held_back:
            item = replace(item, fate="quarantined", code="BURNED-IN-UNCHECKED", message=UNCHECKED)
        check_syntax(dataset)
        check_pixels(dataset, in_colour=kind in PICTURES)
        _check_series(dataset, kind)
        item = replace(item, warnings=(*warnings, *_doubts(dataset, kind)))
        return _frames(dataset, path, item, pseudonym)
    except UserError as error:
        return [replace(item, fate="rejected", code=error.code, message=str(error))]


def _check_series(dataset: Dataset, kind: str) -> None:
    """A slice of a patient must say of which series it is."""
    if kind not in PICTURES and not text(dataset, "SeriesInstanceUID"):
        raise UnreadableImageError("The slice does not say of which series it is; export it again.", "DICOM-NO-SERIES")


def _without_picture(dataset: Dataset) -> Item:
    if "SOPClassUID" in dataset and "Rows" in dataset:
        name = UID(str(dataset.SOPClassUID)).name.removesuffix(" Storage")
        what = name if name[:1].isalpha() and len(name) <= MAX_NAME else "An unknown kind of DICOM image"
        raise RefusedError(f"{what} is not supported; CT, MR, PET, NM, ultrasound and angiography are.", "DICOM-KIND")
    sop_class = str(dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID", ""))
    if sop_class in KINDS or UID(sop_class).type != "SOP Class":
        raise UnreadableImageError("The file looks like DICOM, but is damaged or something else.", "DICOM-DAMAGED")
    message = "A DICOM file without a picture (a report, a plan, a directory)."
    return Item("dicom", (), fate="ignored", code="DICOM-NO-IMAGE", message=message)


def _identified(dataset: Dataset, kind: str, pseudonym: Pseudonym) -> Item:
    """Keyed hashes in place of identities, and what the header says of the slice as a whole."""
    patient_id = text(dataset, "PatientID")
    person = f"patient/{text(dataset, 'IssuerOfPatientID')}/{patient_id}"
    instance = text(dataset, "SOPInstanceUID")
    series = text(dataset, "SeriesInstanceUID") or instance
    if not patient_id:
        person = f"study/{text(dataset, 'StudyInstanceUID') or series}"
    patient = pseudonym(person)
    return Item(
        "dicom",
        (int(dataset.get("Columns") or 0), int(dataset.get("Rows") or 0)),
        modality=modality_name(dataset, kind),
        patient=patient,
        person=pseudonym(f"person/{_name(dataset)}/{text(dataset, 'PatientBirthDate')}"),
        series=pseudonym(f"series/{patient}/{series}"),
        frame=pseudonym(f"frame/{text(dataset, 'FrameOfReferenceUID')}"),
        instance=pseudonym(f"instance/{instance}"),
    )


def _name(dataset: Dataset) -> str:
    """The patient's name without what may be written in two ways."""
    return re.sub(r"[^\w]+", "", text(dataset, "PatientName")).casefold()


def _doubts(dataset: Dataset, kind: str) -> list[str]:
    codes = []
    if not text(dataset, "PatientID"):
        codes.append("NO-PATIENT-ID")
    if is_lossy(dataset):
        codes.append("LOSSY")
    if text(dataset, "PhotometricInterpretation") == "MONOCHROME1" and kind != "CT":
        codes.append("INVERTED")
    return codes


def _unit(facts: Dataset, dataset: Dataset, kind: str) -> str:
    """HU and SUV only where the header has all that they need."""
    if kind == "CT":
        return "HU" if is_rescaled(facts) and text(facts, "RescaleType") in ("", "HU") else "a.u."
    return "SUV" if kind == "PET" and suv_factor(dataset, facts) is not None else "a.u."


def _frames(dataset: Dataset, path: Path, item: Item, pseudonym: Pseudonym) -> list[Item]:
    kind = KINDS[str(dataset.SOPClassUID)]
    total = n_frames(dataset)
    if not 1 <= total <= MAX_FRAMES:
        raise RefusedError(f"The file holds {total:,} frames; at most {MAX_FRAMES:,} can be read.", "DICOM-FRAMES")
    groups = dataset.get("PerFrameFunctionalGroupsSequence")
    if "MOSAIC" in image_type(dataset):
        if total > 1 or groups is not None:
            raise RefusedError("A mosaic of slices in several frames cannot be read; export it anew.", "DICOM-MOSAIC")
        return _tiles(dataset, path, _placed(dataset, dataset, item, pseudonym))
    if groups is None and total > 1 and kind not in PICTURES:
        raise RefusedError(
            f"The file holds {total} frames without saying where they lie; export the one to use.", "DICOM-FRAMES"
        )
    if groups is None and total > 1:
        return [_placed(dataset, dataset, replace(item, unit="a.u.", frames=total), pseudonym)]
    if groups is not None and len(groups) != total:
        raise UnreadableImageError("The file describes another number of frames than it holds.", "DICOM-FRAMES")
    items = []
    for n in range(total):
        facts = functional_group(dataset, n)
        check_rescale(facts)
        unit = _unit(facts, dataset, kind)
        lost = (WITHOUT_UNIT[kind],) if kind in WITHOUT_UNIT and unit == "a.u." else ()
        frame = replace(item, unit=unit, part=n, warnings=(*item.warnings, *lost))
        items.append(_placed(dataset, facts, frame, pseudonym))
    return items


def _tiles(dataset: Dataset, path: Path, whole: Item) -> list[Item]:
    """An item for each slice of a mosaic."""
    found, doubts = mosaic.tiles(dataset, path)
    return [
        replace(
            whole,
            part=n,
            tile=tile.box,
            shape=tile.box[2:],
            position=tile.position,
            warnings=(*whole.warnings, *doubts),
        )
        for n, tile in enumerate(found)
    ]


def _placed(dataset: Dataset, facts: Dataset, item: Item, pseudonym: Pseudonym) -> Item:
    """The item of one frame, with where it lies, what it is and when it was taken."""
    position, axes = numbers(facts, "ImagePositionPatient"), numbers(facts, "ImageOrientationPatient")
    spacing, doubts = _spacing_mm(facts)
    if len(position) != 3 or len(axes) != 6:
        position, axes = (), ()
    row_mm, column_mm = spacing
    component = component_of(dataset, facts) if KINDS[str(dataset.SOPClassUID)] == "MR" else ""
    return replace(
        item,
        modality=f"{item.modality}-{component}" if component else item.modality,
        position=position,
        axes=axes,
        spacing_mm=(column_mm, row_mm, number(facts, "SliceThickness") or 0.0),
        warnings=(*item.warnings, *doubts),
        traits=traits(dataset, facts, pseudonym),
        times=times(facts, item.series),
    )


def _spacing_mm(facts: Dataset) -> tuple[tuple[float, float], tuple[str, ...]]:
    """Between rows and between columns, and what is doubtful: of the patient, the ultrasound region, the detector."""
    spacing = numbers(facts, "PixelSpacing")
    if len(spacing) == 2 and min(spacing) > 0:
        return (spacing[0], spacing[1]), ()
    if facts.get("PixelSpacing") not in (None, ""):
        raise UnreadableImageError("The distance between voxels in the header is 0 or no number.", "DICOM-SPACING")
    region = region_spacing_mm(facts)
    if region:
        return region, ()
    detector = numbers(facts, "ImagerPixelSpacing")
    if len(detector) == 2 and min(detector) > 0:
        return (detector[0], detector[1]), ("AT-DETECTOR",)
    return (1.0, 1.0), ("NO-SPACING",)
