"""Tissue classes as a label map, for evaluation: a mixture of intensities in the brain, Hounsfield units in CT."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage

from core.config import Settings
from core.preprocess.brain import BONE_HU
from core.preprocess.grids import Mask
from core.preprocess.piece import Piece
from core.types import LABEL_UNIT, Array, Volume

CSF, GREY, WHITE = 1, 2, 3
CONTRASTS = {"T1": (CSF, GREY, WHITE), "T2": (WHITE, GREY, CSF)}  # from dark to bright
AIR, SOFT, BONE = 1, 2, 3
SOFT_HU = -400.0
SAMPLES = 40_000
FLAT_SHARE = 0.4  # of grey and white matter, where the image is flattest
SMOOTH_VOXELS = 0.6


class TissueConfig(Settings):
    enabled: bool = Field(
        False, description="Store tissue classes as label maps: CSF, grey and white matter; in CT air, soft, bone"
    )


def label_case(piece: Piece, config: TissueConfig) -> Piece:
    """The case with `tissue` (from T1, else T2) and `tissue_ct`; nothing where neither is there.

    Classes are told inside the mask where the image has data; 0 is where nothing is told.
    """
    if not config.enabled:
        return piece
    maps: dict[str, Volume] = {}
    for modality, order in CONTRASTS.items():
        if modality in piece.images and "tissue" not in piece.volumes and not maps:
            classes = brain_tissue(piece.volumes[modality].data, piece.seen(modality), order)
            maps["tissue"] = Volume(classes.astype(np.float32), piece.grid.affine, "tissue", LABEL_UNIT)
    for modality, volume in piece.images.items():
        if volume.unit == "HU":
            classes = np.where(piece.seen(modality), np.digitize(volume.data, [SOFT_HU, BONE_HU]) + 1, 0)
            maps["tissue_ct"] = Volume(classes.astype(np.float32), piece.grid.affine, "tissue_ct", LABEL_UNIT)
    return replace(piece, volumes={**piece.volumes, **maps})


def brain_tissue(data: Array, mask: Mask, order: tuple[int, int, int]) -> NDArray[np.uint8]:
    """(I, J, K) classes inside the mask, 0 outside; `order` is from dark to bright, fluid at one end.

    A mixture of three Gaussians over lightly smoothed intensities tells the fluid, one of two at flat places, where
    most voxels hold one tissue alone, grey and white. A voxel is of the class that fills more than half of it: the
    border is half-way between two means.

    Source:
        Santago and Gage 1993, Quantification of MR brain images by mixture density and partial volume modeling, IEEE
        TMI 12(3).
    """
    smooth = ndimage.gaussian_filter(data, [SMOOTH_VOXELS if n > 8 else 0 for n in data.shape])[mask]
    values = np.clip(smooth, *np.percentile(smooth, [1, 99]))
    dark, middle, bright = _means(values, 3)
    is_solid = values > (dark + middle) / 2 if order[0] == CSF else values < (middle + bright) / 2
    slope = ndimage.gaussian_gradient_magnitude(data, 1.0)[mask][is_solid]
    flat = values[is_solid][slope <= np.quantile(slope, FLAT_SHARE)] if is_solid.any() else values
    solid = _means(flat, 2) if len(flat) > 2 else np.array([middle, middle])
    means = np.array([dark, *solid] if order[0] == CSF else [*solid, bright])
    classes = np.zeros(data.shape, np.uint8)
    classes[mask] = np.asarray(order)[np.digitize(values, (means[:-1] + means[1:]) / 2)]
    return classes


def _means(values: NDArray[np.floating[Any]], n: int) -> NDArray[np.float64]:
    """(n,) of a mixture of Gaussians, from dark to bright."""
    from sklearn.mixture import GaussianMixture

    drawn = np.random.default_rng(0).choice(values, min(SAMPLES, len(values)), replace=False)
    mixture = GaussianMixture(n, random_state=0, max_iter=200).fit(drawn.astype(np.float64)[:, None])
    return np.asarray(np.sort(mixture.means_[:, 0]))
