"""DICOM: slices that belong together become a volume."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from pydicom.dataset import Dataset

from core.deidentify import blanked, looks_like_text
from core.errors import RefusedError, UnreadableImageError
from core.readers.dicom_checks import check_pixels
from core.readers.dicom_file import open_dicom
from core.readers.dicom_groups import functional_group
from core.readers.dicom_header import KINDS, PICTURES
from core.readers.dicom_mosaic import Mosaics
from core.readers.dicom_pixels import frame_values, grey_values, rescale
from core.readers.dicom_scan import matches, scan
from core.readers.dicom_suv import suv_factor
from core.readers.geometry import flips_to_ras, lps_to_ras, straighten, to_ras
from core.readers.item import Item, Part
from core.readers.room import voxels
from core.readers.values import finish
from core.types import Affine, Array, Volume

__all__ = ["matches", "read", "scan"]


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
    mosaics = Mosaics({part.tile for _, part in parts})
    for k, (dataset, part) in enumerate(_opened(parts)):
        kind = KINDS[str(dataset.SOPClassUID)]
        frame = 0 if part.tile else _frame_of(part, warnings)
        if part.tile:
            values = mosaics.tile(dataset, part.tile)
        else:
            values = grey_values(dataset, frame, warnings) if kind in PICTURES else frame_values(dataset, frame)
        facts = functional_group(dataset, frame)
        rescale(dataset, facts, blanked(values, part.blank), kind, out=stack[:, :, k].T)
        factors.append(suv_factor(dataset, facts) if kind == "PET" else 1.0)
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
