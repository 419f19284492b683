"""The demo, whole: the generated cohort, its dataset, and the trained run that ships with the program."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from core.cohort import Cohort
from core.dataset import Dataset, split_cases
from core.demo import make_cohort
from core.gist import keep_gists
from core.guests import share
from core.measured_doubt import FILE as DOUBT
from core.prepare import prepare
from core.progress import Progress, part, silent
from core.protocol import fingerprint_of, protocol_of
from core.quality.check import check
from core.recipes import make_recipe
from core.result_files import REGIONS, RESULTS
from core.runs import Run
from core.types import Array
from core.workspace import GUESTS, Workspace, locked, read_json, write_json

NAME = "demo"
RECIPE = "brain-mr-ct"
SHIPPED = Path(__file__).resolve().parents[1] / "assets" / "demo_run"
RUN_ID = "run-demo"
N_CASES, SEED, LEVEL = 24, 0, "medium"  # what the shipped run was trained on
SKETCH = "sketch.npz"  # case -> means over blocks of its images, to know the arrays by that the run was judged on
SHARED = "shared"  # folder of the machine's own workspace: the lock of whoever makes the demo for all
N_BLOCKS = 4  # along each axis
SAME = 1e-4  # on the 0-1 scale; a changed generator moves block means by hundreds of times as much
DERIVED = (RESULTS, REGIONS, DOUBT, "embedding.npz")  # right for the arrays that they were computed from


def make_showcase(
    workspace: Workspace, n_cases: int = N_CASES, seed: int = SEED, level: str = LEVEL, progress: Progress = silent
) -> dict[str, Any]:
    """Generate the cohort, prepare it and, where it is the cohort that the shipped run learnt from, add that run.

    What is there already is made again, to the same bytes.
    """
    cohort = make_cohort(workspace, n_cases, seed, level, NAME, part(progress, 0.0, 0.7))
    dataset = prepare(workspace, cohort, NAME, make_recipe(RECIPE), part(progress, 0.7, 0.85))
    check(dataset, cohort, part(progress, 0.85, 0.99))
    result: dict[str, Any] = {"cohort": cohort.name, "dataset": dataset.name, "cases": len(dataset.case_ids)}
    if (n_cases, seed, level) == (N_CASES, SEED, LEVEL) and (SHIPPED / "config.json").exists():
        result["run"] = install_shipped_run(workspace, dataset).id
    progress(1.0, 1.0, "The demo is ready")
    return result


def open_showcase(workspace: Workspace, progress: Progress = silent) -> dict[str, Any]:
    """The usual demo in a guest's workspace: made once on this machine, then shared by all guests.

    Whoever comes first makes it, in the machine's own workspace, while others wait for it.
    """
    machine = Workspace(workspace.base)
    if _is_taken(machine):
        return make_showcase(workspace, progress=progress)
    with locked(machine.root / SHARED):
        if not is_ready(machine):
            make_showcase(machine, progress=progress)
    share_showcase(workspace)
    progress(1.0, 1.0, "The demo is ready")
    return {"cohort": NAME, "dataset": NAME, "cases": N_CASES, "run": RUN_ID}


def _is_taken(machine: Workspace) -> bool:
    """Whether images that somebody imported bear the demo's name: those are shared with nobody."""
    cohort = Cohort(machine.cohorts / NAME)
    dataset = machine.datasets / NAME / "index.json"
    has_images = cohort.folder.exists() and not cohort.info.get("simulated")
    return has_images or (dataset.exists() and not Dataset(dataset.parent).is_simulated)


def share_showcase(workspace: Workspace) -> None:
    """Link the machine's demo into a guest's workspace; what the guest changed in it before stays."""
    machine = Workspace(workspace.base)
    share(machine.cohorts / NAME, workspace.cohorts / NAME)
    share(machine.datasets / NAME, workspace.datasets / NAME)
    share(machine.runs / RUN_ID, workspace.runs / RUN_ID)


def can_share(workspace: Workspace) -> bool:
    """Whether a guest can have the demo at once, because it lies ready on this machine."""
    machine = Workspace(workspace.base)
    return bool(workspace.owner) and is_ready(machine) and not _is_taken(machine)


def install_shipped_run(workspace: Workspace, dataset: Dataset) -> Run:
    """Copy the shipped run into the workspace.

    Another processor rounds some voxels of the generated arrays differently, which no number of the results shows.
    Where the arrays are others, the weights serve all the same, and DERIVED is left out, to be computed here.
    """
    folder = workspace.runs / RUN_ID
    shutil.rmtree(folder, ignore_errors=True)
    draft = workspace.runs / f".{RUN_ID}"
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(SHIPPED, draft, ignore=shutil.ignore_patterns(SKETCH))
    config = read_json(draft / "config.json")
    write_json(draft / "config.json", {**config, "dataset_fingerprint": dataset.fingerprint})
    result = read_json(draft / RESULTS)
    protocol = protocol_of(dataset, split_cases(dataset.case_ids, config["seed"]), result["protocol"]["cases"])
    if is_known(dataset) and protocol["metrics_version"] == result["protocol"]["metrics_version"]:
        write_json(draft / RESULTS, {**result, "protocol": protocol})
        keep_gists(draft)
        _adopt_doubt(draft / DOUBT, dataset)
    else:
        for name in DERIVED:
            (draft / name).unlink(missing_ok=True)
        shutil.rmtree(draft / "projections", ignore_errors=True)
    draft.rename(folder)
    return Run(folder)


def renew_shipped_run(workspace: Workspace) -> None:
    """Put today's shipped run in the place of an earlier version's, whose weights today's model may not take.

    What was computed from the old weights goes with them; visitors who share the run share the new one. Where the
    dataset that it was trained on is gone or another, nothing is done.
    """
    run = Run(workspace.runs / RUN_ID)
    old = run.weights_sum
    if old in ("", Run(SHIPPED).weights_sum):
        return
    dataset = Dataset.open(workspace, NAME)
    if run.config.dataset_fingerprint != dataset.fingerprint:
        return
    install_shipped_run(workspace, dataset)
    for folder in workspace.root.glob(f"{GUESTS}/*/runs/{RUN_ID}"):
        if Run(folder).weights_sum == old:
            shutil.rmtree(folder)
            share(run.folder, folder)


def _adopt_doubt(path: Path, dataset: Dataset) -> None:
    """Error bars that ship hold for the arrays found here, so that further ones are put beside them."""
    record = read_json(path)
    protocol = record["protocol"] | {"dataset_fingerprint": dataset.fingerprint}
    write_json(path, {**record, "protocol": {**protocol, "fingerprint": fingerprint_of(protocol)}})


def sketch_of(dataset: Dataset) -> dict[str, Array]:
    """Case -> (M, 4, 4, 4) means over blocks of its images."""
    return {
        case_id: np.stack([_block_means(dataset.volume(case_id, m)) for m in dataset.record(case_id)["modalities"]])
        for case_id in dataset.case_ids
    }


def _block_means(volume: Array) -> Array:
    """(4, 4, 4) of a volume; voxels beyond the last whole block are not looked at."""
    size = [n // N_BLOCKS for n in volume.shape]
    kept = np.asarray(volume)[tuple(slice(n * N_BLOCKS) for n in size)]
    blocks = kept.reshape([part for n in size for part in (N_BLOCKS, n)])
    return np.asarray(blocks.mean((1, 3, 5), dtype=np.float64), np.float32)


def is_known(dataset: Dataset) -> bool:
    """Whether these are, up to rounding, the arrays that the shipped run was judged on."""
    with np.load(SHIPPED / SKETCH, allow_pickle=False) as shipped:
        found = sketch_of(dataset)
        return found.keys() == set(shipped.files) and all(
            means.shape == shipped[name].shape and np.abs(means - shipped[name]).max() < SAME
            for name, means in found.items()
        )


def is_ready(workspace: Workspace) -> bool:
    """Whether the demo's dataset and run are in the workspace."""
    return (workspace.datasets / NAME / "index.json").exists() and (workspace.runs / RUN_ID / "config.json").exists()
