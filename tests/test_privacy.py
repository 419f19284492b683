"""Identity planted wherever a file can hold it: nothing of it is stored, logged or told; a planted leak is stopped."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
import zipfile
from dataclasses import asdict
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from streamlit.testing.v1 import AppTest

from core.cohort import Cohort, save_nifti
from core.ingest import case_token, ingest, scan
from core.jobs import BACKENDS
from core.jobs.worker import execute
from core.prepare import prepare
from core.readers.choice import Choice
from core.recipes import make_recipe, recipe_to_text
from core.runs import list_jobs, new_job
from core.survey import survey
from core.uploads import stage
from core.workspace import Workspace
from tests.conftest import REPOSITORY
from tests.readers.dicom_files import phantom, slice_dataset, write
from ui.csv_table import csv_bytes

CANARIES = (
    *("CANARYxSMITH", "19610203", "CANARYxPLACE", "20240102", "CANARYxFOLDER", "CANARYxNOTE", "CANARYxKEY"),
    *("CANARYxEXIF", "CANARYxCSA", "CANARYxREPORT", "CANARYxTABLE", "CANARYxMETA"),
)
IN_NAMES = ("CANARYxSMITH", "CANARYxFOLDER", "CANARYxKEY")  # of files, folders and arrays: shown to whoever brings them


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
        block.add_new(0x20, "OB", b"SV10\4\3\2\1" + b"CANARYxCSA in a Siemens header".ljust(120, b"\0"))
        ds.file_meta.SourceApplicationEntityTitle = "CANARYxMETA"
        ds.file_meta.SendingApplicationEntityTitle = "CANARYxMETA1"
        ds.file_meta.ReceivingApplicationEntityTitle = "CANARYxMETA2"
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


def planted_mosaic(path: Path) -> None:
    """Slices in one picture, as Siemens writes them, with a person's name in its private header."""
    pixels = np.random.default_rng(5).integers(1, 999, (8, 8)).astype("u2")
    ds = slice_dataset(pixels, (0, 0, 0), "1.2.826.0.1.78", "MR", ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"])
    block = ds.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x10, "OB", b"SV10\4\3\2\1" + b"PatientName CANARYxCSA".ljust(200, b"\0"))
    write(ds, path)


def planted_report(path: Path) -> None:
    """Structured content: no picture, all text."""
    ds = slice_dataset(phantom()[:, :, 0], (0, 0, 0), "1.2.826.0.1.79", "CT")
    for name in ("PixelData", "Rows", "Columns"):
        delattr(ds, name)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    item = Dataset()
    item.ValueType, item.TextValue, item.PersonName = "TEXT", "CANARYxREPORT has a tumour", "CANARYxREPORT^P"
    ds.ContentSequence = DicomSequence([item])
    write(ds, path)


def planted_pictures(folder: Path) -> None:
    """Texts, EXIF and comments in PNG and JPEG."""
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(2).integers(0, 200, (9, 7), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x010E], exif[0x013B], exif[0x9286] = "CANARYxEXIF", "CANARYxEXIF artist", "CANARYxEXIF remark"
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Patient", "CANARYxSMITH")
    notes.add_itxt("Comment", "CANARYxNOTE", "en", "CANARYxNOTE")
    notes.add_text("Zipped", "CANARYxNOTE" * 99, zip=True)
    Image.fromarray(pixels).save(folder / "T2.png", pnginfo=notes, exif=exif)
    Image.fromarray(pixels).save(folder / "PD.jpg", exif=exif, comment=b"CANARYxNOTE", quality=90)


def planted_archive(path: Path, content: bytes) -> None:
    """A zip in a zip, each with comments; names of members carry identity too."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.comment = b"CANARYxNOTE inside"
        entry = zipfile.ZipInfo("CANARYxSMITH/T1.nii.gz")
        entry.comment = b"CANARYxNOTE at an entry"
        archive.writestr(entry, content)
    with zipfile.ZipFile(path, "w") as archive:
        archive.comment = b"CANARYxNOTE"
        archive.writestr("CANARYxFOLDER_inner.zip", inner.getvalue())


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A folder with every place that can carry identity; file and folder names carry it too."""
    root = tmp_path / "in"
    planted_dicom(root / "CANARYxFOLDER" / "ct")
    planted_mosaic(root / "CANARYxFOLDER" / "mosaic" / "CANARYxSMITH.dcm")
    planted_report(root / "CANARYxFOLDER" / "report" / "CANARYxSMITH.dcm")
    planted_nifti(root / "CANARYxSMITH_1961" / "T1.nii.gz")
    (root / "CANARYxSMITH_1961" / "T1.json").write_text(json.dumps({"PatientName": "CANARYxSMITH"}))
    (root / "labels_CANARYxFOLDER.csv").write_text("case,name\nCANARYxTABLE,=CANARYxTABLE\n")
    np.savez(root / "CANARYxSMITH_arrays.npz", CANARYxKEY=np.random.default_rng(1).uniform(1, 9, (4, 5, 6)))
    planted_pictures(root / "CANARYxSMITH_png")
    planted_archive(root / "CANARYxFOLDER.zip", (root / "CANARYxSMITH_1961" / "T1.nii.gz").read_bytes())
    cut = (root / "CANARYxFOLDER" / "ct" / "CANARYxSMITH_0.dcm").read_bytes()
    (root / "CANARYxFOLDER" / "CANARYxSMITH_cut.dcm").write_bytes(cut[:700])
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


def test_what_is_told_before_the_import_holds_no_header(workspace: Workspace, planted: Path, tmp_path: Path) -> None:
    """Every proposal: its sentences and facts; the names of files belong to whoever brings them."""
    for proposal in survey(workspace, [planted], "auto", tmp_path / "look"):
        told = {k: v for k, v in asdict(proposal).items() if k not in ("label", "files", "case")}
        assert not found_in(json.dumps(told).encode()), told
        shown = found_in(json.dumps(asdict(proposal)).encode())
        assert set(shown) <= set(IN_NAMES), shown
    drawn = [path for path in (tmp_path / "look").rglob("*") if path.is_file()]
    assert drawn and not any(found_in(path.read_bytes()) for path in drawn)


def test_a_job_that_died_leaves_no_name_behind(workspace: Workspace, planted: Path) -> None:
    """What a person decided stands in the job's folder while it runs: by tokens, never by a folder's name."""
    found = scan(workspace, [planted])
    chosen = {
        p.key: Choice(case_token(workspace, p.case) if p.case else "", p.modality).to_json()
        for p in found
        if p.modality
    }
    job = new_job(workspace, "ingest", {"upload": "gone", "cohort": "c", "layout": "auto", "corrections": chosen})
    assert_clean(job.folder)


def test_a_token_finds_the_case_that_it_stands_for(workspace: Workspace, planted: Path) -> None:
    place = planted / "CANARYxSMITH_1961"
    (found,) = [p for p in scan(workspace, [place]) if p.modality == "T1"]
    plain = ingest(workspace, [place], "plain")["cases"]
    choice = Choice(case_token(workspace, found.case), "T1")
    by_token = ingest(workspace, [place], "plain", corrections={found.key: choice})
    assert [row["code"] for row in by_token["files"] if row["modality"] == "T1"] == ["ALREADY-THERE"]
    assert len(plain) == 1


def test_what_is_exported_holds_nothing_of_it(workspace: Workspace, planted: Path, tmp_path: Path) -> None:
    """Prepared arrays, NIfTI, tables and recipes made from what came in."""
    ingest(workspace, [planted / "CANARYxSMITH_1961", planted / "CANARYxFOLDER" / "ct"], "c")
    cohort = Cohort.open(workspace, "c")
    dataset = prepare(workspace, cohort, "d", make_recipe("generic"))
    assert dataset.case_ids
    assert_clean(workspace.root)
    for case_id in cohort.case_ids:
        for modality in cohort.describe(case_id)["volumes"]:
            save_nifti(cohort.read_volume(case_id, modality), tmp_path / "out" / f"{case_id}-{modality}.nii.gz")
    written = [gzip.decompress(path.read_bytes()) for path in (tmp_path / "out").iterdir()]
    assert len(written) >= 2 and not any(found_in(content) for content in written)
    records = [cohort.describe(case_id) for case_id in cohort.case_ids]
    assert not found_in(csv_bytes(list(records[0]), records))
    assert not found_in(recipe_to_text("d", make_recipe("generic")).encode())


def test_the_page_shows_names_of_files_to_their_owner_only_and_no_header_to_anybody(
    workspace: Workspace, planted: Path
) -> None:
    page = AppTest.from_file(str(REPOSITORY / "pages" / "data.py"), default_timeout=120).run()
    files = [
        (str(p.relative_to(planted)), p.read_bytes(), "application/octet-stream")
        for p in sorted(planted.rglob("*"))
        if p.is_file() and p.suffix != ".json"
    ]
    page.file_uploader[0].set_value(files[:12]).run()
    assert not page.exception
    before = everything_on(page)
    assert "P1" in before and {"CANARYxFOLDER"} <= set(found_in(before.encode())) <= set(IN_NAMES)
    next(button for button in page.button if button.label == "Import").click().run()
    job = next(job for job in list_jobs(workspace) if job.kind == "ingest")
    BACKENDS["local"].wait(job, timeout_s=120)
    assert not found_in((job.folder / "log.txt").read_bytes() if (job.folder / "log.txt").exists() else b"")
    page.run()  # takes the labels, once
    assert set(found_in(everything_on(page).encode())) <= set(IN_NAMES)
    assert_clean(workspace.root)
    stranger = AppTest.from_file(str(REPOSITORY / "pages" / "data.py"), default_timeout=120).run()
    assert "File 1" in everything_on(stranger) and not found_in(everything_on(stranger).encode())
    assert not found_in(json.dumps(dict(page.query_params)).encode())


def everything_on(page: AppTest) -> str:
    """All that a page sends to the browser as text, tables included."""
    tables = [frame.value.to_csv() for frame in page.dataframe]
    return "\n".join([repr(page.main), *tables, *(str(element.proto) for element in page.main)])
