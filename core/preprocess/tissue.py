"""Tissue classes as a label map, for evaluation: a mixture of intensities in the brain, Hounsfield units in CT."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage

from core.config import Settings
from core.preprocess.grids import Mask
from core.preprocess.piece import Piece
from core.types import LABEL_UNIT, Array, Volume

CSF, GREY, WHITE = 1, 2, 3
CONTRASTS = {"T1": (CSF, GREY, WHITE), "T2": (WHITE, GREY, CSF)}  # from dark to bright
AIR, SOFT, BONE = 1, 2, 3
SOFT_HU, BONE_HU = -200.0, 250.0
SAMPLES = 40_000
SMOOTH_VOXELS = 0.6


class TissueConfig(Settings):
    enabled: bool = Field(
        False, description="Store tissue classes as label maps: CSF, grey and white matter; in CT air, soft, bone"
    )


def label_case(piece: Piece, config: TissueConfig) -> Piece:
    """The case with `tissue` (from T1, else T2, inside the mask) and `tissue_ct`; nothing where neither is there."""
    if not config.enabled:
        return piece
    maps: dict[str, Volume] = {}
    for modality, order in CONTRASTS.items():
        if modality in piece.images and "tissue" not in piece.volumes and not maps:
            classes = brain_tissue(piece.volumes[modality].data, piece.mask, order)
            maps["tissue"] = Volume(classes.astype(np.float32), piece.grid.affine, "tissue", LABEL_UNIT)
    for volume in piece.images.values():
        if volume.unit == "HU":
            classes = np.where(piece.mask, np.digitize(volume.data, [SOFT_HU, BONE_HU]) + 1, 0)
            maps["tissue_ct"] = Volume(classes.astype(np.float32), piece.grid.affine, "tissue_ct", LABEL_UNIT)
    return replace(piece, volumes={**piece.volumes, **maps})


def brain_tissue(data: Array, mask: Mask, order: tuple[int, int, int]) -> NDArray[np.uint8]:
    """(I, J, K) classes inside the mask, 0 outside; `order` is from dark to bright.

    A mixture of three Gaussians over lightly smoothed intensities, each voxel the class that is likeliest.

    Source:
        Wells et al. 1996, Adaptive segmentation of MRI data, IEEE TMI 15(4), without its bias field.
    """
    from sklearn.mixture import GaussianMixture

    smooth = ndimage.gaussian_filter(data, [SMOOTH_VOXELS if n > 8 else 0 for n in data.shape])
    inside = smooth[mask].astype(np.float64)[:, None]
    low, high = np.percentile(inside, [1, 99])
    typical = np.clip(inside, low, high)
    rng = np.random.default_rng(0)
    sample = typical[rng.choice(len(typical), min(SAMPLES, len(typical)), replace=False)]
    mixture = GaussianMixture(3, random_state=0, max_iter=200).fit(sample)
    rank = np.argsort(np.argsort(mixture.means_[:, 0]))
    classes = np.zeros(data.shape, np.uint8)
    classes[mask] = np.asarray(order)[rank[mixture.predict(typical)]]
    return classes
