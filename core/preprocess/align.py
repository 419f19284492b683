"""The step that brings every image of a case into place on its reference, and says how well they lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from core.alignment import Check, Sight
from core.config import Settings
from core.errors import InvalidConfigError
from core.information import Probe
from core.preprocess.piece import Piece
from core.register import Kind, register, shifted
from core.types import Affine, Volume

NOT_MOVED = ("US",)  # a narrow sector that shares too little with other images
DIFFUSION = ("ADC", "HBV", "DWI", "FA", "MD")  # computed from one scan, in the order of how clearly they show anatomy
SAME_FIELD_MM = 0.5  # up to which two fields of view count as one
BETTER_MM = 0.5  # a registration must bring the image this much nearer, or be of no harm
VERDICT_CODES = {"aligned": (), "doubtful": ("ALIGNMENT-DOUBTFUL",), "not aligned": ("NOT-ALIGNED",)}


class AlignConfig(Settings):
    mode: Literal["none", "check", "auto", "rigid", "affine"] = Field(
        "none",
        description=(
            "Whether the images of a case are laid over the reference: not at all, only checked, turned and shifted "
            "where they need it (auto), always (rigid), or also stretched (affine). Images that tell little of each "
            "other are only shifted, by 15 mm at most, and only where that is sure to help"
        ),
    )


def align_case(piece: Piece, config: AlignConfig) -> Piece:
    """Every image in its place on the reference, by another matrix alone: voxels are interpolated once, later.

    Label maps on the very grid of an image that moves go along with it.
    """
    if config.mode == "none":
        return piece
    fixed = piece.volumes[piece.reference]
    findings: dict[str, Any] = {}
    placed: dict[str, _Placed] = {}
    for modality in sorted(piece.images, key=lambda m: DIFFUSION.index(m) if m in DIFFUSION else -1):
        volume = piece.volumes[modality]
        if modality == piece.reference or min(volume.data.shape) < 2 or min(fixed.data.shape) < 2:
            continue
        leader = next((m for m in placed if _of_one_scan(piece.volumes[m], volume)), "")
        found = placed[leader] if leader else _placed(volume, fixed, config)
        placed[modality] = replace(found, found={**found.found, "by": leader}) if leader else found
        findings[modality] = {**found.check.to_json(), **placed[modality].found}
    for modality, found in placed.items():
        piece = _with_place(piece, modality, found.matrix).warned(modality, *VERDICT_CODES[found.check.verdict])
    return replace(piece, findings={**piece.findings, "align": findings})


@dataclass(frozen=True)
class _Placed:
    """Where an image goes (a matrix), how it lies then, and what was done."""

    matrix: Affine
    check: Check
    found: Mapping[str, Any]


def _of_one_scan(leader: Volume, volume: Volume) -> bool:
    """Whether both come from one diffusion scan: they fill the same field of view, and lie on each other so."""
    if leader.modality not in DIFFUSION or volume.modality not in DIFFUSION:
        return False
    return bool(np.abs(_corners(leader) - _corners(volume)).max() < SAME_FIELD_MM)


def _corners(volume: Volume) -> NDArray[np.float64]:
    """(8, 3) outer corners in mm."""
    ends = np.array(list(product(*((-0.5, n - 0.5) for n in volume.data.shape))))
    return np.asarray(ends @ volume.affine[:3, :3].T + volume.affine[:3, 3])


def _placed(volume: Volume, fixed: Volume, config: AlignConfig) -> _Placed:
    before = Sight(Probe.of(volume, fixed))
    is_wanted = config.mode in ("rigid", "affine") or (config.mode == "auto" and before.check.verdict != "aligned")
    if not is_wanted or volume.modality in NOT_MOVED:
        return _Placed(np.eye(4), before.check, {})
    try:
        kind: Kind = "affine" if config.mode == "affine" else "rigid"
        found = register(volume, fixed, kind) if before.is_clear else shifted(before.check.towards_mm)
    except InvalidConfigError as error:
        return _Placed(np.eye(4), before.check, {"failed": error.code})
    after = Sight(Probe.of_smooth(found.moved(volume), before.probe.moving, fixed)).check
    is_worse = after.score < before.score or after.offset_mm > before.offset_mm + BETTER_MM
    if is_worse or not (before.is_clear or after.verdict == "aligned"):
        return _Placed(np.eye(4), before.check, {"failed": "REGISTER-NO-BETTER"})
    moved = {"shift_mm": round(found.shift_mm, 2), "turn_degrees": round(found.turn_degrees, 2)}
    matrix = {"matrix": found.matrix.round(6).tolist()}  # RAS mm -> RAS mm, so that anybody can repeat the move
    return _Placed(found.matrix, after, {**moved, **matrix, "offset_before_mm": round(before.offset_mm, 2)})


def _with_place(piece: Piece, modality: str, matrix: Any) -> Piece:
    if np.array_equal(matrix, np.eye(4)):
        return piece
    image = piece.volumes[modality]
    twins = [m for m, v in piece.images.items() if m != modality and _same_grid(v, image)]
    moves = {modality} if twins else {modality, *(n for n, v in piece.label_maps.items() if _same_grid(v, image))}
    moved = {name: v.with_data(v.data, matrix @ v.affine) if name in moves else v for name, v in piece.volumes.items()}
    return replace(piece, volumes=moved)


def _same_grid(first: Volume, second: Volume) -> bool:
    return first.data.shape == second.data.shape and np.allclose(first.affine, second.affine, atol=1e-4)
