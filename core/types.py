"""The two values that flow from a file to a picture: Volume and Case. numpy only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from core.errors import UnreadableImageError

Array = NDArray[np.float32]
Affine = NDArray[np.float64]
Label = str | float

DECIBEL = "dB"  # of an echo, below the strongest of its own image
PLACE = "@"  # in the name of a score: "mae@lesion" is the MAE of that region alone
PHYSICAL_UNITS = ("HU", "SUV", DECIBEL)  # errors in these are reported in the unit; all else on the prepared 0-1 scale
LABEL_UNIT = (
    "label"  # a volume of whole numbers (lesion mask, tissue map): nearest neighbour, never an input of a model
)


@dataclass(frozen=True, eq=False)
class Volume:
    """One image of one modality, without any header.

    Attributes:
        data: (I, J, K) float32; the axes run closest to right, anterior, superior. A 2-D image has K = 1.
        affine: (4, 4) voxel index -> RAS millimetres; may be oblique.
        modality: "T1", "CT", ...
        unit: "HU", "SUV", "dB", "a.u.", or "label" for maps of whole numbers.
        warnings: codes of what is doubtful and stays with the case.
    """

    data: Array
    affine: Affine
    modality: str
    unit: str = "a.u."
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.data.ndim != 3:
            raise UnreadableImageError(
                f"The image has {self.data.ndim} axes; 3 are needed. Split the series first.", "SHAPE"
            )
        if self.affine.shape != (4, 4):
            raise UnreadableImageError("The geometry is not a 4 x 4 matrix.", "GEOMETRY")

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along each axis."""
        i, j, k = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        return float(i), float(j), float(k)

    @property
    def is_label(self) -> bool:
        """Whole-number classes rather than intensities."""
        return self.unit == LABEL_UNIT

    def with_data(self, data: Array, affine: Affine | None = None) -> Volume:
        """The same volume with other voxels (and, where given, another grid)."""
        return replace(self, data=data, affine=self.affine if affine is None else affine)


@dataclass(frozen=True, eq=False)
class Case:
    """One patient (or phantom) at one time point.

    Attributes:
        id: made by us; never taken from a header, a file or a folder name.
        volumes: modality -> volume. A modality that was not acquired is absent.
        labels: site, age band, diagnosis, known factors. No dates, no identifiers.
    """

    id: str
    volumes: Mapping[str, Volume]
    labels: Mapping[str, Label] = field(default_factory=dict)
