"""How exactly do images come back that were pushed up to 8 mm and turned up to 5 degrees about each axis?

The brains in MNI space lie on each other, so the truth is known; for the native patient two starts must agree.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from statistics import fmean

import nibabel as nib
import numpy as np
from scipy.spatial.transform import Rotation

from benchmarks import Figures, Targets
from core.preprocess.grids import canonical
from core.register import register
from core.types import Affine, Volume

DATA = Path(os.environ.get("CROSSMODAL_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
TARGETS: Targets = {"mni_worst_mean_tre_mm": ("<=", 1.0), "native_two_starts_mm": ("<=", 1.0)}
PUSHES = 4


def measure_register() -> Figures:
    """Mean target registration errors over the brain in mm, and seconds a pair."""
    if not (DATA / "brain_ms_mni").is_dir():
        raise SystemExit("Set CROSSMODAL_DATA to the folder that holds brain_ms_mni and brain_ms_native.")
    errors, seconds = [], []
    for patient in sorted((DATA / "brain_ms_mni").iterdir()):
        fixed = read_image(patient, "T1")
        for n, modality in enumerate(("T2", "FLAIR", "T1POST")):
            moving = read_image(patient, modality)
            for push in range(PUSHES):
                away = _push(moving, 10 * n + push)
                began = time.perf_counter()
                found = register(moving.with_data(moving.data, away @ moving.affine), fixed).matrix
                seconds.append(time.perf_counter() - began)
                errors.append(_error_mm(found @ away, fixed))
    native = _native_mm()
    return {
        "mni_mean_tre_mm": fmean(errors),
        "mni_worst_mean_tre_mm": max(errors),
        "mni_seconds_a_pair": fmean(seconds),
        "native_two_starts_mm": native,
    }


def _native_mm() -> float:
    folder = DATA / "brain_ms_native" / "MSL04"
    fixed = read_image(folder, "T1")
    apart = []
    for modality in ("T2", "FLAIR"):
        moving = read_image(folder, modality)
        away = _push(moving, 1)
        first = register(moving, fixed).matrix
        second = register(moving.with_data(moving.data, away @ moving.affine), fixed).matrix
        apart.append(_error_mm(second @ away @ np.linalg.inv(first), fixed))
    return max(apart)


def read_image(folder: Path, modality: str) -> Volume:
    image = nib.nifti1.load(folder / f"{modality}.nii.gz")
    return canonical(Volume(np.asarray(image.dataobj, np.float32), np.asarray(image.affine, float), modality))


def _push(volume: Volume, seed: int) -> Affine:
    """A turn about the middle of the grid and a shift."""
    drawn = np.random.default_rng(seed).uniform(-1, 1, 6)
    centre = (volume.affine @ [*((np.array(volume.data.shape) - 1) / 2), 1])[:3]
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", 5 * drawn[:3], degrees=True).as_matrix()
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre + 8 * drawn[3:]
    return matrix


def _error_mm(residue: Affine, fixed: Volume) -> float:
    """How far, on average, a point of the foreground lies from where it belongs."""
    index = np.argwhere(fixed.data > np.percentile(fixed.data, 60))[::997]
    points = fixed.affine @ np.column_stack([index, np.ones(len(index))]).T
    return float(np.linalg.norm((residue @ points - points)[:3], axis=0).mean())
