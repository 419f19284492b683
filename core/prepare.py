"""Cohort + recipe -> Dataset: every case through STEPS onto one grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pydantic import Field

from core.cohort import Cohort
from core.config import Settings, build
from core.dataset import Dataset, DatasetWriter, PreparedCase
from core.errors import InvalidConfigError, UserError
from core.preprocess import (
    MAX_VOXELS,
    STEPS,
    Around,
    CanonicalConfig,
    Grid,
    Mask,
    MaskConfig,
    NormaliseConfig,
    ResampleConfig,
    coverage,
    intensity_range,
    make_mask,
)
from core.progress import Progress, silent
from core.types import LABEL_UNIT, Affine, Volume
from core.workspace import Workspace

REFERENCES = ("T1", "T2W", "T2", "CT", "FLAIR", "PD")  # whom the others follow, where several are equally fine
Spacing = tuple[float, float, float]
Shape = tuple[int, int, int]
SPACING_TOLERANCE = 0.01
MIN_COVERAGE = 0.5  # a modality that shows less of the mask than this is warned of


class PrepareConfig(Settings):
    """A recipe: the settings of every step, in the order in which they run."""

    canonical: CanonicalConfig = Field(default_factory=CanonicalConfig, description="Orientation")
    resample: ResampleConfig = Field(default_factory=ResampleConfig, description="One grid")
    mask: MaskConfig = Field(default_factory=MaskConfig, description="Mask")
    normalise: NormaliseConfig = Field(default_factory=NormaliseConfig, description="Intensity")


RECIPES: dict[str, PrepareConfig] = {
    "brain-mr": PrepareConfig(resample=ResampleConfig(spacing_mm=2.0), mask=MaskConfig(method="brain")),
    "brain-mr-ct": PrepareConfig(resample=ResampleConfig(spacing_mm=2.0), mask=MaskConfig(method="foreground")),
    "generic": PrepareConfig(
        mask=MaskConfig(method="foreground", outside="keep"), normalise=NormaliseConfig(low=0.1, high=99.9, clip=False)
    ),
    "pictures-255": PrepareConfig(
        mask=MaskConfig(method="none", outside="keep"), normalise=NormaliseConfig(divide_by=255.0, clip=False)
    ),
}
RECIPE_SUMMARIES: dict[str, str] = {
    "brain-mr": "Brain-extracted MR: 2 mm grid, judged inside the brain, each image scaled by its own percentiles.",
    "brain-mr-ct": "Whole heads in MR, CT, PET, ultrasound: 2 mm grid, judged inside the head, fixed HU, SUV windows.",
    "generic": "Anything else: the finest modality's own grid, nothing cut off, nothing removed.",
    "pictures-255": "8-bit pictures divided by 255, for the dense autoencoder.",
}


def make_recipe(name: str, overrides: Mapping[str, Any] | None = None) -> PrepareConfig:
    """A named recipe with some settings changed: `{"resample": {"spacing_mm": 1}}` or, for short, `{"spacing_mm": 1}`.

    Raises:
        InvalidConfigError: No such recipe or setting.
    """
    if name not in RECIPES:
        raise InvalidConfigError(f"There is no recipe {name}. Recipes: {', '.join(RECIPES)}.", "RECIPE")
    values = RECIPES[name].model_dump()
    for key, value in (overrides or {}).items():
        step = next((step for step in values if key in values[step]), None)
        if isinstance(value, Mapping) and key in values:
            values[key] = {**values[key], **value}
        elif step is not None:
            values[step] = {**values[step], key: value}
        else:
            values[key] = value
    return build(PrepareConfig, values)


def prepare(
    workspace: Workspace, cohort: Cohort, name: str, config: PrepareConfig, progress: Progress = silent
) -> Dataset:
    """Prepare every case of the cohort. A case that cannot be prepared is left out and named in the index.

    Raises:
        InvalidConfigError: No case could be prepared, or the grid would be too large.
    """
    case_ids = cohort.case_ids
    spacing_mm = common_spacing(cohort, config)
    shape = common_shape(cohort, config, spacing_mm)
    wanted = config.resample.reference
    if wanted and not any(wanted in cohort.describe(case_id)["volumes"] for case_id in case_ids):
        raise InvalidConfigError(f"No case of this cohort has {wanted}, so it cannot be the reference.", "REFERENCE")
    writer = DatasetWriter(workspace, name)
    failed: dict[str, str] = {}
    try:
        for n, case_id in enumerate(case_ids):
            progress(n, len(case_ids), f"Preparing case {n + 1} of {len(case_ids)}")
            try:
                writer.add(prepare_case(cohort, case_id, config, grid_of(cohort, case_id, config, spacing_mm, shape)))
            except UserError as error:
                failed[case_id] = f"{error.code}: {error}"
        progress(len(case_ids), len(case_ids), "Writing the index")
        recipe = {**config.model_dump(), "left_out": failed}
        return writer.finish(cohort.name, recipe, bool(cohort.info.get("simulated")))
    except BaseException:
        writer.discard()
        raise


def prepare_case(cohort: Cohort, case_id: str, config: PrepareConfig, grid: Grid) -> PreparedCase:
    """One case through all steps, onto its grid.

    Raises:
        InvalidConfigError: A modality cannot be scaled; the case has no images.
    """
    on_grid, covered, warnings = _resampled(cohort, case_id, config, grid)
    images = {m: volume for m, volume in on_grid.items() if not volume.is_label}
    reference = images[reference_of(cohort.describe(case_id), config)]
    mask, doubts = make_mask(reference, config.mask.method)
    for modality in images:
        share = float(covered[modality][mask].mean())
        warnings[modality] += [*doubts, *(["LITTLE-OVERLAP"] if share < MIN_COVERAGE else [])]
    judged = np.logical_and.reduce([mask, *(covered[m] for m in images)])
    mask = judged if judged.any() else mask
    scales, prepared = {}, {}
    for modality, volume in images.items():
        limits = intensity_range(volume, mask, config.normalise)
        around = Around(grid, mask, limits)
        masked = STEPS["mask"].apply(volume, config.mask, around)
        prepared[modality] = STEPS["normalise"].apply(masked, config.normalise, around).data
        scales[modality] = (limits[1] - limits[0], limits[0])
    return PreparedCase(
        case_id,
        prepared,
        scales,
        {m: volume.unit for m, volume in images.items()},
        mask,
        grid.affine,
        {m: volume.data.astype(np.uint8) for m, volume in on_grid.items() if volume.is_label},
        cohort.describe(case_id)["labels"],
        {m: sorted(set(codes)) for m, codes in warnings.items() if m in images},
    )


def _resampled(
    cohort: Cohort, case_id: str, config: PrepareConfig, grid: Grid
) -> tuple[dict[str, Volume], dict[str, Mask], dict[str, list[str]]]:
    """Every volume of the case on the grid, where it has data, and what is doubtful about it."""
    on_grid, covered, warnings = {}, {}, {}
    for modality in cohort.describe(case_id)["volumes"]:
        volume = STEPS["canonical"].apply(cohort.read_volume(case_id, modality), config.canonical, Around(grid, _NONE))
        covered[modality] = coverage(volume, grid)
        on_grid[modality] = STEPS["resample"].apply(volume, config.resample, Around(grid, _NONE))
        warnings[modality] = list(volume.warnings)
    return on_grid, covered, warnings


_NONE: Mask = np.zeros((0, 0, 0), dtype=bool)


def reference_of(record: Mapping[str, Any], config: PrepareConfig) -> str:
    """The modality whose grid a case follows: the one asked for, else the finest, else the usual.

    Raises:
        InvalidConfigError: The case has no image.
    """
    images: dict[str, Any] = {m: facts for m, facts in record["volumes"].items() if facts["unit"] != LABEL_UNIT}
    if not images:
        raise InvalidConfigError("A case has label maps only, no image.", "NO-IMAGE")
    if config.resample.reference in images:
        return config.resample.reference
    order = {m: n for n, m in enumerate(REFERENCES)}
    return min(images, key=lambda m: (round(np.prod(images[m]["spacing_mm"]), 2), order.get(m, len(order)), m))


def common_spacing(cohort: Cohort, config: PrepareConfig) -> Spacing | None:
    """The voxel size of all cases: the recipe's; where it keeps the references' own and these differ by more than
    1 %, their median along each axis; None where they agree, so that nothing is interpolated."""
    if config.resample.spacing_mm:
        return (config.resample.spacing_mm,) * 3
    own = []
    for case_id in cohort.case_ids:
        record = cohort.describe(case_id)
        with suppress(InvalidConfigError):  # a case without an image has no reference; prepare_case says so
            own.append(record["volumes"][reference_of(record, config)]["spacing_mm"])
    if not own or np.ptp(own / np.median(own, axis=0), axis=0).max() <= SPACING_TOLERANCE:
        return None
    i, j, k = np.median(own, axis=0)
    return float(i), float(j), float(k)


def grid_of(
    cohort: Cohort, case_id: str, config: PrepareConfig, spacing_mm: Spacing | None, shape: Shape | None = None
) -> Grid:
    """The grid of one case: its reference's, at `spacing_mm` (None: its own), padded evenly to `shape`."""
    record = cohort.describe(case_id)
    facts = record["volumes"][reference_of(record, config)]
    own, affine = np.asarray(facts["shape"]), np.asarray(facts["affine"], float)
    if spacing_mm:
        own, affine = _respaced(own, affine, spacing_mm)
    full = own if shape is None else np.asarray(shape)
    shift = -((full - own) // 2)  # whole voxels, so that padding never interpolates
    moved = affine.copy()
    moved[:3, 3] = affine[:3, :3] @ shift + affine[:3, 3]
    if int(np.prod(full.astype(object))) > MAX_VOXELS:
        raise InvalidConfigError("The common grid would have too many voxels. Choose a larger spacing.", "TOO-LARGE")
    i, j, k = (int(n) for n in full)
    return Grid((i, j, k), moved)


def _respaced(shape: Any, affine: Affine, spacing_mm: Spacing) -> tuple[Any, Affine]:
    """Same orientation and first voxel's corner, another voxel size. An axis of one voxel keeps its thickness."""
    old = np.linalg.norm(affine[:3, :3], axis=0)
    new = np.where(shape > 1, spacing_mm, old)
    if np.allclose(new, old, rtol=1e-3):
        return shape, affine
    count = np.maximum(1, np.round(shape * old / new)).astype(int)
    result = affine.copy()
    result[:3, :3] = affine[:3, :3] / old * new
    corner = affine[:3, :3] @ np.full(3, -0.5) + affine[:3, 3]
    result[:3, 3] = corner + result[:3, :3] @ np.full(3, 0.5)
    return count, result


def common_shape(cohort: Cohort, config: PrepareConfig, spacing_mm: Spacing | None) -> Shape:
    """The least shape that holds every case's grid.

    Raises:
        InvalidConfigError: The cohort is empty, no case has an image, or every grid would be too large.
    """
    shapes = []
    problem: UserError = InvalidConfigError("The cohort has no case with an image. Import images first.", "NO-CASES")
    for case_id in cohort.case_ids:
        try:
            shapes.append(grid_of(cohort, case_id, config, spacing_mm).shape)
        except UserError as error:
            problem = error  # prepare_case will meet the same error and record it
    if not shapes:
        raise problem
    i, j, k = np.max(shapes, axis=0)
    return int(i), int(j), int(k)


@dataclass(frozen=True)
class StepView:
    """One modality after one step, for the Prepare page."""

    step: str
    volume: Volume
    mask: Mask | None


def preview(cohort: Cohort, case_id: str, modality: str, config: PrepareConfig) -> Sequence[StepView]:
    """What every step does to one image: as imported, then after each step in turn. Nothing is stored."""
    grid = grid_of(cohort, case_id, config, common_spacing(cohort, config))
    volume = cohort.read_volume(case_id, modality)
    reference = cohort.read_volume(case_id, reference_of(cohort.describe(case_id), config))
    around = Around(grid, _NONE)
    mask, _ = make_mask(STEPS["resample"].apply(reference, config.resample, around), config.mask.method)
    views = [StepView("imported", volume, None)]
    for name, step in STEPS.items():
        if name == "normalise":
            limits = intensity_range(views[-1].volume, mask, config.normalise)
            around = replace(around, limits=limits)
        volume = step.apply(volume, getattr(config, name), around)
        views.append(StepView(name, volume, mask if name in ("mask", "normalise") else None))
        around = replace(around, mask=mask)
    return views
