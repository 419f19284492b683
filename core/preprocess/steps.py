"""STEPS, in the order in which they run: each takes a case and its settings and gives the case, pure.

Fixed or fitted to one case, never across cases. To add a step: write its settings and its function in a module here,
list it in STEPS, and name its settings in `core.recipes.PrepareConfig`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field

from core.config import Settings
from core.preprocess.align import AlignConfig, align_case
from core.preprocess.bias import BiasConfig, correct_case
from core.preprocess.brain import T1_LIKE, find_brain
from core.preprocess.compress import CompressConfig, compress_case
from core.preprocess.crop import CropConfig, crop_case
from core.preprocess.deface import DefaceConfig, deface_case
from core.preprocess.grids import AIR_HU, Mask, canonical, resample_covered
from core.preprocess.intensity import NormaliseConfig, intensity_range, normalise, scale_doubts
from core.preprocess.masks import make_mask
from core.preprocess.piece import Piece, Step
from core.preprocess.repair import RepairConfig, repair_case
from core.preprocess.tissue import TissueConfig, label_case
from core.types import LABEL_UNIT, Volume

MAX_SPACING_MM = 20.0
MIN_COVERAGE = 0.5  # a modality that shows less of the mask than this is warned of


class CanonicalConfig(Settings):
    """Turning the axes has nothing to set."""


def _as_numbers(value: Any) -> Any:
    """One number, or a text such as "1, 1, 3", as a tuple."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()] or [0.0]
    return [value] if isinstance(value, int | float) else value


def _fitting(spacing_mm: tuple[float, ...]) -> tuple[float, ...]:
    if len(spacing_mm) not in (1, 3):
        raise ValueError("write one number for all axes, or three")
    if not all(0 <= mm <= MAX_SPACING_MM for mm in spacing_mm):
        raise ValueError(f"each number is 0 to {MAX_SPACING_MM:g}")
    return spacing_mm


Spacing = Annotated[tuple[float, ...], BeforeValidator(_as_numbers), AfterValidator(_fitting)]


class ResampleConfig(Settings):
    spacing_mm: Spacing = Field(
        (0.0,),
        description=(
            "Voxel size of the common grid in millimetres: one number for all axes, or three (to the right, to the "
            "front, up); 0 keeps the reference's own"
        ),
    )
    reference: str = Field(
        "", description="Modality whose position and grid the others follow; empty chooses the finest one"
    )


class MaskConfig(Settings):
    method: Literal["brain", "foreground", "none"] = Field(
        "foreground",
        description="Voxels that are judged: the brain (of brain-extracted images), the body, or all of the image",
    )
    extract: bool = Field(
        False, description="Find the brain in a whole head: in T1, else in T2, FLAIR, PD or CT; takes seconds a case"
    )
    outside: Literal["zero", "keep"] = Field("zero", description="What happens to voxels outside the mask")


def _canonical(piece: Piece, config: CanonicalConfig) -> Piece:
    return replace(piece, volumes={name: canonical(volume) for name, volume in piece.volumes.items()})


def _resample(piece: Piece, config: ResampleConfig) -> Piece:
    found = {name: resample_covered(volume, piece.grid) for name, volume in piece.volumes.items()}
    covered = {name: mask for name, (_, mask) in found.items()}
    return replace(piece, volumes={name: volume for name, (volume, _) in found.items()}, covered=covered)


def _mask(piece: Piece, config: MaskConfig) -> Piece:
    """Judged is what the reference shows of the body and every modality has data for.

    An image that shows less than half of that does not cut it down: where it has data is kept as a label map of its
    own, MODALITY_fov, and there alone it is judged. One that shows nothing of it is left out.
    """
    mask, doubts = make_mask(piece.volumes[piece.reference], config.method, piece.field_of(piece.reference))
    if config.extract and "BRAIN-NOT-EXTRACTED" in doubts:
        mask, doubts = _extracted(piece, mask, doubts)
    shares = {modality: float(piece.covered[modality][mask].mean()) for modality in piece.images}
    judged = mask.copy()  # in its order in memory, which is the images'
    for modality, share in shares.items():
        piece = piece.warned(modality, *doubts)
        if share >= MIN_COVERAGE:
            judged &= piece.covered[modality]
    piece = replace(piece, mask=judged if judged.any() else mask)
    for modality, share in shares.items():
        if share < MIN_COVERAGE and modality != piece.reference:
            shows_any = bool((piece.mask & piece.covered[modality]).any())
            piece = _with_view(piece, modality) if shows_any else _without(piece, modality)
    if config.outside == "keep":
        return piece
    return replace(piece.each(lambda volume: _blank_outside(volume, piece.mask)), is_blank=True)


def _with_view(piece: Piece, modality: str) -> Piece:
    """With the places that a narrow image shows as a label map, unless there is one."""
    name = f"{modality}_fov"
    view = Volume(piece.covered[modality].astype(np.float32), piece.grid.affine, name, LABEL_UNIT)
    return replace(piece, volumes={name: view, **piece.volumes}).warned(modality, "LITTLE-OVERLAP")


def _without(piece: Piece, modality: str) -> Piece:
    kept = {name: volume for name, volume in piece.volumes.items() if name != modality}
    return replace(piece, volumes=kept).warned(piece.reference, "NO-OVERLAP")


def _extracted(piece: Piece, head: Mask, doubts: list[str]) -> tuple[Mask, list[str]]:
    """The brain of the first image in which one is found, else the head as before."""
    found = find_brain(piece.images)
    if found is None:
        return head, doubts
    rest = [code for code in doubts if code != "BRAIN-NOT-EXTRACTED"]
    return found[1], rest if found[0] in T1_LIKE else [*rest, "BRAIN-NOT-FROM-T1"]


def _blank_outside(volume: Volume, mask: Mask) -> Volume:
    outside = AIR_HU if volume.unit == "HU" else min(0.0, float(volume.data.min()))
    return volume.with_data(np.where(mask, volume.data, np.float32(outside)))


def _normalise(piece: Piece, config: NormaliseConfig) -> Piece:
    limits = dict(piece.limits)
    for name, volume in piece.images.items():
        if name not in limits:
            limits[name] = intensity_range(volume, piece.seen(name), config)
            piece = piece.warned(name, *scale_doubts(volume, config))
    scaled = replace(piece, limits=limits).each(lambda v: normalise(v, limits[v.modality], config.clip))
    return scaled.each(lambda v: v.with_data(np.where(piece.mask, v.data, np.float32(0)))) if piece.is_blank else scaled


STEPS: dict[str, Step] = {
    "canonical": Step(
        "Orientation",
        "Axes are turned to right, anterior, superior. No value changes.",
        CanonicalConfig,
        _canonical,
    ),
    "compress": Step(
        "Decibels",
        "Ultrasound as sampled, not yet a picture, is turned into decibels below its strongest echo.",
        CompressConfig,
        compress_case,
        lambda config: config.to_db != "off",
    ),
    "align": Step(
        "Alignment",
        "The images of a case are laid over the reference, and how well they lie on it is checked.",
        AlignConfig,
        align_case,
        lambda config: config.mode != "none",
    ),
    "resample": Step("One grid", "All modalities of a case are brought onto one grid.", ResampleConfig, _resample),
    "bias": Step(
        "Evenness",
        "The slow drift of brightness across an MR image is estimated and divided out (N4).",
        BiasConfig,
        correct_case,
        lambda config: config.enabled,
    ),
    "deface": Step(
        "Face",
        "The face is removed from every image of the case, by where the brain lies.",
        DefaceConfig,
        deface_case,
        lambda config: config.enabled,
    ),
    "mask": Step("Mask", "The voxels that are learnt from and judged are marked.", MaskConfig, _mask),
    "tissue": Step(
        "Tissue",
        "Tissue classes are stored as label maps, for evaluation only.",
        TissueConfig,
        label_case,
        lambda config: config.enabled,
    ),
    "crop": Step(
        "Crop",
        "A box of one size around what is judged is cut from every case.",
        CropConfig,
        crop_case,
        lambda config: config.size_mm > 0,
    ),
    "repair": Step(
        "Outliers",
        "Single voxels far brighter than all others are cut.",
        RepairConfig,
        repair_case,
        lambda config: config.enabled,
    ),
    "normalise": Step(
        "Intensity",
        "Intensities are scaled to 0-1: Hounsfield units and uptake by fixed windows, MR by its own values.",
        NormaliseConfig,
        _normalise,
    ),
}
