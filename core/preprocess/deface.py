"""The face removed: what lies in front of and below the brain, eyes included, in every image of the case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage

from core.config import Settings
from core.errors import RefusedError
from core.preprocess.brain import BONE_HU, T1_LIKE, find_brain
from core.preprocess.faces import DOME, FACE_VISIBLE, FACELESS, shows_face
from core.preprocess.grids import AIR_HU, Grid, Mask, is_tilted, mask_on, upright
from core.preprocess.masks import MAX_BRAIN_ML, is_cut_out, make_mask
from core.preprocess.piece import Piece
from core.types import Affine, Volume

NECK_CM2 = 30.0  # a head, or a part of one, is cut through more than this at its lower end; a brain ends by itself
BONE_SHARE = 0.02  # so much bone is no extracted brain
WORKING_MM = (2.0, 2.0, 2.0)  # of the upright copy of a tilted brain
FRONT_SHARE = 0.5  # of the brain's length from its front: so far back reaches what is removed
POLE_SHARE = 0.04  # of its length: the tip of the frontal lobes
UNSURE, UNSURE_MM = ("T2", "PD"), 4.0  # more is kept around a brain found there, whose outline is rougher


class DefaceConfig(Settings):
    enabled: bool = Field(False, description="Remove the face from images that show a whole head")
    margin_mm: float = Field(
        4.0,
        ge=2,
        le=40,
        description="So much around the brain is kept in any case; from 8 on, parts of the eye sockets stay",
    )


def deface_case(piece: Piece, config: DefaceConfig) -> Piece:
    """The case without its face; images that were brain-extracted before have none.

    A warning of a face goes where none is seen any longer; what was removed is no part of the images from then on.

    Raises:
        RefusedError: A head is whole, and no brain mask can be made that says where the face is.
    """
    if not config.enabled:
        return piece
    bodies = {name: make_mask(volume, "foreground", piece.field_of(name))[0] for name, volume in piece.images.items()}
    heads = {name: body for name, body in bodies.items() if body.any() and _may_show_face(name, body, piece)}
    if not heads:
        return piece
    source, brain = _brain_of(piece, [name for name in bodies if name not in heads])
    face = face_of(brain, piece.grid.affine, margin_after(source, config))
    body = heads.get(piece.reference, next(iter(heads.values())))
    share = round(float((face & body).sum() / body.sum()), 3)
    covered = {**piece.covered, **{name: piece.field_of(name) & ~face for name in piece.images}}
    found = replace(piece.each(lambda volume: _without(volume, face)), covered=covered)
    warnings = {name: _still_true(name, found) for name in piece.warnings}
    findings = {**piece.findings, "deface": {"removed_share": share, "by": source}}
    return replace(found, warnings=warnings, findings=findings)


def _may_show_face(name: str, body: Mask, piece: Piece) -> bool:
    """Whether an image is anything but an extracted brain, or of a kind and size that shows no face."""
    volume, covered = piece.volumes[name], piece.field_of(name)
    is_large = body.sum() * np.prod(volume.spacing_mm) / 1000 > MAX_BRAIN_ML
    if is_large or FACE_VISIBLE in piece.warnings.get(name, ()):
        return True
    if name in FACELESS or volume.unit == "SUV":
        return False
    has_bone = volume.unit == "HU" and (volume.data[body] > BONE_HU).mean() > BONE_SHARE
    is_brain = is_cut_out(volume, covered) and not has_bone and not _is_cut_below(body, covered, volume)
    return not is_brain or shows_face(volume, covered)


def _is_cut_below(body: Mask, covered: Mask, volume: Volume) -> bool:
    """Whether the image ends below before what it shows does, as at a neck."""
    field = np.broadcast_to(covered, body.shape)
    has_below = np.zeros_like(body)
    has_below[:, :, 1:] = field[:, :, :-1]
    area_cm2 = (body & field & ~has_below).sum() * np.prod(volume.spacing_mm[:2]) / 100
    return bool(area_cm2 > NECK_CM2)


def _still_true(name: str, piece: Piece) -> tuple[str, ...]:
    codes = piece.warnings[name]
    if FACE_VISIBLE not in codes or shows_face(piece.volumes[name], piece.field_of(name)):
        return codes
    return tuple(code for code in codes if code != FACE_VISIBLE)


def _brain_of(piece: Piece, bare: Sequence[str]) -> tuple[str, Mask]:
    """The brain, and in which image it was found: one of the `bare`, which show no head, or one in which it is told."""
    for name in (name for name in T1_LIKE if name in bare):
        brain, doubts = make_mask(piece.volumes[name], "brain", piece.field_of(name))
        if not doubts:
            return name, brain
    found = find_brain(piece.images)
    if found is None:
        raise RefusedError(
            "The face cannot be removed, because no brain was found in a T1, T2, FLAIR, PD or CT image of this case. "
            "Deface it elsewhere, extract the brain first, or switch the step off where no image shows a head.",
            "DEFACE-NO-BRAIN",
        )
    return found


def margin_after(source: str, config: DefaceConfig) -> float:
    """How much is kept around a brain that was found in `source`, mm."""
    return config.margin_mm + (UNSURE_MM if source in UNSURE else 0.0)


def face_of(brain: Mask, affine: Affine, margin_mm: float) -> Mask:
    """(I, J, K): all that lies under the front half of the brain, and all before it that is lower than its front.

    The brain's underside, column by column, is the upper border, up to the height of its front tip; before and beside
    the brain it goes on as it is at the nearest column. So the eye sockets, which lie under the frontal lobes, go
    whole. What is within `margin_mm` of the brain is kept.

    Raises:
        RefusedError: The image ends below the height at which the brain is widest, so its front may not be in it.
    """
    if is_tilted(affine):
        i, j, k = brain.shape
        own = Grid((i, j, k), affine)
        grid = upright(own, WORKING_MM)
        return mask_on(face_of(mask_on(brain, affine, grid), grid.affine, margin_mm), grid.affine, own)
    areas = brain.sum(axis=(0, 1))
    if areas[np.flatnonzero(areas)[-1]] > DOME * areas.max():
        raise RefusedError(
            "The face cannot be removed, because the images end within the lower half of the brain. Add an image of "
            "the whole head, or deface it elsewhere.",
            "DEFACE-CUT",
        )
    place = _millimetres(brain.shape, affine)
    along = place[..., 1][brain]
    middle = along.max() - FRONT_SHARE * (along.max() - along.min())
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    near = ndimage.distance_transform_edt(~brain, sampling=spacing) < margin_mm
    under = _underside(near, spacing)
    below = np.arange(brain.shape[2])[None, None, :] < under[:, :, None]
    return np.asarray(below & (place[..., 1] > middle) & ~near)


def _underside(near: Mask, spacing: NDArray[np.float64]) -> NDArray[np.int64]:
    """(I, J) index of the lowest slice that belongs to the brain's surroundings, of the nearest column that has any."""
    has = np.asarray(near.any(axis=2))
    _, (i, j) = ndimage.distance_transform_edt(~has, sampling=spacing[:2], return_indices=True)
    lowest = near.argmax(axis=2)
    along = np.flatnonzero(near.any(axis=(0, 2)))
    pole = along[-1] - max(1, round(POLE_SHARE * len(along)))
    brow = int(np.median(lowest[:, pole:][has[:, pole:]]))  # nothing higher is a face
    return np.asarray(np.minimum(lowest[i, j], brow))


def _millimetres(shape: tuple[int, ...], affine: Affine) -> NDArray[np.float64]:
    """(I, J, K, 3) in RAS."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    return np.asarray(index @ affine[:3, :3].T + affine[:3, 3])


def _without(volume: Volume, face: Mask) -> Volume:
    outside = AIR_HU if volume.unit == "HU" else float(volume.data.min())
    return volume.with_data(np.where(face, np.float32(outside), volume.data))
