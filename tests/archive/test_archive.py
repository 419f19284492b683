"""Exports: what goes out comes in the same elsewhere, and nothing else gets in."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from core.archive import pack_run, pack_workspace, take_in
from core.archive.layout import MANIFEST
from core.cohort import Cohort
from core.dataset import Dataset
from core.errors import InvalidConfigError, UserError
from core.jobs.worker import execute
from core.measured_doubt import write_doubt
from core.models import MODELS
from core.runs import EXPORT, Run, new_job
from core.sharing import BROUGHT_IN
from core.synthesis import load_run
from core.uploads import stage
from core.workspace import Workspace, write_json
from tests.conftest import make_cohort
from tests.tiny_run import Blend, load_tiny, make_dataset

Files = dict[str, bytes]


@pytest.fixture(autouse=True)
def _blend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "blend", Blend)


ROW = {"model": "ae", "case": "case-0", "given": ["T1"], "target": "T2", "mae": 0.5, "mae@lesion": 0.25}


@pytest.fixture
def full(tmp_path: Path) -> Workspace:
    """A workspace with a cohort, a dataset, a finished run, and what must not leave it."""
    workspace = Workspace(tmp_path / "full")
    make_cohort(workspace, n_cases=3)
    run = load_tiny(workspace, make_dataset(workspace)).run
    run.append_history({"step": 1, "split": "train", "total": 0.5})
    (run.folder / "previews").mkdir()
    np.savez(run.folder / "previews" / "000010.npz", source__T1=np.zeros((4, 5), np.float16))
    np.savez(run.embedding_path, z=np.zeros((3, 2), np.float32), case=np.array(["case-0"] * 3))
    run.write_result({"rows": [ROW]})
    write_doubt(run, {"run": run.id, "protocol": {}, "pairs": []})
    run.update(state="finished", note="said by somebody", pid=77, created=5.0, started=6.0, ended=9.0)
    (run.folder / "log.txt").write_text("/home/somebody")
    (workspace.root / "uploads" / "upload-1").mkdir(parents=True)
    (workspace.root / "uploads" / "upload-1" / "Doe.dcm").write_text("Doe")
    workspace.secret()
    new_job(workspace, "ingest", {"upload": "upload-1"})
    return workspace


@pytest.fixture
def export(full: Workspace, tmp_path: Path) -> Path:
    path = tmp_path / "export.zip"
    with path.open("wb") as stream:
        pack_workspace(full, stream)
    return path


def files_of(path: Path) -> Files:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(files: Files, path: Path, is_listed: bool = True) -> Path:
    """An archive of these files; its manifest tells of them as they are."""
    files = dict(files)
    if is_listed:
        manifest = json.loads(files[MANIFEST])
        manifest["files"] = {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in files.items()
            if name != MANIFEST
        }
        files[MANIFEST] = json.dumps(manifest).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def name_of(files: Files, ending: str) -> str:
    return next(name for name in sorted(files) if name.endswith(ending))


def test_a_workspace_comes_in_elsewhere_as_it_went_out(full: Workspace, export: Path, tmp_path: Path) -> None:
    other = Workspace(tmp_path / "other")
    result = take_in(other, export)
    (run_id,) = [path.name for path in full.runs.iterdir()]
    assert result == {"added": ["cohorts/phantoms", "datasets/tiny", f"runs/{run_id}"], "already": []}
    there, here = Cohort.open(full, "phantoms"), Cohort.open(other, "phantoms")
    for case_id in there.case_ids:
        assert here.describe(case_id) == there.describe(case_id)
        for modality in there.describe(case_id)["volumes"]:
            assert np.array_equal(here.read_volume(case_id, modality).data, there.read_volume(case_id, modality).data)
    run = Run.open(other, run_id)
    before, after = (load_run(place, Run.open(place, run_id)).model.state_dict() for place in (full, other))
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert (run.state, run.status.ended, run.history()) == (
        "finished",
        9.0,
        [{"step": 1, "split": "train", "total": 0.5}],
    )
    assert run.result == Run.open(full, run_id).result
    assert run.result["rows"] == [ROW]
    assert take_in(other, export) == {"added": [], "already": result["added"]}
    assert (other.datasets / "tiny" / BROUGHT_IN).exists() and not (full.datasets / "tiny" / BROUGHT_IN).exists()


def test_secrets_uploads_logs_and_words_of_others_stay_behind(full: Workspace, export: Path, tmp_path: Path) -> None:
    content = b"".join(files_of(export).values())
    assert b"Doe" not in content and b"/home/somebody" not in content and full.secret() not in content
    other = Workspace(tmp_path / "other")
    take_in(other, export)
    status = next(Run(path).status for path in other.runs.iterdir())
    assert (status.note, status.pid) == ("Imported.", 0)
    assert sorted(path.name for path in other.root.iterdir()) == ["cohorts", "datasets", "runs"]


def test_one_run_goes_alone_and_the_same_run_makes_the_same_file(full: Workspace, tmp_path: Path) -> None:
    run = next(Run(path) for path in full.runs.iterdir())
    first, second = io.BytesIO(), io.BytesIO()
    pack_run(run, first)
    pack_run(run, second)
    assert first.getvalue() == second.getvalue()
    path = tmp_path / "run.zip"
    path.write_bytes(first.getvalue())
    assert take_in(Workspace(tmp_path / "other"), path)["added"] == [f"runs/{run.id}"]


def test_the_demo_s_images_do_not_travel_and_nothing_is_no_export(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "demo")
    write_json(make_cohort(workspace, "demo", 2).folder / "cohort.json", {"simulated": True})
    make_dataset(workspace, "demo")
    with pytest.raises(UserError) as caught:
        pack_workspace(workspace, io.BytesIO())
    assert caught.value.code == "EXPORT-EMPTY"


def test_an_unfinished_run_rests_where_it_comes_in(full: Workspace, tmp_path: Path) -> None:
    run = next(Run(path) for path in full.runs.iterdir())
    run.update(state="paused", in_queue=True)
    path = tmp_path / "run.zip"
    with path.open("wb") as stream:
        pack_run(run, stream)
    other = Workspace(tmp_path / "other")
    take_in(other, path)
    assert (Run.open(other, run.id).state, Run.open(other, run.id).status.in_queue) == ("cancelled", False)


def test_another_dataset_of_the_same_name_is_not_touched(export: Path, tmp_path: Path) -> None:
    other = Workspace(tmp_path / "other")
    kept = make_dataset(other, n_cases=2)
    before = kept.fingerprint
    with pytest.raises(InvalidConfigError) as caught:
        take_in(other, export)
    assert caught.value.code == "NAME-TAKEN"
    assert Dataset.open(other, "tiny").fingerprint == before
    assert sorted(path.name for path in other.root.iterdir()) == ["datasets"]


def renamed(ending: str, name: str) -> Callable[[Files], Files]:
    def change(files: Files) -> Files:
        old = name_of(files, ending)
        return {name if other == old else other: content for other, content in files.items()}

    return change


def replaced(ending: str, old: bytes, new: bytes) -> Callable[[Files], Files]:
    def change(files: Files) -> Files:
        name = name_of(files, ending)
        assert old in files[name]
        return {**files, name: files[name].replace(old, new)}

    return change


def instead(ending: str, content: bytes) -> Callable[[Files], Files]:
    return lambda files: {**files, name_of(files, ending): content}


def added(name: str, content: bytes = b"x") -> Callable[[Files], Files]:
    return lambda files: {**files, name: content}


def without(ending: str) -> Callable[[Files], Files]:
    return lambda files: {name: content for name, content in files.items() if name != name_of(files, ending)}


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def npz(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("z.npy", npy(array))
    return stream.getvalue()


OBJECTS = np.array([{"a": 1}], dtype=object)
HOSTILE = {
    "a climbing name": (added("../../evil.json"), "ZIP-PATH"),
    "an absolute name": (added("/etc/evil.json"), "ZIP-PATH"),
    "a program": (added("runs/run-x/evil.py"), "ARCHIVE-NAME"),
    "a pickle": (added("runs/run-x/weights.pt"), "ARCHIVE-NAME"),
    "a secret to replace ours": (added(".secret"), "ARCHIVE-NAME"),
    "a queue": (added("queue.sqlite"), "ARCHIVE-NAME"),
    "a hidden name": (renamed("config.json", "runs/.run/config.json"), "ARCHIVE-NAME"),
    "a zip in the zip": (added("runs/run-x/results.json", b"PK\x05\x06" + bytes(18)), "ZIP-EMPTY"),
    "a dataset's case that climbs": (
        replaced("index.json", b'"id": "case-0"', b'"id": "../case-0"'),
        "ARCHIVE-CONTENT",
    ),
    "a label map that climbs": (replaced("index.json", b'"T1_fov"', b'"../T1_fov"'), "ARCHIVE-CONTENT"),
    "a modality that climbs": (replaced("case.json", b'"T1": {', b'"../T1": {'), "ARCHIVE-CONTENT"),
    "free text as a label": (replaced("case.json", b'"group": "b"', b'"group": "<b>Doe</b>"'), "ARCHIVE-CONTENT"),
    "an unknown setting": (replaced("config.json", b'"seed"', b'"sneed"'), "ARCHIVE-CONTENT"),
    "infinite JSON": (replaced("state.json", b"9.0", b"Infinity"), "ARCHIVE-CONTENT"),
    "deep JSON": (instead("results.json", b"[" * 100_000 + b"]" * 100_000), "ARCHIVE-CONTENT"),
    "a list of results": (instead("results.json", b"[]"), "ARCHIVE-CONTENT"),
    "text among scores of regions": (instead("regions.json", b'[{"mae@lesion": "Doe"}]'), "ARCHIVE-CONTENT"),
    "scores of more rows than there are": (instead("regions.json", b"[{}, {}]"), "ARCHIVE-CONTENT"),
    "error bars without pairs": (instead("uncertainty.json", b'{"run": "", "protocol": {}}'), "ARCHIVE-CONTENT"),
    "scores of regions without results": (without("results.json"), "ARCHIVE-CONTENT"),
    "objects in an array": (instead("images.npy", npy(OBJECTS)), "ARCHIVE-CONTENT"),
    "objects in arrays": (instead("embedding.npz", npz(OBJECTS)), "ARCHIVE-CONTENT"),
    "a cut array": (lambda f: {**f, (n := name_of(f, "images.npy")): f[n][:-8]}, "ARCHIVE-CONTENT"),
    "an array of another shape": (instead("mask.npy", npy(np.zeros((3, 4, 5), bool))), "ARCHIVE-CONTENT"),
    "an array that lies": (replaced("mask.npy", b"(18, 21, 7)", b"(18, 21, 9)"), "ARCHIVE-CONTENT"),
    "weights that lie": (replaced("weights.safetensors", b'"F32"', b'"F64"'), "ARCHIVE-CONTENT"),
    "weights that are none": (instead("weights.safetensors", b"\x80\x04pickle"), "ARCHIVE-CONTENT"),
    "curves with text": (instead("history.jsonl", b'{"step": "<script>"}\n'), "ARCHIVE-CONTENT"),
    "an image with a name": (
        lambda f: {**f, (n := name_of(f, "T1.nii")): f[n][:148] + b"Doe^Jane" + f[n][156:]},
        "ARCHIVE-CONTENT",
    ),
    "an image that goes on": (lambda f: {**f, (n := name_of(f, "T1.nii")): f[n] + b"Doe"}, "ARCHIVE-CONTENT"),
    "a case without its image": (without("CT.nii"), "ARCHIVE-CONTENT"),
    "a dataset without its index": (without("index.json"), "ARCHIVE-CONTENT"),
    "a run without its config": (without("config.json"), "ARCHIVE-CONTENT"),
    "a later version": (replaced(MANIFEST, b'"version": 1', b'"version": 2'), "ARCHIVE-VERSION"),
    "no manifest": (renamed(MANIFEST, "runs/run-x/results.json"), "ARCHIVE-FOREIGN"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_not_as_we_write_it_is_refused_and_leaves_nothing(what: str, export: Path, tmp_path: Path) -> None:
    change, code = HOSTILE[what]
    files = change(files_of(export))
    path = packed(files, tmp_path / "bad.zip", is_listed=MANIFEST in files)
    other = Workspace(tmp_path / "other")
    with pytest.raises(UserError) as caught:
        take_in(other, path)
    assert caught.value.code == code
    assert list(other.root.iterdir()) == []
    assert not (tmp_path / "evil.json").exists() and "Doe" not in str(caught.value)


def test_a_changed_file_and_one_that_is_not_listed_are_noticed(export: Path, tmp_path: Path) -> None:
    files = files_of(export)
    name = name_of(files, "images.npy")
    changed = {**files, name: files[name][:-1] + bytes([files[name][-1] ^ 1])}
    for wrong, code in ((changed, "ARCHIVE-SUM"), ({**files, "runs/run-x/config.json": b"{}"}, "ARCHIVE-LIST")):
        with pytest.raises(UserError) as caught:
            take_in(Workspace(tmp_path / "other"), packed(wrong, tmp_path / "bad.zip", is_listed=False))
        assert caught.value.code == code


def test_a_cut_file_is_damaged(export: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.zip"
    path.write_bytes(export.read_bytes()[:-2000])
    with pytest.raises(UserError) as caught:
        take_in(Workspace(tmp_path / "other"), path)
    assert caught.value.code == "ZIP-DAMAGED"


def test_workers_pack_and_take_in(full: Workspace, tmp_path: Path) -> None:
    job = new_job(full, "export", {})
    execute(job, full)
    other = Workspace(tmp_path / "other")
    with (job.folder / EXPORT).open("rb") as stream:
        upload = stage(other, [("my export.zip", stream)])
    taken = new_job(other, "restore", {"upload": upload})
    execute(taken, other)
    assert (taken.state, len(taken.result["added"])) == ("finished", 3)
    assert list(other.uploads.iterdir()) == []
