"""Seconds a case of preparing real brains at 1 mm with all steps, beside the same steps written directly.

`CROSSMODAL_DATA` names the folder that holds `brain_ms_mni`. The direct way is what a script would do: nibabel to read,
SimpleITK for N4 and resampling, scikit-learn for tissues, the same settings, one case after the other.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np

from benchmarks import Figures, Targets
from core.alignment import check_alignment
from core.cohort import Cohort
from core.common_grid import grid_of, reference_of
from core.ingest import ingest
from core.itk import one_thread
from core.prepare import prepare
from core.preprocess.bias import correct
from core.preprocess.grids import canonical, resample
from core.preprocess.intensity import intensity_range, normalise
from core.preprocess.masks import make_mask
from core.preprocess.tissue import CONTRASTS, brain_tissue
from core.recipes import PrepareConfig, make_recipe
from core.register import register
from core.workspace import Workspace

DATA = Path(os.environ.get("CROSSMODAL_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
TARGETS: Targets = {"ours_over_direct": ("<=", 1.1)}
STEPS = {"align": {"mode": "rigid"}, "bias": {"enabled": True}, "tissue": {"enabled": True}}


def measure_prepare() -> Figures:
    """Seconds a case by one process, by two, and by the same steps without the pipeline around them."""
    if not (DATA / "brain_ms_mni").is_dir():
        raise SystemExit("Set CROSSMODAL_DATA to the folder that holds brain_ms_mni.")
    config = make_recipe("brain-mr", {"spacing_mm": 1.0, **STEPS})
    with tempfile.TemporaryDirectory() as place:
        workspace = Workspace(Path(place))
        for patient in sorted((DATA / "brain_ms_mni").iterdir()):
            ingest(workspace, [patient / f"{name}.nii.gz" for name in ("T1", "T2", "FLAIR", "T1POST")], "ms")
        cohort = Cohort.open(workspace, "ms")
        n = len(cohort.case_ids)
        times = {}
        for processes in (1, 2):
            began = perf_counter()
            prepare(workspace, cohort, f"by-{processes}", config, processes=processes)
            times[processes] = (perf_counter() - began) / n
        began = perf_counter()
        for case_id in cohort.case_ids:
            _directly(cohort, case_id, config, Path(place))
        direct = (perf_counter() - began) / n
    return {
        "seconds_a_case": times[1],
        "seconds_a_case_two_processes": times[2],
        "gain_of_second_core": times[1] / times[2],
        "direct_seconds_a_case": direct,
        "ours_over_direct": times[1] / direct,
    }


def _directly(cohort: Cohort, case_id: str, config: PrepareConfig, place: Path) -> None:
    """The steps' own work, one after the other, arrays saved with numpy."""
    reference = reference_of(cohort.describe(case_id), config)
    volumes = {name: canonical(cohort.read_volume(case_id, name)) for name in cohort.describe(case_id)["volumes"]}
    grid = grid_of(cohort, case_id, config, None)
    for name in volumes:
        if name != reference:
            check_alignment(volumes[name], volumes[reference])
            volumes[name] = register(volumes[name], volumes[reference]).moved(volumes[name])
            check_alignment(volumes[name], volumes[reference])
    with one_thread():
        volumes = {name: correct(resample(volume, grid)) for name, volume in volumes.items()}
    mask, _ = make_mask(volumes[reference], "brain")
    brain_tissue(volumes["T1"].data, mask, CONTRASTS["T1"])
    images = [normalise(v, intensity_range(v, mask, config.normalise), clip=True).data for v in volumes.values()]
    np.save(place / "direct.npy", np.stack(images))
