"""Seconds of preparing real brains at 1 mm with all steps, beside the same steps written directly, without our code.

Both ways take turns, case by case, in one process, and are timed by the processor, so that other work on the machine
falls on neither. Three brain-extracted patients count for the target; a fourth, scanned with head and face, shows the
same with deepbet. `CROSSMODAL_DATA` names the folder that holds `brain_ms_mni` and `brain_ms_native`. With `--quick`,
the first patient only, without the gain of a second process.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median
from time import process_time
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from benchmarks import Figures, Targets, is_quick_try
from benchmarks.prepare_directly import Prepared, load_network, prepare_directly
from benchmarks.timing import seconds
from core.cohort import Cohort
from core.dataset import Dataset
from core.ingest import ingest
from core.prepare import prepare
from core.recipes import PrepareConfig, make_recipe
from core.types import Affine
from core.workspace import Workspace

DATA = Path(os.environ.get("CROSSMODAL_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
TARGETS: Targets = {
    "ours_over_direct": ("<=", 1.1),
    "least_mask_dice": (">=", 0.99),
    "least_tissue_dice": (">=", 0.95),
    "most_apart_mm": ("<=", 0.5),
}
MODALITIES = ("T1", "T2", "FLAIR", "T1POST")
BOX_MM = 180
SETTINGS = {
    "align": {"mode": "rigid"},
    "resample": {"spacing_mm": 1.0, "reference": "T1"},
    "bias": {"enabled": True},
    "mask": {"method": "brain", "extract": True},
    "tissue": {"enabled": True},
    "crop": {"size_mm": BOX_MM},
    "repair": {"enabled": True},
}


def measure_prepare() -> Figures:
    """Seconds a case of both ways, how far they agree, and what a second process gains."""
    if not (DATA / "brain_ms_mni").is_dir():
        raise SystemExit("Set CROSSMODAL_DATA to the folder that holds brain_ms_mni and brain_ms_native.")
    load_network()  # torch's import is no part of a case
    config = make_recipe("brain-mr", SETTINGS)
    patients = sorted((DATA / "brain_ms_mni").iterdir())[: 1 if is_quick_try() else None]
    with tempfile.TemporaryDirectory() as place:
        workspace = Workspace(Path(place))
        brains = [_compared(workspace, patient, config, n) for n, patient in enumerate(patients)]
        figures = {
            "seconds_a_case": fmean(b["ours_s"] for b in brains),
            "direct_seconds_a_case": fmean(b["direct_s"] for b in brains),
            "ours_over_direct": median(b["ours_s"] / b["direct_s"] for b in brains),
            "ours_over_direct_most": max(b["ours_s"] / b["direct_s"] for b in brains),
            "least_mask_dice": min(b["mask_dice"] for b in brains),
            "least_tissue_dice": min(b["tissue_dice"] for b in brains),
            "most_apart_mm": max(b["apart_mm"] for b in brains),
        }
        if is_quick_try():
            return figures
        head = _compared(workspace, DATA / "brain_ms_native" / "MSL04", config, 0)
        figures |= {f"head_{name}": value for name, value in head.items()}
        return figures | {"gain_of_second_process": _gain(workspace, patients, config)}


def _compared(workspace: Workspace, patient: Path, config: PrepareConfig, n: int) -> Figures:
    """Both ways on one patient; which begins changes with `n`."""
    cohort = _cohort(workspace, patient, patient.name)
    case_id = cohort.case_ids[0]
    there = [name for name in MODALITIES if name in cohort.describe(case_id)["volumes"]]
    files = {name: cohort.folder / case_id / f"{name}.nii" for name in there}
    is_head = patient.parent.name == "brain_ms_native"
    done: dict[str, Any] = {}

    def ours() -> None:
        done["ours"] = prepare(workspace, cohort, patient.name, config, processes=1)

    def direct() -> None:
        done["direct"] = prepare_directly(files, workspace.root / "direct.npz", BOX_MM, is_head)

    first, second = (direct, ours) if n % 2 else (ours, direct)
    took = {work.__name__: _cpu_seconds(work) for work in (first, second)}
    return {"ours_s": took["ours"], "direct_s": took["direct"], **_agreement(done["ours"], done["direct"])}


def _cohort(workspace: Workspace, patient: Path, name: str) -> Cohort:
    ingest(workspace, [file for m in MODALITIES if (file := patient / f"{m}.nii.gz").is_file()], name)
    return Cohort.open(workspace, name)


def _cpu_seconds(work: Callable[[], None]) -> float:
    began = process_time()
    work()
    return process_time() - began


def _agreement(ours: Dataset, direct: Prepared) -> Figures:
    """Dice of mask and tissues, and how far apart on average the two put a point of the brain, in mm."""
    case_id = ours.case_ids[0]
    affine, mask, tissue = ours.affine(case_id), ours.mask(case_id), ours.label_map(case_id, "tissue")
    offset = np.rint(np.linalg.inv(affine) @ direct.affine)[:3, 3].astype(int)  # of the boxes, in voxels
    their_mask, their_tissue = (
        np.roll(array.transpose(2, 1, 0), tuple(offset), axis=(0, 1, 2)) for array in (direct.mask, direct.tissue)
    )
    index = np.argwhere(mask)[::997]
    points = np.column_stack([index, np.ones(len(index))]) @ affine.T
    apart = [
        _apart_mm(np.asarray(found.get("matrix", np.eye(4))), direct.moves[modality], points)
        for modality, found in ours.record(case_id)["findings"]["align"].items()
    ]
    return {
        "mask_dice": _dice(mask, their_mask),
        "tissue_dice": min(_dice(tissue == n, their_tissue == n) for n in (1, 2, 3)),
        "apart_mm": max(apart),
    }


def _apart_mm(to_fixed: Affine, to_moving: sitk.Transform, points: NDArray[np.float64]) -> float:
    """Between where two transforms look a point (RAS) of the reference up; SimpleITK's takes LPS."""
    ours = (points @ np.linalg.inv(to_fixed).T)[:, :3]
    lps = np.array([-1.0, -1.0, 1.0])
    theirs = np.array([to_moving.TransformPoint(point) for point in (points[:, :3] * lps).tolist()]) * lps
    return float(np.linalg.norm(ours - theirs, axis=1).mean())


def _dice(first: NDArray[Any], second: NDArray[Any]) -> float:
    return float(2 * np.count_nonzero(first & second) / (np.count_nonzero(first) + np.count_nonzero(second)))


def _gain(workspace: Workspace, patients: list[Path], config: PrepareConfig) -> float:
    """Seconds by the clock of one process over those of two, on four cases (the first patient counts twice)."""
    for patient in patients:
        cohort = _cohort(workspace, patient, "all")
    first = cohort.read(cohort.case_ids[0])
    cohort.write(replace(first, id=f"{first.id}-again"))
    one, two = (seconds(lambda n=n: prepare(workspace, cohort, f"by-{n}", config, processes=n)) for n in (1, 2))
    return one / two
