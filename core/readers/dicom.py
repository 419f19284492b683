"""DICOM: one item a slice or frame, with whitelisted facts; slices that belong together become a volume."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID

from core.deidentify import Pseudonym, looks_like_text
from core.errors import RefusedError, UnreadableImageError, UserError
from core.readers.dicom_file import open_dicom
from core.readers.dicom_header import (
    KINDS,
    PICTURES,
    image_type,
    modality_name,
    number,
    numbers,
    privacy_fate,
    region_spacing_mm,
    text,
)
from core.readers.dicom_pixels import (
    blanked,
    check_pixels,
    check_syntax,
    frame_values,
    grey_values,
    is_lossy,
    is_rescaled,
    n_frames,
    rescale,
)
from core.readers.dicom_suv import suv_factor
from core.readers.dicom_traits import component_of, times, traits
from core.readers.geometry import flips_to_ras, lps_to_ras, straighten, to_ras
from core.readers.item import MAX_FRAMES, Item, Part
from core.readers.room import voxels
from core.readers.values import finish
from core.types import Affine, Array, Volume

LOCALISERS = ("LOCALIZER", "SCOUT", "TOPOGRAM")
UNCHECKED = "Text with a person's name may be burned into this picture; somebody has to look at it first."


def matches(head: bytes) -> bool:
    """ "DICM" after the preamble, or, without one, an element of group 2 or 8 at the very start."""
    if head[128:132] == b"DICM":
        return True
    group = head[:2]
    return len(head) > 64 and group in (b"\x08\x00", b"\x02\x00") and head[3:4] == b"\x00"


def scan(path: Path, pseudonym: Pseudonym) -> list[Item]:
    """One item for each slice or frame; the header alone is read."""
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
        item = replace(item, warnings=(*warnings, *_doubts(dataset, kind)))
        return _frames(dataset, kind, item, pseudonym)
    except UserError as error:
        return [replace(item, fate="rejected", code=error.code, message=str(error))]


def _without_picture(dataset: Dataset) -> Item:
    if "SOPClassUID" in dataset and "Rows" in dataset:
        raise RefusedError("This kind of DICOM image is not supported; CT, MR, PET and ultrasound are.", "DICOM-KIND")
    sop_class = str(dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID", ""))
    if sop_class in KINDS or UID(sop_class).type != "SOP Class":
        raise UnreadableImageError("The file looks like DICOM, but is damaged or something else.", "DICOM-DAMAGED")
    message = "A DICOM file without a picture (a report, a plan, a directory)."
    return Item("dicom", (), fate="ignored", code="DICOM-NO-IMAGE", message=message)


def _identified(dataset: Dataset, kind: str, pseudonym: Pseudonym) -> Item:
    """Keyed hashes in place of identities, and what the header says of the slice as a whole."""
    patient_id = text(dataset, "PatientID")
    person = f"patient/{text(dataset, 'IssuerOfPatientID')}/{patient_id}"
    if not patient_id:
        person = f"study/{text(dataset, 'StudyInstanceUID')}"
    patient = pseudonym(person)
    instance = text(dataset, "SOPInstanceUID")
    series = text(dataset, "SeriesInstanceUID") or instance
    return Item(
        "dicom",
        (int(dataset.get("Columns") or 0), int(dataset.get("Rows") or 0)),
        modality=modality_name(dataset, kind),
        patient=patient,
        series=pseudonym(f"series/{patient}/{series}"),
        frame=pseudonym(f"frame/{text(dataset, 'FrameOfReferenceUID')}"),
        instance=pseudonym(f"instance/{instance}"),
    )


def _doubts(dataset: Dataset, kind: str) -> list[str]:
    codes = []
    if not text(dataset, "PatientID"):
        codes.append("NO-PATIENT-ID")
    if is_lossy(dataset):
        codes.append("LOSSY")
    if kind == "PET" and suv_factor(dataset) is None:
        codes.append("SUV-NOT-POSSIBLE")
    if text(dataset, "PhotometricInterpretation") == "MONOCHROME1" and kind != "CT":
        codes.append("INVERTED")
    return codes


def _unit(facts: Dataset, dataset: Dataset, kind: str) -> str:
    """HU and SUV only where the header has all that they need."""
    if kind == "CT":
        return "HU" if is_rescaled(facts) and text(facts, "RescaleType") in ("", "HU") else "a.u."
    return "SUV" if kind == "PET" and suv_factor(dataset) is not None else "a.u."


def _frames(dataset: Dataset, kind: str, item: Item, pseudonym: Pseudonym) -> list[Item]:
    total = n_frames(dataset)
    if "MOSAIC" in image_type(dataset):
        raise RefusedError("A mosaic of slices in one picture; export it as single slices.", "DICOM-MOSAIC")
    if not 1 <= total <= MAX_FRAMES:
        raise RefusedError(f"The file holds {total:,} frames; at most {MAX_FRAMES:,} can be read.", "DICOM-FRAMES")
    groups = dataset.get("PerFrameFunctionalGroupsSequence")
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
        unit = _unit(facts, dataset, kind)
        lost = ("NO-RESCALE",) if kind == "CT" and unit != "HU" else ()
        frame = replace(item, unit=unit, part=n, warnings=(*item.warnings, *lost))
        items.append(_placed(dataset, facts, frame, pseudonym))
    return items


def functional_group(dataset: Dataset, frame: int) -> Dataset:
    """One frame's facts as if it were a file of its own: the shared ones, overruled by the frame's."""
    if "PerFrameFunctionalGroupsSequence" not in dataset:
        return dataset
    flat = Dataset()
    shared = dataset.get("SharedFunctionalGroupsSequence") or [Dataset()]
    for group in (shared[0], dataset.PerFrameFunctionalGroupsSequence[frame]):
        for element in group:
            if element.VR == "SQ" and len(element.value) == 1:
                flat.update(element.value[0])
    return flat


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
    region = region_spacing_mm(facts)
    if region:
        return region, ()
    detector = numbers(facts, "ImagerPixelSpacing")
    if len(detector) == 2 and min(detector) > 0:
        return (detector[0], detector[1]), ("AT-DETECTOR",)
    return (1.0, 1.0), ("NO-SPACING",)


def read(parts: Sequence[Part], modality: str) -> Volume:
    """The slices, in the order given, as one volume in RAS; of several volumes in time the one that is asked for."""
    parts, warnings = _of_one_moment(parts)
    item = parts[0][1]
    columns, rows = item.shape[:2]
    affine = _affine_of([part for _, part in parts])
    flips = flips_to_ras(lps_to_ras(affine))
    # Slice after slice in memory, written backwards along the axes that will be turned: turning costs no copy then.
    stack = voxels((len(parts), rows, columns)).transpose(2, 1, 0)[flips]
    factors = []
    for k, (dataset, part) in enumerate(_opened(parts)):
        kind = KINDS[str(dataset.SOPClassUID)]
        frame = _frame_of(part, warnings)
        values = grey_values(dataset, frame, warnings) if kind in PICTURES else frame_values(dataset, frame)
        facts = functional_group(dataset, frame)
        rescale(dataset, facts, blanked(values, part.blank), kind, out=stack[:, :, k].T)
        factors.append(suv_factor(dataset) if kind == "PET" else 1.0)
    known = [factor for factor in factors if factor is not None]
    if item.unit == "SUV" and len(known) == len(factors):
        stack *= min(known)  # the earliest start: what the decay of all slices was corrected to
    if "DERIVED-MAP" in item.warnings and not item.reviewed:
        _refuse_text(stack)
    if "GANTRY-TILT" in item.warnings:
        stack, affine = straighten(stack, affine)
    data, affine = to_ras(stack, lps_to_ras(affine))
    return finish(data, affine, modality, item.unit, warnings)


def _of_one_moment(parts: Sequence[Part]) -> tuple[Sequence[Part], list[str]]:
    """The parts of the volume that is read, the first unless another is asked for; and the warnings that stay."""
    item = parts[0][1]
    if item.moment < 0:
        return parts, list(item.warnings)
    if item.frame_index >= item.frames:
        raise UnreadableImageError(f"There is no frame {item.frame_index}; the series holds {item.frames}.", "FRAME")
    chosen = [(path, replace(part, frames=1)) for path, part in parts if part.moment == max(0, item.frame_index)]
    return chosen, [code for code in item.warnings if code != "TIME-POINTS" or item.frame_index < 0]


def _frame_of(part: Item, warnings: list[str]) -> int:
    """Which frame is read: the one asked for, else the middle one of those without a place."""
    if part.frames == 1:
        return part.part
    if 0 <= part.frame_index < part.frames:
        return part.frame_index
    if part.frame_index >= part.frames:
        raise UnreadableImageError(f"There is no frame {part.frame_index}; the file holds {part.frames}.", "FRAME")
    warnings.append("FRAME-CHOSEN")
    return part.frames // 2


def _opened(parts: Sequence[Part]) -> Iterator[tuple[Dataset, Item]]:
    """Each part with its file's dataset; a file of many frames is opened once."""
    opened, dataset = None, Dataset()
    for path, part in parts:
        if path != opened:
            opened, dataset = path, open_dicom(path, pixels=True)
            check_pixels(dataset, in_colour=KINDS[str(dataset.SOPClassUID)] in PICTURES)
        yield dataset, part


def _refuse_text(stack: Array) -> None:
    if any(looks_like_text(stack[:, :, k].T) for k in range(stack.shape[2])):
        raise RefusedError("The picture seems to have text burned in; somebody has to look at it.", "BURNED-IN-TEXT")


def _affine_of(items: Sequence[Item]) -> Affine:
    """Where the slices (columns, rows, K) lie in the patient: voxel -> LPS mm."""
    first, last = items[0], items[-1]
    column_mm, row_mm, thickness = first.spacing_mm
    affine = np.diag([column_mm, row_mm, thickness or 1.0, 1.0])
    if first.position:
        affine[:3, :3] *= 0
        affine[:3, 0] = np.asarray(first.axes[:3]) * column_mm
        affine[:3, 1] = np.asarray(first.axes[3:]) * row_mm
        affine[:3, 2] = np.cross(first.axes[:3], first.axes[3:]) * (thickness or 1.0)
        affine[:3, 3] = first.position
    if len(items) > 1:
        affine[:3, 2] = (np.asarray(last.position) - np.asarray(first.position)) / (len(items) - 1)
    return affine
