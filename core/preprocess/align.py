"""The step that brings every image of a case into place on its reference, and says how well they lie."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from pydantic import Field

from core.alignment import Check, check_alignment
from core.config import Settings
from core.errors import InvalidConfigError
from core.preprocess.piece import Piece
from core.register import Kind, register
from core.types import Volume

NOT_MOVED = ("US",)  # a narrow sector that shares too little with other images
BETTER_MM = 0.5  # a registration must bring the image this much nearer, or be of no harm
VERDICT_CODES = {"aligned": (), "doubtful": ("ALIGNMENT-DOUBTFUL",), "not aligned": ("NOT-ALIGNED",)}


class AlignConfig(Settings):
    mode: Literal["none", "check", "auto", "rigid", "affine"] = Field(
        "none",
        description=(
            "Whether the images of a case are laid over the reference: not at all, only checked, turned and shifted "
            "where they need it (auto), always (rigid), or also stretched (affine)"
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
    for modality, volume in piece.images.items():
        if modality == piece.reference or min(volume.data.shape) < 2 or min(fixed.data.shape) < 2:
            continue
        matrix, check, found = _placed(volume, fixed, config)
        findings[modality] = {**check.to_json(), **found}
        piece = _with_place(piece, modality, matrix).warned(modality, *VERDICT_CODES[check.verdict])
    return replace(piece, findings={**piece.findings, "align": findings})


def _placed(volume: Volume, fixed: Volume, config: AlignConfig) -> tuple[Any, Check, dict[str, Any]]:
    """Where the image goes (a matrix), how it lies then, and what was done."""
    before = check_alignment(volume, fixed)
    needs_it = config.mode == "auto" and before.verdict != "aligned" and before.is_telling
    if not (needs_it or config.mode in ("rigid", "affine")) or volume.modality in NOT_MOVED:
        return np.eye(4), before, {}
    kind: Kind = "affine" if config.mode == "affine" else "rigid"
    try:
        found = register(volume, fixed, kind)
    except InvalidConfigError as error:
        return np.eye(4), before, {"failed": error.code}
    after = check_alignment(found.moved(volume), fixed)
    if after.score < before.score or after.offset_mm > before.offset_mm + BETTER_MM:
        return np.eye(4), before, {"failed": "REGISTER-NO-BETTER"}
    moved = {"shift_mm": round(found.shift_mm, 2), "turn_degrees": round(found.turn_degrees, 2)}
    return found.matrix, after, {**moved, "offset_before_mm": round(before.offset_mm, 2)}


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
