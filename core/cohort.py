"""Cases on disk: cohorts/NAME/CASE/MODALITY.nii + case.json, readable by any imaging tool."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from core.errors import NotFoundError
from core.remembered import remembered
from core.types import Affine, Array, Case, Label, Volume
from core.workspace import Workspace, atomic_write, new_id, plain, read_json, safe_name, write_json

_read_record = remembered(at_most=2048)(read_json)


@dataclass(frozen=True)
class Cohort:
    """A folder of cases. Volumes are read one at a time, when asked for."""

    folder: Path

    @staticmethod
    def open(workspace: Workspace, name: str) -> Cohort:
        """The cohort of that name.

        Raises:
            NotFoundError: There is none.
        """
        folder = workspace.cohorts / safe_name(name)
        if not folder.is_dir():
            raise NotFoundError(f"There is no cohort named {name}. Import images first, or open the demo.")
        return Cohort(folder)

    @staticmethod
    def create(workspace: Workspace, name: str) -> Cohort:
        """The cohort of that name, made if it is not there yet."""
        folder = workspace.cohorts / safe_name(name)
        folder.mkdir(parents=True, exist_ok=True)
        return Cohort(folder)

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def case_ids(self) -> list[str]:
        return sorted(path.parent.name for path in self.folder.glob("*/case.json") if path.parent.name[0] != ".")

    @property
    def info(self) -> dict[str, Any]:
        """What is known of the whole: `simulated`, `source`, `level`. Empty for an imported cohort."""
        path = self.folder / "cohort.json"
        return dict(read_json(path)) if path.exists() else {}

    def describe(self, case_id: str) -> dict[str, Any]:
        """A case without its voxels: `id`, `labels`, `volumes` -> shape, spacing_mm, affine, unit, range, warnings."""
        path = self.folder / safe_name(case_id) / "case.json"
        if not path.exists():
            raise NotFoundError(f"There is no case {case_id} in this cohort.")
        return dict(_read_record(path))

    def read(self, case_id: str) -> Case:
        """A whole case."""
        record = self.describe(case_id)
        volumes = {modality: self.read_volume(case_id, modality) for modality in record["volumes"]}
        return Case(case_id, volumes, record["labels"])

    def read_volume(self, case_id: str, modality: str) -> Volume:
        """One modality of one case; raises NotFoundError where it was not acquired."""
        facts = self.describe(case_id)["volumes"].get(modality)
        if facts is None:
            raise NotFoundError(f"Case {case_id} has no {modality}.")
        image = nib.nifti1.load(self.folder / case_id / f"{modality}.nii")
        data = np.asarray(image.dataobj, dtype=np.float32)
        return Volume(data, np.asarray(facts["affine"], float), modality, facts["unit"], tuple(facts["warnings"]))

    def write(self, case: Case) -> dict[str, Any]:
        """Add a case (whole or not at all), or modalities to a case that is there. Returns its record."""
        folder = self.folder / safe_name(case.id)
        old: dict[str, Any] = self.describe(case.id) if folder.exists() else {"labels": {}, "volumes": {}}
        facts = {safe_name(modality): volume_facts(volume) for modality, volume in case.volumes.items()}
        record = {"id": case.id, "labels": {**old["labels"], **case.labels}, "volumes": {**old["volumes"], **facts}}
        place = folder if folder.exists() else self.folder / f".{new_id('draft')}"
        for modality, volume in case.volumes.items():
            save_nifti(volume, place / f"{modality}.nii")
        write_json(place / "case.json", record)
        if place != folder:
            os.rename(place, folder)
        return dict(plain(record))

    def set_labels(self, case_id: str, labels: Mapping[str, Label]) -> None:
        """Give a case other labels, all of them at once; its images stay as they are."""
        record = {**self.describe(case_id), "labels": dict(labels)}
        write_json(self.folder / safe_name(case_id) / "case.json", record)

    def delete_case(self, case_id: str) -> None:
        """Remove a case and its images."""
        shutil.rmtree(self.folder / safe_name(case_id), ignore_errors=True)

    def delete(self) -> None:
        """Remove the cohort and all its images."""
        shutil.rmtree(self.folder, ignore_errors=True)


def list_cohorts(workspace: Workspace) -> list[Cohort]:
    """Every cohort in the workspace, by name."""
    if not workspace.cohorts.is_dir():
        return []
    return [
        Cohort(folder) for folder in sorted(workspace.cohorts.iterdir()) if folder.is_dir() and folder.name[0] != "."
    ]


def volume_facts(volume: Volume) -> dict[str, Any]:
    """What a record says of a volume: geometry, unit, range; nothing of whom it shows."""
    return {
        "shape": list(volume.data.shape),
        "spacing_mm": [round(value, 6) for value in volume.spacing_mm],
        "affine": volume.affine.tolist(),
        "unit": volume.unit,
        "min": float(volume.data.min()),
        "max": float(volume.data.max()),
        "mean": float(volume.data.mean(dtype=np.float64)),
        "warnings": list(volume.warnings),
    }


def save_nifti(volume: Volume, path: Path) -> None:
    """Write a NIfTI-1 file (`.nii`, or gzipped for `.nii.gz`)."""
    content = nifti_bytes(volume)
    atomic_write(path, packed(content) if path.suffix == ".gz" else content)


def packed(content: bytes) -> bytes:
    """Gzipped, of no date: equal contents give equal files."""
    return gzip.compress(content, 6, mtime=0)


def nifti_bytes(volume: Volume, description: str = "") -> bytes:
    """A NIfTI-1 file: whole numbers as int16, all else as float32; the description has at most 79 letters."""
    image = nib.nifti1.Nifti1Image(_compact(volume.data), volume.affine)
    header: Any = image.header
    header.set_xyzt_units("mm")
    header["descrip"] = description
    image.set_sform(volume.affine, code=2)
    image.set_qform(volume.affine, code=2 if _is_rigid(volume.affine) else 0)
    return bytes(image.to_bytes())


def _compact(data: Array) -> np.ndarray[Any, Any]:
    if data.min() >= -32768 and data.max() <= 32767:
        whole = data.astype(np.int16)
        if np.array_equal(whole, data):
            return whole
    return data


def _is_rigid(affine: Affine) -> bool:
    """Whether a qform (rotation and spacing, no shear) can say the same."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.allclose(axes.T @ axes, np.eye(3), atol=1e-4))
