"""From files to a cohort: every file has a fate, every case its volumes, and nothing else is kept."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from core.cohort import Cohort
from core.errors import InvalidConfigError, NotFoundError
from core.ingest import ingest, scan
from core.readers.choice import Choice
from core.workspace import Workspace
from tests.in_process import InProcess


def save(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.random.default_rng(seed).integers(5, 999, (4, 5, 6)).astype("i2")
    nib.save(nib.Nifti1Image(data, np.diag([-1, -2, 3, 1])), path)
    return path


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """No child process: each costs a second to start."""
    monkeypatch.setattr("core.ingest.Decoder", InProcess)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two cases, one with a second modality; a PDF and a hidden file beside them."""
    for n, name in enumerate(["P1/T1.nii.gz", "P1/T2.nii", "P2/T1.nii.gz"]):
        save(tmp_path / "in" / name, n)
    (tmp_path / "in" / "P2" / "letter.nii").write_bytes(b"%PDF-1.4")
    (tmp_path / "in" / ".DS_Store").write_bytes(b"x")
    return tmp_path / "in"


def fates(report: dict) -> dict[str, tuple[str, str]]:
    return {row["label"]: (row["fate"], row["code"]) for row in report["files"]}


def test_every_file_has_one_fate_and_the_cases_are_on_disk(workspace: Workspace, folder: Path):
    report = ingest(workspace, [folder], "c")
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert fates(report) == {
        ".DS_Store": ("ignored", "HIDDEN"),
        "P1/T1.nii.gz": ("accepted", ""),
        "P1/T2.nii": ("accepted", ""),
        "P2/T1.nii.gz": ("accepted", ""),
        "P2/letter.nii": ("rejected", "NOT-AN-IMAGE"),
    }
    assert sorted(sorted(case["volumes"]) for case in report["cases"]) == [["T1"], ["T1", "T2"]]
    cohort = Cohort.open(workspace, "c")
    for case in report["cases"]:
        assert cohort.describe(case["id"])["volumes"] == case["volumes"]
        assert case["volumes"]["T1"]["spacing_mm"] == [1.0, 2.0, 3.0]
    assert not list(workspace.uploads.glob("*"))


def test_the_proposals_tell_the_same_before_anything_is_stored(workspace: Workspace, folder: Path):
    rows = scan(workspace, [folder])
    assert [(row.label, row.case, row.modality, row.fate) for row in rows] == [
        (".DS_Store", "", "", "ignored"),
        ("P1/T1.nii.gz", "P1", "T1", "accepted"),
        ("P1/T2.nii", "P1", "T2", "accepted"),
        ("P2/T1.nii.gz", "P2", "T1", "accepted"),
        ("P2/letter.nii", "", "", "rejected"),
    ]
    assert rows[1].orientation == "LPS"
    assert not workspace.cohorts.exists()


def test_a_person_may_correct_the_table(workspace: Workspace, folder: Path):
    keys = {row.label: row.key for row in scan(workspace, [folder])}
    corrections = {keys["P2/T1.nii.gz"]: Choice("P1", "FLAIR"), keys["P1/T2.nii"]: Choice(include=False)}
    report = ingest(workspace, [folder], "c", corrections=corrections)
    (case,) = report["cases"]
    assert sorted(case["volumes"]) == ["FLAIR", "T1"]
    assert fates(report)["P1/T2.nii"] == ("ignored", "LEFT-OUT")


@pytest.mark.usefixtures("in_process")
def test_two_images_of_one_name_are_told_before_the_import(workspace: Workspace, folder: Path):
    save(folder / "P1" / "t1w.nii.gz", 9)
    rows = {row.label: row for row in scan(workspace, [folder])}
    assert (rows["P1/t1w.nii.gz"].fate, rows["P1/t1w.nii.gz"].code) == ("warned", "DUPLICATE-MODALITY")
    assert fates(ingest(workspace, [folder], "c"))["P1/t1w.nii.gz"] == ("rejected", "DUPLICATE-MODALITY")


@pytest.mark.usefixtures("in_process")
def test_names_never_reach_the_disk(workspace: Workspace, tmp_path: Path):
    save(tmp_path / "CANARY^SMITH" / "T1.nii.gz")
    save(tmp_path / "CANARY_JONES.nii.gz", 1)
    np.savez(tmp_path / "CANARY.npz", CANARYKEY=np.random.default_rng(0).random((4, 5, 6)))
    ingest(workspace, [tmp_path / "CANARY^SMITH", tmp_path / "CANARY_JONES.nii.gz", tmp_path / "CANARY.npz"], "c")
    written = [path for path in workspace.root.rglob("*")]
    assert len(list(workspace.root.rglob("*.nii"))) == 3
    assert not any("CANARY" in str(path.relative_to(workspace.root)) for path in written)
    assert not any(b"CANARY" in path.read_bytes() for path in written if path.is_file())


@pytest.mark.usefixtures("in_process")
def test_folders_of_one_name_from_different_places_are_different_cases(workspace: Workspace, tmp_path: Path):
    for n, name in enumerate(["a/01/T1.nii", "a/01/T2.nii", "b/01/T1.nii"]):
        save(tmp_path / name, n)
    for paths in ([tmp_path], [tmp_path / "a/01", tmp_path / "b/01"], sorted(tmp_path.glob("*/*/*.nii"))):
        report = ingest(workspace, paths, f"c{len(paths)}")
        assert [row["fate"] for row in report["files"]] == ["accepted"] * 3
        assert len({row["label"] for row in report["files"]}) == 3
        assert [row["case"] for row in report["files"]].count(report["files"][0]["case"]) == 2


def test_a_name_that_is_no_text_does_not_stop_the_import(workspace: Workspace, tmp_path: Path):
    save(tmp_path / "in/T1.nii").rename(tmp_path / "in" / os.fsdecode(b"M\xfcller_T1.nii"))
    report = ingest(workspace, [tmp_path / "in"], "c")
    assert fates(report) == {"Mller_T1.nii": ("accepted", "")}
    json.dumps(report, allow_nan=False).encode("ascii")


def test_another_modality_joins_the_case_and_the_same_one_is_kept(workspace: Workspace, tmp_path: Path):
    first = save(tmp_path / "P1" / "T1.nii.gz", 1)
    case = ingest(workspace, [first], "c")["cases"][0]["id"]
    again = ingest(workspace, [first], "c")
    assert (again["files"][0]["fate"], again["files"][0]["code"]) == ("ignored", "ALREADY-THERE")
    assert again["cases"] == []
    assert ingest(workspace, [save(tmp_path / "P1" / "T2.nii.gz", 2)], "c")["cases"][0]["id"] == case
    other = ingest(workspace, [save(first, 3)], "c")["files"][0]
    assert (other["fate"], other["code"], other["case"]) == ("rejected", "DUPLICATE-MODALITY", "")
    before = nib.load(workspace.cohorts / "c" / case / "T1.nii").get_fdata()
    save(first, 1)
    np.testing.assert_array_equal(before, nib.as_closest_canonical(nib.load(first)).get_fdata())


@pytest.mark.usefixtures("in_process")
def test_a_zip_is_the_same_as_its_folder(workspace: Workspace, folder: Path, tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    zipped = ingest(workspace, [tmp_path / "all.zip"], "c")
    plain = ingest(workspace, [folder], "d")
    assert fates(zipped) == fates(plain)
    assert not list(workspace.uploads.glob("*"))


@pytest.mark.usefixtures("in_process")
def test_a_hostile_zip_is_one_rejected_file_among_others(workspace: Workspace, folder: Path):
    with zipfile.ZipFile(folder / "bad.zip", "w") as archive:
        archive.writestr("../../x", b"1")
    report = ingest(workspace, [folder], "c")
    assert fates(report)["bad.zip"] == ("rejected", "ZIP-PATH")
    assert len(report["cases"]) == 2


@pytest.mark.usefixtures("in_process")
def test_links_and_pipes_are_not_followed(workspace: Workspace, folder: Path):
    (folder / "link.nii").symlink_to(folder / "P1" / "T1.nii.gz")
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe.nii")
    found = fates(ingest(workspace, [folder], "c"))
    assert found["link.nii"] == found["loop"] == found["pipe.nii"] == ("rejected", "NOT-A-FILE")


@pytest.mark.usefixtures("in_process")
def test_each_picture_of_an_array_becomes_a_case(workspace: Workspace, tmp_path: Path):
    pictures = np.random.default_rng(0).integers(0, 255, (7, 5, 4)).astype("u1")
    np.save(tmp_path / "T1.npy", pictures)
    np.save(tmp_path / "T2.npy", pictures * 2)
    report = ingest(workspace, [tmp_path / "T1.npy", tmp_path / "T2.npy"], "c", layout="images")
    assert len(report["cases"]) == 7
    assert all(case["volumes"]["T1"]["shape"] == [4, 5, 1] for case in report["cases"])
    cohort = Cohort.open(workspace, "c")
    for case in report["cases"]:
        volumes = cohort.read(case["id"]).volumes
        np.testing.assert_array_equal(volumes["T2"].data, (volumes["T1"].data * 2) % 256)


def test_wrong_questions_are_answered_politely(workspace: Workspace, tmp_path: Path):
    with pytest.raises(NotFoundError):
        ingest(workspace, [tmp_path / "nothing"], "c")
    with pytest.raises(InvalidConfigError):
        ingest(workspace, [tmp_path], "../c")
    with pytest.raises(InvalidConfigError):
        ingest(workspace, [tmp_path], "c", layout="strange")
    assert ingest(workspace, [tmp_path], "c") == {"files": [], "cases": [], "dropped": {}}


@pytest.mark.data
def test_the_orientation_trap_of_the_templates(workspace: Workspace, real_data: Path):
    report = ingest(workspace, [real_data / "templates_mni_2mm"], "c")
    (case,) = report["cases"]
    affines = [volume["affine"] for volume in case["volumes"].values()]
    cohort = Cohort.open(workspace, "c")
    right = {m: v.data[60:].astype(float) for m, v in cohort.read(case["id"]).volumes.items()}
    left = {m: v.data[:31][::-1].astype(float) for m, v in cohort.read(case["id"]).volumes.items()}
    assert all(np.allclose(np.abs(a), np.abs(affines[0]), atol=2.1) for a in affines)
    assert np.corrcoef(right["T1"].ravel(), left["T1"].ravel())[0, 1] > 0.8  # a head, where it is expected
