"""Every hostile input gets its answer: no crash, no wrong volume, no leak."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from core.cohort import Cohort
from core.ingest import ingest
from core.workspace import Workspace
from tests.hostile import dicom_entries, dicom_values, nifti_files, other_files
from tests.hostile.entry import MARK_MM, Entry
from tests.readers.dicom_files import CANARY

KINDS = (nifti_files, other_files, dicom_entries, dicom_values)
CORPUS: dict[str, Entry] = dict([entry for kind in KINDS for entry in kind.entries()])
LET_IN = ("accepted", "warned")


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, dict[str, list[dict[str, Any]]]]:
    """All of the corpus through one import, as a hospital's folder would be; rows by entry."""
    place = tmp_path_factory.mktemp("hostile")
    for name, entry in CORPUS.items():
        for file, content in entry.files.items():
            path = place / "in" / name / (f"{name}.zip" if file == "in.zip" else file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    workspace = Workspace(place / "workspace")
    report = ingest(workspace, [place / "in"], "c")
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in CORPUS}
    for row in report["files"]:
        rows[str(row["label"]).split("/")[0]].append(row)
    return workspace, rows


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len(CORPUS) >= 140


@pytest.mark.parametrize("name", CORPUS)
def test_a_hostile_input_gets_its_answer(name: str, outcome: tuple[Workspace, dict[str, list[dict[str, Any]]]]) -> None:
    workspace, by_entry = outcome
    entry, rows = CORPUS[name], by_entry[name]
    assert rows
    for row in rows:
        assert row["code"] in entry.codes, row
        assert bool(row["message"]) == bool(row["code"])
        assert CANARY.lower() not in row["message"].lower()
        assert str(workspace.root.parent) not in row["message"]
    if not entry.is_marked:
        return
    cohort = Cohort.open(workspace, "c")
    assert all(row["fate"] in LET_IN for row in rows)
    (case_id,) = {row["case"] for row in rows}
    modality = next(iter({row["modality"] for row in rows}))
    volume = cohort.read_volume(case_id, modality)
    voxel = np.unravel_index(np.argmax(volume.data), volume.data.shape)
    np.testing.assert_allclose((volume.affine @ [*voxel, 1])[:3], MARK_MM, atol=1e-4)


def test_nothing_of_it_is_kept_beside_the_cases(outcome: tuple[Workspace, dict[str, list[dict[str, Any]]]]) -> None:
    workspace, _ = outcome
    kept = [path for path in workspace.root.rglob("*") if path.is_file()]
    assert {path.name if path.suffix != ".nii" else ".nii" for path in kept} <= {
        "case.json",
        ".nii",
        ".secret",
        ".lock",
    }
    assert not any(CANARY.lower().encode() in path.read_bytes().lower() for path in kept)
