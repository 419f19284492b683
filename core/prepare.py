"""Cohort + recipe -> Dataset: every case through STEPS onto one grid."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from core.cohort import Cohort
from core.common_grid import common_shape, common_spacing, grid_of, reference_of
from core.dataset import Dataset, DatasetWriter, PreparedCase
from core.errors import InvalidConfigError, UserError
from core.preprocess.grids import Grid
from core.preprocess.piece import Piece
from core.preprocess.steps import STEPS
from core.progress import Progress, silent
from core.recipes import PrepareConfig
from core.workspace import Workspace


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
    piece = start(cohort, case_id, config, grid)
    for stage in walk(piece, config):
        piece = stage.piece
    images = {modality: volume.data for modality, volume in piece.images.items()}
    return PreparedCase(
        case_id,
        images,
        {modality: (high - low, low) for modality, (low, high) in piece.limits.items()},
        {modality: volume.unit for modality, volume in piece.images.items()},
        piece.mask,
        piece.grid.affine,
        {name: volume.data.astype(np.uint8) for name, volume in piece.label_maps.items()},
        cohort.describe(case_id)["labels"],
        {modality: sorted(set(piece.warnings[modality])) for modality in images},
        piece.findings,
    )


def start(cohort: Cohort, case_id: str, config: PrepareConfig, grid: Grid, modalities: Sequence[str] = ()) -> Piece:
    """A case as it was imported.

    Args:
        modalities: those to take along beside the reference; empty means all.
    """
    record = cohort.describe(case_id)
    reference = reference_of(record, config)
    names = [name for name in record["volumes"] if not modalities or name in (*modalities, reference)]
    volumes = {name: cohort.read_volume(case_id, name) for name in names}
    return Piece(reference, volumes, grid, warnings={name: volume.warnings for name, volume in volumes.items()})


@dataclass(frozen=True, eq=False)
class Stage:
    """A case after one step.

    Attributes:
        step: name in STEPS.
        seconds: how long the step took.
    """

    step: str
    piece: Piece
    seconds: float


def walk(piece: Piece, config: PrepareConfig) -> Iterator[Stage]:
    """The case after each step in turn; steps that are off are passed over."""
    for name, step in STEPS.items():
        if not step.is_on(getattr(config, name)):
            continue
        began = time.perf_counter()
        piece = step.apply(piece, getattr(config, name))
        yield Stage(name, piece, time.perf_counter() - began)


def preview(cohort: Cohort, case_id: str, modality: str, config: PrepareConfig) -> Sequence[Stage]:
    """What every step does to one image: as imported (step ""), then after each step. Nothing is stored."""
    grid = grid_of(cohort, case_id, config, common_spacing(cohort, config))
    piece = start(cohort, case_id, config, grid, (modality,))
    return [Stage("", piece, 0.0), *walk(piece, config)]
