"""The command line as a script would use it: real processes, real files, stdout that is JSON and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from core.__main__ import _answer as answer_to
from tests.conftest import REPOSITORY, phantom_case

FEW = ["--set", "train.epochs=2", "--set", "train.batch_size=8"]


def call(*arguments: str, workspace: Path, code: int = 0) -> Any:
    """Run a verb with --json; stdout must be one JSON object without NaN."""
    command = [sys.executable, "-m", "core", *arguments, "--json", "--workspace", str(workspace)]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=240)
    assert result.returncode == code, result.stderr[-2000:]

    def refuse(text: str) -> None:
        raise AssertionError(f"{text} is not JSON")

    return json.loads(result.stdout, parse_constant=refuse)


def refused(*arguments: str, workspace: Path) -> dict[str, str]:
    """The error that a verb answers with, without the seconds that a process of its own takes to start."""
    code, answer = answer_to([*arguments, "--json", "--workspace", str(workspace)])
    assert code == 2, answer
    return dict(answer["error"])


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace after ingest and prepare, made by the command line from NIfTI files in folders."""
    root = tmp_path_factory.mktemp("cli")
    for n in range(3):
        for modality in ("T1", "T2"):
            volume = phantom_case("x", n).volumes[modality]
            flipped = nib.nifti1.Nifti1Image(
                volume.data[::-1], volume.affine @ np.diag([-1.0, 1, 1, 1]) + _shift(volume)
            )
            (root / f"in/p{n}").mkdir(parents=True, exist_ok=True)
            nib.save(flipped, root / f"in/p{n}/{modality}.nii.gz")
    report = call("ingest", str(root / "in"), "--cohort", "c", workspace=root / "ws")
    assert [file["fate"] for file in report["files"]] == ["accepted"] * 6
    assert len(report["cases"]) == 3
    facts = report["cases"][0]["volumes"]["T1"]
    assert facts["shape"] == [20, 24, 6]
    np.testing.assert_allclose(facts["affine"], volume.affine, atol=1e-4)
    answer = call("prepare", "c", "--dataset", "d", "--recipe", "generic", workspace=root / "ws")
    assert answer == {"dataset": "d", "cases": 3, "left_out": {}}
    return root / "ws"


def _shift(volume: Any) -> np.ndarray:
    """What makes the first voxel of the flipped array lie where the last one lay."""
    shift = np.zeros((4, 4))
    shift[:3, 3] = volume.affine[:3, 0] * (volume.data.shape[0] - 1)
    return shift


def test_a_linear_run_trains_is_judged_embedded_refused_and_synthesises(prepared: Path, tmp_path: Path) -> None:
    run = call("train", "d", "--model", "linear", "--fold", "0", "--folds", "3", workspace=prepared)
    assert run["state"] == "finished"
    assert run["seconds"] > 0
    judged = call("evaluate", run["run"], workspace=prepared)
    rows = [row for row in judged["rows"] if (row["given"], row["target"]) == (["T1"], "T2")]
    assert {"linear", "constant", "mean_image"} <= {row["model"] for row in rows}
    assert all(row["mae"] > 0 and -1 <= row["ssim"] <= 1 for row in rows)
    assert all(line["low"] is None for line in judged["summary"])  # one held-out case has no interval
    case = rows[0]["case"]
    out = tmp_path / "t2.nii.gz"
    call(
        "synthesise",
        run["run"],
        "--case",
        case,
        "--given",
        "T1",
        "--target",
        "T2",
        "--out",
        str(out),
        workspace=prepared,
    )
    assert nib.load(out).shape == (20, 24, 6)
    np.testing.assert_allclose(nib.load(out).affine, phantom_case("x", 0).volumes["T1"].affine, atol=1e-4)
    assert call("embed", run["run"], workspace=prepared, code=2)["error"]["code"]


def test_labels_are_given_by_a_table_and_quality_is_told(prepared: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    ids = list(call("label", "c", "--out", str(table), workspace=prepared)["labels"])
    assert table.read_text().splitlines()[0].startswith("case,site,") and len(ids) == 3
    table.write_text("case,site\n" + "".join(f"{case},{site}\n" for case, site in zip(ids, "aab", strict=True)))
    answer = call("label", "c", "--csv", str(table), workspace=prepared)
    assert answer["changed"] == 3 and answer["labels"][ids[2]] == {"site": "B"}
    quality = call("quality", "d", workspace=prepared)
    assert quality["cases"] == 3 and quality["grouped_by"] == "site" and set(quality["acquired"]) == {"T1", "T2"}
    table.write_text(f"case,site\n{ids[0]},Jane Doe\n")
    refused = call("label", "c", "--csv", str(table), workspace=prepared, code=2)["error"]
    assert refused["code"] == "LABEL-VALUE" and "Jane" not in refused["message"]
    assert call("quality", "nothing", workspace=prepared, code=2)["error"]["code"] == "NOT-FOUND"


def test_an_autoencoder_run_is_embedded_per_slice_and_modality(prepared: Path) -> None:
    run = call("train", "d", "--model", "ae", *FEW, "--seed", "1", workspace=prepared)
    assert run["history"]
    answer = call("embed", run["run"], workspace=prepared)
    with np.load(prepared / "runs" / run["run"] / "embedding.npz", allow_pickle=False) as file:
        assert set(file) == {"z", "case", "modality", "slice"}
        assert file["z"].shape == (answer["items"], answer["latent_dim"])
        assert set(file["modality"]) == {"T1", "T2"}
    listed = call("runs", workspace=prepared)["runs"]
    assert listed[0]["run"] == run["run"]
    assert listed[0]["state"] == "finished"


def test_a_detached_run_can_be_watched_and_stopped(prepared: Path) -> None:
    long = ["--set", "train.epochs=5000", "--set", "train.max_minutes=30"]
    run = call("train", "d", "--model", "ae", *long, "--detach", workspace=prepared)["run"]
    folder = prepared / "runs" / run
    end = time.monotonic() + 60
    while not (folder / "history.jsonl").exists() and time.monotonic() < end:
        time.sleep(0.1)
    assert call("pause", run, workspace=prepared)["state"] == "paused"
    assert call("resume", run, workspace=prepared)["state"] in ("queued", "running")
    assert call("cancel", run, workspace=prepared)["state"] == "cancelled"
    assert (folder / "weights.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["train"], "USAGE"),
        (["nonsense"], "USAGE"),
        (["train", "nothing", "--model", "ae"], "NOT-FOUND"),
        (["evaluate", "../../etc"], "NAME"),
        (["prepare", "c", "--dataset", "d", "--recipe", "none"], "RECIPE"),
        (["demo", "--level", "brutal"], "CONFIG"),
    ],
)
def test_what_the_user_can_mend_is_two_and_one_sentence(arguments: list[str], code: str, tmp_path: Path) -> None:
    error = refused(*arguments, workspace=tmp_path)
    assert error["code"] == code
    assert str(tmp_path) not in error["message"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["--model", "nothing"], "mvae"),
        (["--model", "ae", "--set", "model.latent_dim=0"], "latent_dim"),
        (["--model", "ae", "--set", "latent_dim=4"], "model."),
        (["--model", "ae", "--fold", "3", "--folds", "3"], "counted from 0"),
        (["--model", "ae", "--set", "train.modalities=T1,PET"], "PET"),
    ],
)
def test_a_wrong_training_setting_is_named(prepared: Path, settings: list[str], words: str) -> None:
    assert words in refused("train", "d", *settings, workspace=prepared)["message"]


def test_cuda_without_a_gpu_is_a_clear_error(prepared: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("This machine has a GPU")
    error = refused("train", "d", "--model", "ae", "--device", "cuda", workspace=prepared)
    assert error["code"] == "NO-GPU"


def test_what_cannot_be_written_and_settings_without_a_group_are_mendable(prepared: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    error = refused("ingest", str(tmp_path), "--cohort", "c", workspace=tmp_path / "file")
    assert error["code"] == "STORAGE"
    error = refused("train", "d", "--model", "ae", "--set", "model=3", workspace=prepared)
    assert error["code"] == "CONFIG"


def test_a_training_in_the_foreground_can_be_cancelled_and_answers(prepared: Path) -> None:
    known = set((prepared / "runs").glob("*/history.jsonl"))
    options = ["--model", "ae", "--set", "train.epochs=10000", "--json", "--workspace", str(prepared)]
    command = [sys.executable, "-m", "core", "train", "d", *options]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as training:
        until = time.monotonic() + 60
        while not (new := set((prepared / "runs").glob("*/history.jsonl")) - known) and time.monotonic() < until:
            time.sleep(0.2)
        run = new.pop().parent.name
        assert call("cancel", run, workspace=prepared) == {"run": run, "state": "cancelled"}
        answer = json.loads(training.communicate(timeout=60)[0])
    assert training.returncode == 0
    assert (answer["run"], answer["state"]) == (run, "cancelled")
    assert answer["history"]
    assert answer["seconds"] > 0
    assert (prepared / "runs" / run / "weights.safetensors").exists()


def test_help_needs_no_heavy_library() -> None:
    code = "import sys, runpy; sys.argv=['core','--help']\ntry: runpy.run_module('core', run_name='__main__')\n"
    code += "except SystemExit: pass\nsys.exit(1 if {'torch','sklearn','umap'} & set(sys.modules) else 0)"
    result = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert result.returncode == 0
    assert "synthesise" in result.stdout
