"""What leaves the workspace: a synthesis as NIfTI, where the case lies in the world and with nothing of the patient."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

from core.cohort import nifti_bytes, packed
from core.errors import InvalidConfigError
from core.synthesis import LoadedRun, synthesise_case, to_unit
from core.types import Volume
from core.workspace import atomic_write

SYNTHETIC = "synthetic, not for clinical use"  # in the header of every file


def synthesis_bytes(volume: Volume) -> bytes:
    """A synthesis as `to_unit` gives it, as a gzipped NIfTI that says what it is."""
    return packed(nifti_bytes(volume, SYNTHETIC))


def save_synthesis(loaded: LoadedRun, case_id: str, given: Sequence[str], target: str, path: Path) -> None:
    """Synthesise one target and write it, in HU or SUV where the modality has them.

    Raises:
        InvalidConfigError: The file does not end in .nii or .nii.gz, or the model does not make this target.
    """
    if not path.name.endswith((".nii", ".nii.gz")):
        raise InvalidConfigError("A synthesis is saved as NIfTI: end the file's name in .nii or .nii.gz.")
    data = synthesise_case(loaded, case_id, given, [target])[target]
    content = synthesis_bytes(to_unit(loaded.dataset, case_id, target, data))
    atomic_write(path, content if path.suffix == ".gz" else gzip.decompress(content))
