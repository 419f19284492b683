"""Identity planted wherever a file can hold it: nothing of it is stored, logged or told; a planted leak is stopped."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from core.ingest import ingest, scan
from core.jobs.worker import execute
from core.readers.choice import Choice
from core.runs import new_job
from core.uploads import stage
from core.workspace import Workspace
from tests.readers.dicom_files import phantom, slice_dataset, write

CANARIES = ("CANARYxSMITH", "19610203", "CANARYxPLACE", "20240102", "CANARYxFOLDER", "CANARYxNOTE", "CANARYxKEY")


def planted_dicom(folder: Path) -> None:
    """A series with identity in the preamble, meta, private tags, sequences, comments, overlay, icon and curve."""
    for k in range(3):
        ds = slice_dataset(phantom()[:, :, k], (0, 0, 3.0 * k), "1.2.826.0.1.77", "CT")
        nested = Dataset()
        nested.ReferencedStudySequence = DicomSequence([Dataset()])
        nested.RequestingPhysician = "CANARYxSMITH^DOC"
        ds.RequestAttributesSequence = DicomSequence([nested])
        ds.PatientComments = ds.ImageComments = "CANARYxNOTE came late"
        ds.PatientAddress, ds.InstitutionAddress = "CANARYxPLACE 7", "CANARYxPLACE 9"
        ds.OtherPatientIDs, ds.AccessionNumber, ds.DeviceSerialNumber = "CANARYxKEY", "CANARYxKEY2", "CANARYxKEY3"
        block = ds.private_block(0x0029, "CANARYxSMITH GMBH", create=True)
        block.add_new(0x10, "OB", b"CANARYxSMITH in private bytes")
        ds.add_new(0x60000022, "LO", "CANARYxNOTE overlay")
        ds.add_new(0x50000022, "LO", "CANARYxNOTE curve")
        icon = Dataset()
        icon.Rows, icon.Columns, icon.BitsAllocated = 4, 4, 8
        icon.PixelData = b"CANARYxSMITHxxxx"
        ds.IconImageSequence = DicomSequence([icon])
        ds.file_meta.SourceApplicationEntityTitle = "CANARYxKEY"
        ds.preamble = b"CANARYxSMITH preamble".ljust(128, b"\0")
        write(ds, folder / f"CANARYxSMITH_{k}.dcm")


def planted_nifti(path: Path) -> None:
    image = nib.Nifti1Image(np.random.default_rng(0).integers(5, 99, (4, 5, 6)).astype("i2"), np.diag([1, 2, 3, 1.0]))
    header = image.header
    header["descrip"], header["aux_file"], header["db_name"] = b"CANARYxSMITH 19610203", b"CANARYxFOLDER", b"CANARYxKEY"
    header["intent_name"] = b"CANARYxNOTE"
    header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"CANARYxSMITH was here"))
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.GzipFile(filename="CANARYxFOLDER_original.nii", fileobj=path.open("wb"), mode="wb") as stream:
        stream.write(image.to_bytes())


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A folder with every place that can carry identity; file and folder names carry it too."""
    root = tmp_path / "in"
    planted_dicom(root / "CANARYxFOLDER" / "ct")
    planted_nifti(root / "CANARYxSMITH_1961" / "T1.nii.gz")
    (root / "CANARYxSMITH_1961" / "T1.json").write_text(json.dumps({"PatientName": "CANARYxSMITH"}))
    np.savez(root / "CANARYxSMITH_arrays.npz", CANARYxKEY=np.random.default_rng(1).uniform(1, 9, (4, 5, 6)))
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Patient", "CANARYxSMITH")
    picture = Image.fromarray(np.random.default_rng(2).integers(0, 255, (9, 7), dtype=np.uint8))
    (root / "CANARYxSMITH_png").mkdir()
    picture.save(root / "CANARYxSMITH_png" / "T2.png", pnginfo=notes)
    with zipfile.ZipFile(root / "CANARYxFOLDER.zip", "w") as archive:
        archive.comment = b"CANARYxNOTE"
        archive.writestr("CANARYxSMITH/T1.nii.gz", (root / "CANARYxSMITH_1961" / "T1.nii.gz").read_bytes())
    return root


def found_in(text: bytes) -> list[str]:
    lower = text.lower()
    return [canary for canary in CANARIES if canary.lower().encode() in lower]


def assert_clean(folder: Path) -> None:
    for path in folder.rglob("*"):
        assert not found_in(str(path.relative_to(folder)).encode()), "in a name"
        if path.is_file():
            assert not found_in(path.read_bytes()), "in a file"


def test_nothing_planted_reaches_a_byte_that_is_stored(workspace: Workspace, planted: Path) -> None:
    report = ingest(workspace, [planted], "c")
    assert sum(row["fate"] in ("accepted", "warned") for row in report["files"]) >= 6
    assert_clean(workspace.root)
    told = {**report, "files": [{k: v for k, v in row.items() if k != "label"} for row in report["files"]]}
    assert not found_in(json.dumps(told).encode())
    assert report["dropped"]["names"] >= 3 and report["dropped"]["dates and times"] >= 3


def test_nothing_planted_stays_after_an_upload_was_imported(workspace: Workspace, planted: Path) -> None:
    files = [(str(p.relative_to(planted)), io.BytesIO(p.read_bytes())) for p in planted.rglob("*") if p.is_file()]
    job = new_job(workspace, "ingest", {"upload": stage(workspace, files), "cohort": "c", "layout": "auto"})
    execute(job, workspace)
    (job.folder / "labels.json").unlink()  # shown once to the person who imported, then gone
    assert_clean(workspace.root)


def test_the_command_line_neither_stores_nor_logs_it(workspace: Workspace, planted: Path) -> None:
    words = ["-m", "core", "ingest", str(planted), "--cohort", "c", "--workspace", str(workspace.root), "--json"]
    done = subprocess.run([sys.executable, *words], capture_output=True, check=False, timeout=120)
    assert done.returncode == 0
    assert not found_in(done.stderr)
    assert_clean(workspace.root)


@pytest.mark.parametrize("modality", ["CANARYxSMITH", "canaryxsmith-2", "T1_CANARYxKEY2", "CANARYxPLACE"])
def test_a_name_that_would_carry_identity_stops_the_import(modality: str, workspace: Workspace, planted: Path) -> None:
    (found,) = scan(workspace, [planted / "CANARYxFOLDER" / "ct"])
    choice = Choice(found.case, modality)
    report = ingest(workspace, [planted / "CANARYxFOLDER" / "ct"], "c", corrections={found.key: choice})
    assert {row["code"] for row in report["files"]} == {"CANARY"}
    assert report["cases"] == []
    assert_clean(workspace.root)
