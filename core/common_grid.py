"""The one grid of a dataset: whose grid each case follows, at which voxel size, of which shape."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.cohort import Cohort
from core.errors import InvalidConfigError, UserError
from core.preprocess.grids import MAX_VOXELS, Grid
from core.recipes import PrepareConfig
from core.types import LABEL_UNIT, Affine

REFERENCES = ("T1", "T2W", "T2", "CT", "FLAIR", "PD")  # whom the others follow, where several are equally fine
Spacing = tuple[float, float, float]
Shape = tuple[int, int, int]
SPACING_TOLERANCE = 0.01


def reference_of(record: Mapping[str, Any], config: PrepareConfig) -> str:
    """The modality whose grid a case follows: the one asked for, else the finest volume, else the usual.

    A picture of one slice leads only where there is no volume: it may be fine, and not know where it lies.

    Raises:
        InvalidConfigError: The case has no image.
    """
    images: dict[str, Any] = {m: facts for m, facts in record["volumes"].items() if facts["unit"] != LABEL_UNIT}
    if not images:
        raise InvalidConfigError("A case has label maps only, no image.", "NO-IMAGE")
    if config.resample.reference in images:
        return config.resample.reference
    order = {m: n for n, m in enumerate(REFERENCES)}

    def rank(m: str) -> tuple[Any, ...]:
        is_flat = min(images[m]["shape"]) < 2
        return is_flat, round(np.prod(images[m]["spacing_mm"]), 2), order.get(m, len(order)), m

    return min(images, key=rank)


def common_spacing(cohort: Cohort, config: PrepareConfig) -> Spacing | None:
    """The voxel size of all cases: the recipe's; where it keeps the references' own and these differ by more than
    1 %, their median along each axis; None where they agree, so that nothing is interpolated."""
    wanted = np.broadcast_to(config.resample.spacing_mm, 3)
    if (wanted > 0).all():
        return _three(wanted)
    own = []
    for case_id in cohort.case_ids:
        record = cohort.describe(case_id)
        with suppress(InvalidConfigError):  # a case without an image has no reference; prepare_case says so
            own.append(record["volumes"][reference_of(record, config)]["spacing_mm"])
    if not own:
        return None
    median = np.median(own, axis=0)
    if not wanted.any() and np.ptp(own / median, axis=0).max() <= SPACING_TOLERANCE:
        return None
    return _three(np.where(wanted > 0, wanted, median))


def _three(spacing_mm: NDArray[np.float64]) -> Spacing:
    i, j, k = spacing_mm
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
