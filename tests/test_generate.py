"""Generated cohorts: the right images of the right cases in their place, no copy of a training image, and a gate."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from core import frozen
from core.__main__ import _answer as answer_to
from core.audit import audit
from core.cohort_plan import GenerateConfig, copy_check, plan
from core.dataset import Split, split_cases
from core.dataset_writer import DatasetWriter
from core.errors import InvalidConfigError
from core.findings import finding, keep
from core.generate import ABOUT, COPY, NO_NUMBERS, README, generate
from core.jobs.worker import execute
from core.models import MODELS
from core.models.base import Batch
from core.runs import EXPORT, new_job
from core.synthesis import LoadedRun
from core.workspace import Workspace
from tests.known_heads import Knowing, case_of, loaded, remember
from tests.tiny_run import HU, Blend, load_tiny, make_dataset

CT_FROM_T1 = GenerateConfig(given=("T1",), targets=("CT",))
T2_FROM_T1 = GenerateConfig(given=("T1",), targets=("T2",))


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> LoadedRun:
    """A run of `Blend` that was checked for copies; case-3 was learnt from and lacks T2."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frozen, "STEPS", 5)
        patch.setitem(MODELS, "blend", Blend)
        place = Workspace(tmp_path_factory.mktemp("generate"))
        found = load_tiny(place, make_dataset(place))
        assert "case-3" in found.split.train
        assert isinstance(found.model, Blend)
        found.model.gain.data[found.modalities.index("T2")] = 0.5  # as T2 really is
        audit(found, ["memorisation"])
    return found


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen, "STEPS", 5)
    monkeypatch.setitem(MODELS, "blend", Blend)
    monkeypatch.setitem(MODELS, "knowing", Knowing)


def made(found: LoadedRun, config: GenerateConfig) -> tuple[dict, zipfile.ZipFile]:
    stream = io.BytesIO()
    result = generate(found, config, stream)
    return result, zipfile.ZipFile(stream)


def image_in(archive: zipfile.ZipFile, name: str) -> nib.nifti1.Nifti1Image:
    return nib.nifti1.Nifti1Image.from_bytes(gzip.decompress(archive.read(name)))


def test_a_marked_voxel_leaves_in_hounsfield_units_at_its_place_in_the_world(checked: LoadedRun) -> None:
    (case,) = checked.split.test
    result, archive = made(checked, CT_FROM_T1)
    image = image_in(archive, f"{case}/CT.nii.gz")
    source = np.asarray(checked.dataset.volume(case, "T1"))
    marked = np.unravel_index(source.argmax(), source.shape)
    assert image.get_fdata()[marked] == pytest.approx(source[marked] * HU[0] + HU[1], abs=1e-2)
    np.testing.assert_allclose(image.affine, checked.dataset.affine(case), atol=1e-5)
    assert image.header["descrip"].item() == b"synthetic, not for clinical use"
    assert result == {"images": 1, "cases": 1, "left_out": []}


def test_the_file_says_how_its_images_were_made_and_is_the_same_each_time(checked: LoadedRun) -> None:
    (case,) = checked.split.test
    first, again = io.BytesIO(), io.BytesIO()
    for stream in (first, again):
        generate(checked, CT_FROM_T1, stream)
    assert first.getvalue() == again.getvalue()
    archive = zipfile.ZipFile(first)
    assert archive.namelist() == [f"{case}/CT.nii.gz", ABOUT, README]
    assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    about = json.loads(archive.read(ABOUT))
    assert about["run"] == checked.run.id and about["weights_sha256"] == checked.run.weights_sum
    assert about["dataset_fingerprint"] == checked.dataset.fingerprint and about["given"] == ["T1"]
    assert about["protocol"]["cases"] == [case] and about["protocol"]["held_out"] is True
    assert about["versions"]["torch"].startswith(torch.__version__.split("+")[0])
    (image,) = about["images"]
    assert image["sha256"] == hashlib.sha256(archive.read(image["file"])).hexdigest()
    assert (image["unit"], image["case_was"]) == ("HU", "held out")
    for text in (about["notice"], archive.read(README).decode()):
        assert "not for clinical use" in text.lower()
    assert str(checked.dataset.workspace.root) not in first.getvalue().decode("latin-1")


@pytest.mark.parametrize("cases", ["held-out", "lacking"])
@pytest.mark.parametrize("test", [("case-0",), ("case-3", "case-0"), ("case-3",)])
def test_no_plan_has_a_training_case_for_a_target_that_it_has(
    cases: str, test: tuple[str, ...], checked: LoadedRun
) -> None:
    dataset = checked.dataset
    split = Split(tuple(c for c in dataset.case_ids if c not in test), (), test)
    config = GenerateConfig(given=("T1",), targets=("CT", "T2"), cases=cases)  # type: ignore[arg-type]
    wanted = plan(dataset, split, config).wanted
    assert all(c in test or t not in dataset.record(c)["modalities"] for c, made in wanted.items() for t in made)
    assert wanted == ({c: ("CT", "T2") for c in test} if cases == "held-out" else {"case-3": ("T2",)})


def test_a_case_without_what_is_given_is_left_out_and_told(checked: LoadedRun) -> None:
    split = Split(("case-1", "case-2", "case-4"), (), ("case-0", "case-3"))
    config = GenerateConfig(given=("T2",), targets=("CT",))
    found = plan(checked.dataset, split, config)
    assert found.wanted == {"case-0": ("CT",)}
    assert found.left_out == [{"case": "case-3", "target": "CT", "why": "has no T2"}]


@pytest.mark.parametrize(
    ("given", "targets", "cases", "code"),
    [
        (("T1",), ("T1",), "held-out", "UNSUPPORTED"),
        (("T1",), ("CT",), "lacking", "NO-CASES"),  # every case has CT
        (("T1",), ("PET",), "held-out", "CONFIG"),
    ],
)
def test_what_cannot_be_made_is_refused_with_a_sentence(given, targets, cases, code, checked: LoadedRun) -> None:
    with pytest.raises(InvalidConfigError) as caught:
        generate(checked, GenerateConfig(given=given, targets=targets, cases=cases), io.BytesIO())
    assert caught.value.code == code


def test_nothing_leaves_without_a_check_that_is_still_valid(checked: LoadedRun) -> None:
    record = finding(checked.run, "memorisation")
    doubtful = [
        ({}, "not been checked"),
        ({**record, "fingerprint": "of other weights"}, "become others"),
        ({"error": "Too few cases.", "code": "TOO-FEW-CASES"}, "Too few cases"),
    ]
    stream = io.BytesIO()
    try:
        for other, said in doubtful:
            keep(checked.run, "memorisation", other)
            with pytest.raises(InvalidConfigError, match=said) as caught:
                generate(checked, CT_FROM_T1, stream)
            assert caught.value.code == "AUDIT-NEEDED"
        other_split = replace(checked.split, val=("case-9",))
        keep(checked.run, "memorisation", record)
        with pytest.raises(InvalidConfigError, match="become others"):
            copy_check(checked.run, checked.dataset, other_split)
    finally:
        keep(checked.run, "memorisation", record)
    assert not stream.getvalue()


@pytest.mark.parametrize(("limits", "code"), [({}, "AUDIT-NEEDED"), ({"distance_image": 0.004}, "SAME-IMAGES")])
def test_a_target_of_which_a_copy_could_not_be_told_stays(limits: dict, code: str, checked: LoadedRun) -> None:
    record = finding(checked.run, "memorisation")
    known = {"CT": {**record["result"]["limits"]["CT"], **limits}} if limits else {}
    keep(checked.run, "memorisation", {**record, "result": {**record["result"], "limits": known}})
    try:
        with pytest.raises(InvalidConfigError) as caught:
            generate(checked, CT_FROM_T1, io.BytesIO())
        assert caught.value.code == code
    finally:
        keep(checked.run, "memorisation", record)


class Sly(Knowing):
    """Right by the rule for everyone but one case, of whom it hands back a training image."""

    victim = 0.0  # sum of that case's source

    def synthesise(self, batch: Batch, targets: object) -> dict[str, torch.Tensor]:
        is_victim = abs(float(next(iter(batch.x.values())).sum()) - self.victim) < 0.1
        self.config = Knowing.Config(how="copy" if is_victim else "rule")
        return super().synthesise(batch, targets)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> LoadedRun:
    """A checked run on heads, of which one that was learnt from has no T2. Another model in its place keeps the check,
    which knows weights by their file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frozen, "STEPS", 5)
        patch.setitem(MODELS, "knowing", Knowing)
        ids = [f"case-{n}" for n in range(8)]
        lacking = split_cases(ids, 0).train[-1]
        writer = DatasetWriter(Workspace(tmp_path_factory.mktemp("people")), "heads")
        for n, case_id in enumerate(ids):
            case = case_of(case_id, n)
            kept = ("T1",) if case_id == lacking else ("T1", "T2")
            writer.add(replace(case, images={m: case.images[m] for m in kept}))
        found = loaded(writer.finish("heads", {"by hand": {}}, simulated=True))
        audit(found, ["memorisation"])
    return found


def test_what_a_case_lacks_is_made_and_nothing_of_a_training_case_that_has_it(people: LoadedRun) -> None:
    lacking = people.split.train[-1]
    result, archive = made(people, T2_FROM_T1.model_copy(update={"cases": "lacking"}))
    assert [name for name in archive.namelist() if name.endswith(".gz")] == [f"{lacking}/T2.nii.gz"]
    assert json.loads(archive.read(ABOUT))["images"][0]["case_was"] == "training"
    assert (result["images"], result["left_out"]) == (1, [])
    np.testing.assert_allclose(
        image_in(archive, f"{lacking}/T2.nii.gz").get_fdata(), by_rule(people, lacking), atol=1e-6
    )


def by_rule(run: LoadedRun, case_id: str) -> np.ndarray:
    """T2 as `Knowing` makes it."""
    return np.where(run.dataset.mask(case_id), 1 - np.asarray(run.dataset.volume(case_id, "T1")), 0)


def test_a_copy_of_a_training_image_is_left_out_and_told(people: LoadedRun) -> None:
    run = people
    copied, honest = run.split.test
    remember(run.dataset, run.split.train[1])
    sly = Sly(Knowing.Config(), run.model.shapes).eval()
    sly.victim = float(np.asarray(run.dataset.volume(copied, "T1")).sum())
    result, archive = made(replace(run, model=sly), T2_FROM_T1)
    assert result["left_out"] == [{"case": copied, "target": "T2", "why": COPY}]
    assert [name for name in archive.namelist() if name.endswith(".gz")] == [f"{honest}/T2.nii.gz"]
    about = json.loads(archive.read(ABOUT))
    assert about["left_out"] == result["left_out"] and about["copy_check"]["left_out"] == 1
    np.testing.assert_allclose(image_in(archive, f"{honest}/T2.nii.gz").get_fdata(), by_rule(run, honest), atol=1e-6)


def test_of_a_memoriser_nothing_leaves_at_all(people: LoadedRun) -> None:
    run = people
    remember(run.dataset, run.split.train[0])
    copier = Knowing(Knowing.Config(how="copy"), run.model.shapes).eval()
    with pytest.raises(InvalidConfigError, match="as near to a training image") as caught:
        generate(replace(run, model=copier), T2_FROM_T1, io.BytesIO())
    assert caught.value.code == "ALL-LEFT-OUT"


def test_an_image_that_holds_no_numbers_stays(people: LoadedRun) -> None:
    broken = Knowing(Knowing.Config(), people.model.shapes).eval()
    broken.synthesise = lambda batch, targets: {m: batch.x["T1"] * float("nan") for m in targets}  # type: ignore
    with pytest.raises(InvalidConfigError, match=NO_NUMBERS):
        generate(replace(people, model=broken), T2_FROM_T1, io.BytesIO())


def test_a_worker_leaves_the_file_in_its_job_and_half_of_one_nowhere(checked: LoadedRun) -> None:
    place = checked.dataset.workspace
    params = {"run": checked.run.id, "settings": {"given": ["T1"], "targets": ["CT"]}, "device": "cpu"}
    job = new_job(place, "generate", params)
    result = execute(job, place)
    path = job.folder / EXPORT
    assert result == job.result == {"images": 1, "cases": 1, "left_out": [], "bytes": path.stat().st_size}
    with pytest.raises(InvalidConfigError):
        bad = new_job(place, "generate", {**params, "settings": {"given": ["T1"], "targets": ["T1"]}})
        execute(bad, place)
    assert bad.state == "failed" and not [p for p in bad.folder.iterdir() if "export" in p.name]


def test_the_command_line_writes_the_same_file(checked: LoadedRun, tmp_path: Path) -> None:
    out = tmp_path / "ct.zip"
    tail = ["--given", "T1", "--targets", "CT", "--workspace", str(checked.dataset.workspace.root), "--json"]
    code, answer = answer_to(["generate", checked.run.id, "--out", str(out), "--device", "cpu", *tail])
    assert code == 0, answer
    assert (answer["images"], answer["file"], answer["bytes"]) == (1, "ct.zip", out.stat().st_size)
    stream = io.BytesIO()
    generate(checked, CT_FROM_T1, stream)
    assert out.read_bytes() == stream.getvalue()
    code, answer = answer_to(["generate", checked.run.id, "--out", str(tmp_path / "ct.nii"), *tail])
    assert (code, answer["error"]["code"]) == (2, "ARCHIVE-NAME")
    assert [path.name for path in tmp_path.iterdir()] == ["ct.zip"]
