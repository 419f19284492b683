"""The slow drift of MR intensities across the image, estimated and divided out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import SimpleITK as sitk
from pydantic import Field

from core.config import Settings
from core.itk import from_itk, one_thread, to_itk
from core.preprocess.grids import EVERYWHERE, Mask
from core.preprocess.masks import background_of, make_mask
from core.preprocess.piece import Piece
from core.types import PHYSICAL_UNITS, Volume

UNTOUCHED = ("ADC", "US", "PET", "SPECT", "CT", "FA", "MD", "CBF")  # measured values, or no coil's field
WORKING_MM = 4.0  # the field is smooth: it is estimated on a coarse copy
ITERATIONS = (40, 40, 30)
MIN_VOXELS = 16


class BiasConfig(Settings):
    enabled: bool = Field(False, description="Even out the slow drift of brightness in MR images (N4)")


def correct_case(piece: Piece, config: BiasConfig) -> Piece:
    """Every MR image of the case without its bias field."""
    if not config.enabled:
        return piece
    drifting = {name: volume for name, volume in piece.images.items() if _is_mr(volume) and piece.field_of(name).any()}
    even = {name: correct(volume, piece.field_of(name)) for name, volume in drifting.items()}
    return replace(piece, volumes={**piece.volumes, **even})


def _is_mr(volume: Volume) -> bool:
    return volume.unit not in PHYSICAL_UNITS and volume.modality not in UNTOUCHED and min(volume.data.shape) > 1


def correct(volume: Volume, covered: Mask = EVERYWHERE) -> Volume:
    """The volume divided by its bias field; voxels outside the body stay in step, an empty background stays as it is.

    Source:
        Tustison et al. 2010, N4ITK: improved N3 bias correction, IEEE TMI 29(6).
    """
    mask, _ = make_mask(volume, "foreground", covered)
    factors = [
        max(1, min(round(WORKING_MM / mm), n // MIN_VOXELS or 1))
        for mm, n in zip(volume.spacing_mm, volume.data.shape, strict=True)
    ]
    background = background_of(volume.data, covered)
    above = volume.data - background
    image = to_itk(np.maximum(above, 0) + np.float32(1e-3), volume.affine)
    inside = to_itk(mask.astype(np.uint8), volume.affine)
    coarse, coarse_inside = sitk.Shrink(image, factors), sitk.Shrink(inside, factors)
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations(list(ITERATIONS))
    with one_thread():
        n4.Execute(coarse, coarse_inside)
        field = from_itk(n4.GetLogBiasFieldAsImage(image))
    np.exp(field, out=field)
    field /= field[mask].mean()
    above /= field
    above += background
    return volume.with_data(above)
