"""The last check of every volume, whatever its format: finite, not blank, in the range of its unit."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from core.errors import UnreadableImageError
from core.readers.naming import is_label_name
from core.types import LABEL_UNIT, Affine, Array, Volume

HU_RANGE = (-3100.0, 20_000.0)
MAX_NON_FINITE_SHARE = 0.01

WARNINGS: dict[str, str] = {  # what stays with a case, and what it means
    "NII-NO-ORIENTATION": "The header does not say how the image lies in the patient; left and right may be swapped.",
    "NII-FORMS-DISAGREE": "The header holds two geometries that disagree; the sform was used. Check left and right.",
    "NII-SHEAR": "The axes are not at right angles.",
    "NO-SPACING": "The file has no voxel spacing; 1 mm was assumed.",
    "NO-AXES": "An array does not say how it lies; its axes were taken to run right, front and up. Left and right may "
    "be swapped.",
    "NON-FINITE-REPLACED": "A few voxels were not numbers; they were set to the smallest value.",
    "PSEUDO-COLOUR": "The picture is in colour; its brightness was used, which is not a measured intensity.",
    "CT-NOT-HU": "The values do not look like Hounsfield units, so no unit is given.",
    "DERIVED-MAP": "Computed by the scanner from other images; an automatic check found no text in it.",
    "NO-PATIENT-ID": "The file names no patient, so the study was taken as one case.",
    "ONE-SLICE": "Only one slice; its thickness is what the header says, or 1 mm.",
    "SUV-NOT-POSSIBLE": "What the SUV needs is missing or out of range; the values have no unit.",
    "NO-RESCALE": "The file does not say how to turn its values into Hounsfield units; no unit is given.",
    "LOSSY": "The image was compressed with loss.",
    "INVERTED": "The picture was stored with black and white exchanged; it was turned back.",
    "GANTRY-TILT": "The slices were taken with a tilted gantry; they were shifted onto a straight grid.",
    "REVIEWED": "A person looked at the picture before the import and found no name in it.",
    "FRAME-CHOSEN": "The file holds several frames; one of them was chosen.",
    "TIME-POINTS": "The series holds several volumes of the same place (in time or direction); the first was taken.",
    "SPLIT-SERIES": "The series holds several kinds of image or orientations; each became an image of its own.",
    "INCOMPLETE": "A file of this series could not be read, so the image may lack slices at its end.",
    "MIXED-KINDS": "The slices of this image differ in echo time or weighting.",
    "MOSAIC-DIRECTION": "The mosaic does not say to which side its slices follow; the usual side was taken. "
    "Check that the image is not mirrored.",
    "MOSAIC-SPACING": "The mosaic does not say how far apart its slices are; their thickness was taken.",
    "AT-DETECTOR": "The distances are those at the detector, not in the patient.",
    "SAME-NAME": "Two series of this patient have the same kind; the later one carries a number.",
    "NO-ORIENTATION": "The file does not say how the image lies in the patient.",
    "FLAT-RESHAPED": "Each row of the array was taken as a square picture.",
    "FACE-VISIBLE": "A whole head: its face could be recognised. Prepare can remove it: recipe step Face.",
}


def finish(data: Array, affine: Affine, modality: str, unit: str = "", warnings: Sequence[str] = ()) -> Volume:
    """A checked volume.

    Args:
        data: (I, J, K) float32 in RAS.
        unit: "" where the format knows none: then by the modality and the values.

    Raises:
        UnreadableImageError: Blank, too many voxels that are not numbers, values impossible for the unit.
    """
    notes = list(warnings)
    if is_label_name(modality):
        _check_label(data)
        return Volume(data, affine, modality, LABEL_UNIT, tuple(notes))
    data, low, high = _finite(data, notes)
    if low == high:
        raise UnreadableImageError("Every voxel has the same value: there is no image to use.", "CONSTANT")
    if modality == "CT" and unit in ("", "HU"):
        unit = _ct_unit(low, high, sure=unit == "HU", notes=notes)
    return Volume(data, affine, modality, unit or "a.u.", tuple(dict.fromkeys(notes)))


def _check_label(data: Array) -> None:
    if not np.isfinite(data).all() or data.min() < 0 or data.max() > 65_535 or not np.array_equal(data, np.rint(data)):
        raise UnreadableImageError("A mask or label map holds whole numbers from 0 to 65,535 only.", "LABEL-VALUES")


def _finite(data: Array, notes: list[str]) -> tuple[Array, float, float]:
    """The data with what is no number repaired, its least and its greatest value."""
    low, high = float(data.min()), float(data.max())
    if math.isfinite(low) and math.isfinite(high):  # anything that is no number would show in one of them
        return data, low, high
    bad = ~np.isfinite(data)
    share = float(bad.mean())
    if share > MAX_NON_FINITE_SHARE:
        raise UnreadableImageError(
            f"{share:.0%} of the voxels are not numbers; at most 1% can be repaired. Export the image again.",
            "NON-FINITE",
        )
    if share > 0:
        data = np.where(bad, data[~bad].min(), data)
        notes.append("NON-FINITE-REPLACED")
    return data, float(data.min()), float(data.max())


def _ct_unit(low: float, high: float, sure: bool, notes: list[str]) -> str:
    if low < HU_RANGE[0] or high > HU_RANGE[1]:
        raise UnreadableImageError(
            f"CT values must lie within {HU_RANGE[0]:.0f} and {HU_RANGE[1]:.0f} HU; these do not.", "CT-RANGE"
        )
    if not sure and low >= 0:
        notes.append("CT-NOT-HU")
        return "a.u."
    return "HU"


def explain(codes: Sequence[str]) -> str:
    """The sentences of warnings."""
    return " ".join(WARNINGS[code] for code in codes)
