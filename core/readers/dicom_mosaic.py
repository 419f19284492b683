"""Siemens mosaics: one picture that holds all slices of a volume as tiles, row after row, from the upper left.

Source:
    The CSA header and the mosaic's geometry as nibabel (https://nipy.org/nibabel/dicom/dicom_mosaic.html) and dcm2niix
    (https://www.nitrc.org/plugins/mwiki/index.php/dcm2nii:MainPage) describe them: the position in the header is the
    corner of a picture as large as the mosaic around the slice's centre, not the corner of the first slice.
"""

from __future__ import annotations

import math
import struct
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from core.errors import RefusedError
from core.readers.dicom_header import number, numbers
from core.readers.dicom_pixels import frame_values
from core.readers.dicom_private import SIEMENS_CSA, SIEMENS_TILES, private_number, private_value
from core.readers.item import Box

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it says that all of nibabel's DICOM is experimental; tests hold us to its results
    from nibabel.nicom import csareader

MAX_TILES = 1024
ALIGNED = 0.999  # cosine between the normal that is said and that of the slices' axes


@dataclass(frozen=True)
class Tile:
    """One slice: its box in the picture, and its first voxel's centre in LPS mm."""

    box: Box
    position: tuple[float, float, float]


def tiles(dataset: Dataset, path: Path) -> tuple[list[Tile], tuple[str, ...]]:
    """The slices of a mosaic in their order, and what is doubtful.

    Raises:
        RefusedError: The header does not tell for sure how the tiles make a volume.
    """
    csa = _csa(path)
    n, across = _numbers_of_tiles(dataset, csa)
    rows, columns = int(dataset.Rows) // across, int(dataset.Columns) // across
    position, spacing = numbers(dataset, "ImagePositionPatient"), numbers(dataset, "PixelSpacing")
    axes = numbers(dataset, "ImageOrientationPatient")
    if len(position) != 3 or len(axes) != 6 or len(spacing) != 2 or min(spacing) <= 0:
        raise _unsure("where it lies")
    normal, doubts = _normal(np.asarray(axes), csa)
    step_mm, more_doubts = _step_mm(dataset)
    half = ((int(dataset.Columns) - columns) / 2, (int(dataset.Rows) - rows) / 2)  # voxels from one corner to the other
    corner = np.asarray(position) + half[0] * spacing[1] * np.asarray(axes[:3])
    corner = corner + half[1] * spacing[0] * np.asarray(axes[3:])
    found = []
    for k in range(n):
        x, y, z = (corner + k * step_mm * normal).tolist()
        found.append(Tile((k % across * columns, k // across * rows, columns, rows), (x, y, z)))
    return found, doubts + more_doubts


class Mosaics:
    """Decoded mosaics, one after the other: each is decoded once for all its tiles."""

    def __init__(self, boxes: Collection[Box | tuple[()]]) -> None:
        self._boxes = boxes
        self._dataset: Dataset | None = None
        self._picture: NDArray[Any] = np.empty((0, 0))

    def tile(self, dataset: Dataset, box: Box) -> NDArray[Any]:
        """The stored values of one slice.

        Raises:
            UserError: The picture is damaged, or holds more slices than the header says.
        """
        if dataset is not self._dataset:
            self._dataset, self._picture = dataset, frame_values(dataset, 0)
            self._check_unused()
        column, row, width, height = box
        return self._picture[row : row + height, column : column + width]

    def _check_unused(self) -> None:
        """The tiles behind the last slice must be blank."""
        is_used = np.zeros(self._picture.shape, bool)
        for column, row, width, height in filter(None, self._boxes):
            is_used[row : row + height, column : column + width] = True
        rest = self._picture[~is_used]
        if rest.size and rest.min() != rest.max():
            raise _unsure("how many slices it holds")


def _unsure(what: str) -> RefusedError:
    return RefusedError(
        f"A mosaic of slices in one picture, which does not say for sure {what}; export it as single slices.",
        "DICOM-MOSAIC",
    )


def _csa(path: Path) -> dict[str, Sequence[float]]:
    """The numbers of the private header that the scanner adds, by name; empty where it is absent.

    Raises:
        RefusedError: It is damaged.
    """
    dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=[*SIEMENS_CSA.tags()])
    content = private_value(dataset, SIEMENS_CSA)
    if not isinstance(content, bytes) or not content.strip(b"\0 "):
        return {}
    try:
        found = csareader.read(content)["tags"]
        return {name: found[name]["items"] for name in ("NumberOfImagesInMosaic", "SliceNormalVector") if name in found}
    except (csareader.CSAError, struct.error, ValueError, KeyError, IndexError, TypeError) as error:
        raise _unsure("how its slices lie (its private header is damaged)") from error


def _numbers_of_tiles(dataset: Dataset, csa: dict[str, Sequence[float]]) -> tuple[int, int]:
    """How many tiles, and how many side by side."""
    said = {private_number(dataset, SIEMENS_TILES), *csa.get("NumberOfImagesInMosaic", ())[:1]} - {None}
    if len(said) != 1:
        raise _unsure("how many slices it holds")
    n = int(said.pop() or 0)
    if not 2 <= n <= MAX_TILES:
        raise _unsure("how many slices it holds")
    across = math.isqrt(n - 1) + 1
    if int(dataset.Rows) % across or int(dataset.Columns) % across:
        raise _unsure("how large its slices are")
    return n, across


def _normal(axes: NDArray[np.float64], csa: dict[str, Sequence[float]]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """To which side the slices follow one another: as the scanner says, which may be against the axes' own normal."""
    own = np.cross(axes[:3], axes[3:])
    said = np.asarray(csa.get("SliceNormalVector", ())[:3], float)
    if said.size == 0:
        return own, ("MOSAIC-DIRECTION",)
    if said.size != 3 or not np.isfinite(said).all() or not abs(said @ own) >= ALIGNED:
        raise _unsure("to which side its slices follow")
    return own * np.sign(said @ own), ()


def _step_mm(dataset: Dataset) -> tuple[float, tuple[str, ...]]:
    between, thickness = number(dataset, "SpacingBetweenSlices"), number(dataset, "SliceThickness")
    if between is not None and between > 0:
        return between, ()
    if thickness is None or thickness <= 0:
        raise _unsure("how far apart its slices are")
    return thickness, ("MOSAIC-SPACING",)
