"""The face removed: what lies in front of and below the brain, in every image of the case."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage

from core.config import Settings
from core.errors import RefusedError
from core.preprocess.brain import T1_LIKE, extract_brain
from core.preprocess.faces import FACE_VISIBLE
from core.preprocess.grids import AIR_HU, Mask
from core.preprocess.masks import make_mask
from core.preprocess.piece import Piece
from core.types import Affine, Volume

HEAD_ML = 2200.0
FRONT_SHARE = 0.5  # of the brain's length from its front: where the plane reaches the height of its lowest point
POLE_SHARE = 0.12  # of its length: the frontal pole, whose underside is the roof of the eye sockets


class DefaceConfig(Settings):
    enabled: bool = Field(False, description="Remove the face from images that show a whole head")
    margin_mm: float = Field(8.0, ge=2, le=40, description="So much around the brain is kept in any case")


def deface_case(piece: Piece, config: DefaceConfig) -> Piece:
    """The case without its face; images that were brain-extracted before have none.

    Raises:
        RefusedError: The head is whole, and no brain mask can be made that says where the face is.
    """
    if not config.enabled:
        return piece
    reference = piece.volumes[piece.reference]
    body, _ = make_mask(reference, "foreground")
    if body.sum() * np.prod(reference.spacing_mm) / 1000 <= HEAD_ML:
        return piece
    face = face_of(_brain_of(piece), piece.grid.affine, config.margin_mm)
    share = round(float((face & body).sum() / body.sum()), 3)
    found = piece.each(lambda volume: _without(volume, face))
    warnings = {name: tuple(code for code in codes if code != FACE_VISIBLE) for name, codes in piece.warnings.items()}
    return replace(found, warnings=warnings, findings={**piece.findings, "deface": {"removed_share": share}})


def _brain_of(piece: Piece) -> Mask:
    for modality in T1_LIKE:
        if modality in piece.volumes:
            brain = extract_brain(piece.volumes[modality])
            if brain is not None:
                return brain
    raise RefusedError(
        "The face cannot be removed, because no brain was found in a T1 image of this case. Deface it elsewhere, or "
        "extract the brain first.",
        "DEFACE-NO-BRAIN",
    )


def face_of(brain: Mask, affine: Affine, margin_mm: float) -> Mask:
    """(I, J, K) in front of a plane that touches the brain: from its front pole down to below its middle.

    The plane runs through the front of the brain at the height of its lowest frontal point, and leans back below; all
    within `margin_mm` of the brain, and all behind its middle, is kept.
    """
    place = _millimetres(brain.shape, affine)
    points = place[brain]
    front, back = points[:, 1].max(), points[:, 1].min()
    frontal = points[points[:, 1] > front - POLE_SHARE * (front - back)]
    low_front = np.array([front, frontal[:, 2].min() + margin_mm])  # what lies near the brain is kept below
    low_back = np.array([front - FRONT_SHARE * (front - back), points[:, 2].min() + margin_mm])
    along = low_back - low_front
    normal = np.array([-along[1], along[0]])
    normal *= np.sign(normal[0]) / np.linalg.norm(normal)  # towards the front
    ahead = (place[..., 1] - low_front[0]) * normal[0] + (place[..., 2] - low_front[1]) * normal[1] > 0
    below = (place[..., 2] < low_front[1]) & (place[..., 1] > low_back[0])
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    near = ndimage.distance_transform_edt(~brain, sampling=spacing) < margin_mm
    return np.asarray(ahead & below & ~near)


def _millimetres(shape: tuple[int, ...], affine: Affine) -> NDArray[np.float64]:
    """(I, J, K, 3) in RAS."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    return np.asarray(index @ affine[:3, :3].T + affine[:3, 3])


def _without(volume: Volume, face: Mask) -> Volume:
    outside = AIR_HU if volume.unit == "HU" else float(volume.data.min())
    return volume.with_data(np.where(face, np.float32(outside), volume.data))
