"""Cohort + recipe -> Dataset: every case through STEPS onto one grid."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
import SimpleITK as sitk

from core.cohort import Cohort
from core.common_grid import Shape, Spacing, common_shape, common_spacing, grid_of, reference_of
from core.dataset import Dataset
from core.dataset_writer import DatasetWriter, PreparedCase
from core.errors import InvalidConfigError, RefusedError, UserError
from core.preprocess.brain import BRAIN_SOURCES
from core.preprocess.grids import Grid
from core.preprocess.piece import Piece
from core.preprocess.steps import STEPS
from core.progress import Progress, silent
from core.recipes import PrepareConfig
from core.workspace import Workspace

DRAFT_DAYS = 7.0  # what was finished of an interrupted preparation is kept so long
SLOW_STEPS = ("align", "bias", "deface")
WORTH_VOXELS = 20_000_000  # less is done before a process has started


@dataclass(frozen=True)
class Work:
    """What is the same for all cases of one preparation."""

    cohort: Cohort
    config: PrepareConfig
    writer: DatasetWriter
    spacing_mm: Spacing | None
    shape: Shape

    def do(self, case_id: str) -> str:
        """Prepare and write one case; why it could not be, or ""."""
        try:
            grid = grid_of(self.cohort, case_id, self.config, self.spacing_mm, self.shape)
            self.writer.add(prepare_case(self.cohort, case_id, self.config, grid))
        except UserError as error:
            return f"{error.code}: {error}"
        return ""


def prepare(
    workspace: Workspace,
    cohort: Cohort,
    name: str,
    config: PrepareConfig,
    progress: Progress = silent,
    processes: int = 0,
) -> Dataset:
    """Prepare every case of the cohort. A case that cannot be prepared is left out and named in the index.

    What was finished before an interruption is kept, and found by the next preparation of the same cohort and recipe.

    Args:
        processes: how many cases at once; 0 takes a core each where the work is worth a process.

    Raises:
        InvalidConfigError: No case could be prepared, or the grid would be too large.
    """
    case_ids = cohort.case_ids
    spacing_mm = common_spacing(cohort, config)
    shape = common_shape(cohort, config, spacing_mm)
    wanted = config.resample.reference
    if wanted and not any(wanted in cohort.describe(case_id)["volumes"] for case_id in case_ids):
        raise InvalidConfigError(f"No case of this cohort has {wanted}, so it cannot be the reference.", "REFERENCE")
    _forget_old_drafts(workspace)
    writer = DatasetWriter(workspace, name, _key(cohort, name, config))
    work = Work(cohort, config, writer, spacing_mm, shape)
    ready = writer.finished & set(case_ids)
    todo = [case_id for case_id in case_ids if case_id not in ready]
    try:
        failed = _all(work, todo, processes or _worthwhile(work, len(todo)), progress, len(ready))
        progress(len(case_ids), len(case_ids), "Writing the index")
        recipe = {**config.model_dump(), "left_out": failed}
        return writer.finish(cohort.name, recipe, bool(cohort.info.get("simulated")))
    except RefusedError:
        raise
    except UserError:
        writer.discard()
        raise


def _key(cohort: Cohort, name: str, config: PrepareConfig) -> str:
    """Equal where the same images go through the same steps."""
    records = [cohort.describe(case_id) for case_id in cohort.case_ids]
    times = [(cohort.folder / case_id / "case.json").stat().st_mtime_ns for case_id in cohort.case_ids]
    text = json.dumps([str(cohort.folder), name, config.model_dump(), records, times], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _forget_old_drafts(workspace: Workspace) -> None:
    for draft in workspace.datasets.glob(".draft-*"):
        if time.time() - draft.stat().st_mtime > DRAFT_DAYS * 86_400:
            shutil.rmtree(draft, ignore_errors=True)


def is_slow(config: PrepareConfig) -> bool:
    """Whether a recipe takes seconds a case."""
    return any(STEPS[name].is_on(getattr(config, name)) for name in SLOW_STEPS) or config.mask.extract


def _worthwhile(work: Work, n_cases: int) -> int:
    """A process a core, where the cases are worth starting them."""
    is_worth = n_cases > 1 and (is_slow(work.config) or n_cases * int(np.prod(work.shape)) > WORTH_VOXELS)
    return min(os.cpu_count() or 1, n_cases) if is_worth else 1


def _all(work: Work, case_ids: Sequence[str], processes: int, progress: Progress, ready: int) -> dict[str, str]:
    """Case -> why it was left out, after all were done, one after the other or several at once."""
    total = ready + len(case_ids)
    failed: dict[str, str] = {}
    answers = ((case_id, work.do(case_id)) for case_id in case_ids)
    progress(ready, total, f"{ready} of {total} cases were ready" if ready else f"Preparing {total} cases")
    for n, (case_id, reason) in enumerate(_at_once(work, case_ids, processes) if processes > 1 else answers, 1):
        if reason:
            failed[case_id] = reason
        progress(ready + n, total, f"{ready + n} of {total} cases prepared")
    return failed


def _at_once(work: Work, case_ids: Sequence[str], processes: int) -> Iterator[tuple[str, str]]:
    """(case, reason) as each is done, by several processes with one thread each."""
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _one_thread_each) as pool:
        waiting = {pool.submit(work.do, case_id): case_id for case_id in case_ids}
        try:
            for done in as_completed(waiting):
                yield waiting[done], done.result()
        except BrokenProcessPool as error:
            raise RefusedError(
                "A process that prepared cases was ended from outside, probably for want of memory. Start again: "
                "what was finished is kept.",
                "PREPARE-DIED",
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _one_thread_each() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


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
    """What every step does to one image: as imported (step ""), then after each step that it is still there.

    Nothing is stored.
    """
    grid = grid_of(cohort, case_id, config, common_spacing(cohort, config))
    helpers = BRAIN_SOURCES if is_slow(config) else ()  # the brain may be looked for in them
    piece = start(cohort, case_id, config, grid, (modality, *helpers))
    return [Stage("", piece, 0.0), *takewhile(lambda stage: modality in stage.piece.volumes, walk(piece, config))]
