"""What does the alignment check say of images that lie 0, 3, 5 and 8 mm off, along each axis and both ways?

Brains in MNI space lie on each other. Prostate ADC and high-b images are taken from where `align: auto` puts them, as
a patient moves between two scans; what is left there is at most a slice's thickness.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

from benchmarks import Figures, Targets
from benchmarks.register import read_image
from core.alignment import check_alignment
from core.cohort import Cohort
from core.ingest import ingest
from core.preprocess.align import AlignConfig, align_case
from core.preprocess.grids import Grid
from core.preprocess.piece import Piece
from core.types import Volume
from core.workspace import Workspace

DATA = Path(os.environ.get("CROSSMODAL_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
TARGETS: Targets = {
    "brain_0_mm_aligned": (">=", 1.0),
    "brain_8_mm_not_aligned": (">=", 1.0),
    "adc_5_mm_aligned": ("<=", 0.0),
    "adc_8_mm_not_aligned": (">=", 0.9),
    "hbv_5_mm_aligned": ("<=", 0.0),
}
OFF_MM = (3, 5, 8)


def measure_verdicts() -> Figures:
    """Shares of the verdicts."""
    if not (DATA / "dicom" / "prostate_mpmri").is_dir():
        raise SystemExit("Set CROSSMODAL_DATA to the folder that holds brain_ms_2mm and dicom/prostate_mpmri.")
    said: dict[str, Counter[str]] = {}
    for folder in sorted((DATA / "brain_ms_2mm").iterdir()):
        for modality in ("T2", "FLAIR", "T1POST"):
            _judge("brain", read_image(folder, modality), read_image(folder, "T1"), said)
    with tempfile.TemporaryDirectory() as place:
        workspace = Workspace(Path(place))
        ingest(workspace, [DATA / "dicom" / "prostate_mpmri"], "prostate")
        cohort = Cohort.open(workspace, "prostate")
        for case_id in cohort.case_ids:
            piece = _laid(cohort, case_id)
            for modality in ("ADC", "HBV"):
                _judge(modality.lower(), piece.volumes[modality], piece.volumes["T2W"], said)
    return {
        f"{name}_{verdict.replace(' ', '_')}": counts[verdict] / counts.total()
        for name, counts in said.items()
        for verdict in ("aligned", "not aligned")
    }


def _laid(cohort: Cohort, case_id: str) -> Piece:
    volumes = {name: cohort.read_volume(case_id, name) for name in ("T2W", "ADC", "HBV")}
    i, j, k = volumes["T2W"].data.shape
    return align_case(Piece("T2W", volumes, Grid((i, j, k), volumes["T2W"].affine)), AlignConfig(mode="auto"))


def _judge(name: str, moving: Volume, fixed: Volume, said: dict[str, Counter[str]]) -> None:
    said.setdefault(f"{name}_0_mm", Counter())[check_alignment(moving, fixed).verdict] += 1
    for off_mm in OFF_MM:
        for axis in range(3):
            for side in (-1, 1):
                affine = moving.affine.copy()
                affine[axis, 3] += side * off_mm
                verdict = check_alignment(replace(moving, affine=affine), fixed).verdict
                said.setdefault(f"{name}_{off_mm}_mm", Counter())[verdict] += 1


def table(figures: Figures) -> str:
    """What lies how far off down; shares of the three verdicts across."""
    lines = [f"{'':<16}{'aligned':>10}{'doubtful':>10}{'not aligned':>13}"]
    for name in (key.removesuffix("_not_aligned") for key in figures if key.endswith("_not_aligned")):
        aligned, not_aligned = figures[f"{name}_aligned"], figures[f"{name}_not_aligned"]
        doubtful = 1 - aligned - not_aligned
        lines.append(f"{name.replace('_', ' '):<16}{aligned:>10.2f}{doubtful:>10.2f}{not_aligned:>13.2f}")
    return "\n".join(lines) + "\n"
