"""The demo as it ships: the cohort, its dataset and the trained run fit each other, to the numbers shown."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from core.dataset import Dataset, split_cases
from core.guests import share
from core.measured_doubt import read_doubt
from core.protocol import fingerprint_of, protocol_of
from core.runs import Run
from core.showcase import DERIVED, RUN_ID, SHIPPED, install_shipped_run, is_ready, make_showcase, renew_shipped_run
from core.workspace import Workspace, read_json


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The whole demo, as `make run` makes it."""
    workspace = Workspace(tmp_path_factory.mktemp("demo"))
    result = make_showcase(workspace)
    assert result == {"cohort": "demo", "dataset": "demo", "cases": 24, "run": RUN_ID}
    return workspace


def test_the_shipped_weights_are_the_ones_that_were_hashed() -> None:
    digest = hashlib.sha256((SHIPPED / "weights.safetensors").read_bytes()).hexdigest()
    assert (SHIPPED / "weights.sha256").read_text().split()[0] == digest
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*")) < 12 * 1024**2


def test_the_demo_is_ready_for_all_pages(demo: Workspace) -> None:
    run = Run.open(demo, RUN_ID)
    assert is_ready(demo)
    assert run.state == "finished"
    assert run.history() and run.previews and run.has_weights
    assert run.config.dataset_fingerprint == Dataset.open(demo, "demo").fingerprint


def test_the_shipped_run_does_here_what_its_results_say(demo: Workspace) -> None:
    """T1 -> T2 of one held-out case, computed anew, within 1 % of the shipped number."""
    from core.compare import compare_case
    from core.synthesis import load_run

    loaded = load_run(demo, Run.open(demo, RUN_ID), "cpu")
    case_id = loaded.split.test[0]
    shipped = next(
        row
        for row in read_json(SHIPPED / "results.json")["rows"]
        if (row["model"], row["case"], row["given"], row["target"]) == (loaded.run.config.model, case_id, ["T1"], "T2")
    )
    again = compare_case(loaded, case_id, ["T1"], "T2").metrics
    assert again["mae"] == pytest.approx(shipped["mae"], rel=0.01)
    assert again["ssim"] == pytest.approx(shipped["ssim"], rel=0.01)


def test_the_shipped_results_compare_with_those_of_a_run_made_here(demo: Workspace) -> None:
    run, dataset = Run.open(demo, RUN_ID), Dataset.open(demo, "demo")
    cases = run.result["protocol"]["cases"]
    assert run.result["protocol"] == protocol_of(dataset, split_cases(dataset.case_ids, run.config.seed), cases)


@pytest.fixture
def another(demo: Workspace, tmp_path: Path) -> tuple[Workspace, Path]:
    """The demo's dataset elsewhere, under another fingerprint; and the images of one of its cases, to be changed."""
    other = Workspace(tmp_path)
    shutil.copytree(demo.datasets / "demo", other.datasets / "demo")
    index = other.datasets / "demo" / "index.json"
    index.write_text(index.read_text().replace(Dataset.open(demo, "demo").fingerprint, "0" * 64))
    return other, other.datasets / "demo" / "demo-07" / "images.npy"


def test_results_of_arrays_that_were_rounded_otherwise_are_kept(another: tuple[Workspace, Path]) -> None:
    place, images = another
    voxels = np.load(images)
    np.save(images, np.nextafter(voxels, np.random.default_rng(0).choice([-1, 1], voxels.shape).astype(voxels.dtype)))
    run = install_shipped_run(place, Dataset.open(place, "demo"))
    assert all((run.folder / name).exists() for name in DERIVED)
    assert run.result["protocol"]["dataset_fingerprint"] == run.config.dataset_fingerprint == "0" * 64
    bars = read_doubt(run)["protocol"]
    assert bars["dataset_fingerprint"] == "0" * 64
    assert bars["fingerprint"] == fingerprint_of(bars)


def test_the_run_of_an_earlier_version_is_replaced_and_a_persons_own_dataset_is_not_touched(
    another: tuple[Workspace, Path],
) -> None:
    place, _ = another
    run = install_shipped_run(place, Dataset.open(place, "demo"))
    note = run.weights_path.with_suffix(".sha256")

    run.weights_path.write_bytes(b"of another shape")
    note.write_text("1" * 64)
    guest = Run(place.root / "workspaces" / "guest" / "runs" / RUN_ID)
    share(run.folder, guest.folder)
    renew_shipped_run(place)
    assert guest.weights_sum == run.weights_sum == Run(SHIPPED).weights_sum
    assert run.weights_path.read_bytes() == Run(SHIPPED).weights_path.read_bytes()

    note.write_text("1" * 64)
    index = place.datasets / "demo" / "index.json"
    index.write_text(index.read_text().replace("0" * 64, "2" * 64))
    renew_shipped_run(place)
    assert run.weights_sum == "1" * 64


def test_results_of_other_arrays_are_left_out(another: tuple[Workspace, Path]) -> None:
    place, images = another
    voxels = np.load(images)
    voxels[30:40, 1, 40:50, 40:50] *= 0.8
    np.save(images, voxels)
    run = install_shipped_run(place, Dataset.open(place, "demo"))
    assert run.config.dataset_fingerprint == "0" * 64
    assert run.has_weights
    assert not any((run.folder / name).exists() for name in DERIVED)
