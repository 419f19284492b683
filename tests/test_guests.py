"""Visitors' workspaces: what they share is stored once, what is theirs stays theirs, and goes when it is forgotten."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from core.cohort import Cohort
from core.dataset import Dataset
from core.errors import InvalidConfigError, NotFoundError, RefusedError
from core.guests import check_quota, guest, is_token, last_visit, new_token, own_bytes, remove, share, visit
from core.jobs import BACKENDS
from core.jobs.order import Entry
from core.jobs.queue import Queue
from core.jobs.retire import retire, retire_now_and_then
from core.jobs.worker import execute
from core.runs import Run, list_runs, new_job
from core.showcase import RUN_ID, can_share, is_ready, share_showcase
from core.workspace import Workspace, write_json
from tests.conftest import make_cohort
from tests.tiny_run import make_dataset, make_run

DAY_S = 24 * 3600.0


@pytest.fixture
def demo(workspace: Workspace) -> Workspace:
    """The machine's own workspace with something that stands for the demo."""
    cohort = make_cohort(workspace, "demo")
    write_json(cohort.folder / "cohort.json", {"simulated": True})
    run = make_run(workspace, make_dataset(workspace, "demo"))
    run.append_history({"step": 1})
    run.weights_path.write_bytes(bytes(100_000))
    run.update(state="finished")
    run.folder.rename(workspace.runs / RUN_ID)
    return workspace


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_token_has_128_random_bits(workspace: Workspace) -> None:
    tokens = {new_token() for _ in range(50)}
    assert len(tokens) == 50
    assert all(is_token(token) and len(bytes.fromhex(token)) == 16 for token in tokens)
    assert not any(map(is_token, ("anna", "", "a" * 31, "A" * 32, "../" + "a" * 29, "a" * 32 + "\n")))


def test_thirty_visitors_have_the_demo_and_cost_thirty_small_folders(demo: Workspace) -> None:
    shared = sum(len(content) for content in files_of(demo.root).values())
    guests = [guest(new_token()) for _ in range(30)]
    for one in guests:
        assert can_share(one) and not is_ready(one)
        share_showcase(one)
        assert is_ready(one) and one.owner
    for one in guests:
        assert files_of(one.datasets) == files_of(demo.datasets)
        assert files_of(one.cohorts) == files_of(demo.cohorts)
    assert sum(own_bytes(one) for one in guests) < 0.02 * 30 * shared


def test_what_a_visitor_changes_in_the_demo_stays_with_the_visitor(demo: Workspace) -> None:
    one, other = guest(new_token()), guest(new_token())
    share_showcase(one)
    share_showcase(other)
    before = files_of(other.root), files_of(demo.cohorts), files_of(demo.datasets), files_of(demo.runs)
    Dataset.open(one, "demo").exclude("case-1", "blurred")
    cohort = Cohort.open(one, "demo")
    cohort.set_labels("case-01", {"site": "B"})
    cohort.write(cohort.read("case-02"))
    cohort.delete_case("case-00")
    run = Run.open(one, RUN_ID)
    run.append_history({"step": 2})
    run.write_result({"rows": []})
    run.update(note="mine")
    assert (files_of(other.root), files_of(demo.cohorts), files_of(demo.datasets), files_of(demo.runs)) == before
    run.delete()
    Dataset.open(one, "demo").delete()
    assert (files_of(other.root), files_of(demo.cohorts), files_of(demo.datasets), files_of(demo.runs)) == before
    assert Dataset.open(other, "demo").excluded == {}


def test_a_visitor_keeps_the_demo_when_the_machine_loses_it(demo: Workspace) -> None:
    one = guest(new_token())
    share_showcase(one)
    images = np.array(Dataset.open(one, "demo").slices("case-0"))
    Dataset.open(demo, "demo").delete()
    np.testing.assert_array_equal(Dataset.open(one, "demo").slices("case-0"), images)
    Cohort.open(one, "demo").set_labels("case-01", {"site": "B"})
    share_showcase(one)  # opened once more: nothing of one's own is lost
    assert Cohort.open(one, "demo").describe("case-01")["labels"] == {"site": "B"}


def test_imported_images_of_that_name_are_shared_with_nobody(demo: Workspace) -> None:
    index = Dataset.open(demo, "demo").index
    write_json(demo.datasets / "demo" / "index.json", {**index, "simulated": False})
    assert not can_share(guest(new_token()))


def test_sharing_that_breaks_off_leaves_nothing_half(demo: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    target = guest(new_token()).cohorts / "demo"
    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr("core.guests.shutil.copy2", full)
    with pytest.raises(OSError):
        share(demo.cohorts / "demo", target)
    assert list(target.parent.iterdir()) == []


def test_a_folder_that_vanishes_meanwhile_is_not_shared_in_part(
    demo: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("case-01"):
            raise FileNotFoundError(2, "gone")
        return original(path)

    target = guest(new_token()).cohorts / "demo"
    with monkeypatch.context() as patch, pytest.raises(FileNotFoundError):
        patch.setattr(os, "scandir", scandir)
        share(demo.cohorts / "demo", target)
    assert not target.exists()


def test_a_worker_makes_the_demo_for_all_where_nobody_has_yet(workspace: Workspace, monkeypatch) -> None:
    made: list[Workspace] = []

    def make(place: Workspace, **_: object) -> None:
        made.append(place)
        write_json(make_cohort(place, "demo").folder / "cohort.json", {"simulated": True})
        make_run(place, make_dataset(place, "demo")).folder.rename(place.runs / RUN_ID)

    monkeypatch.setattr("core.showcase.make_showcase", make)
    for one in (guest(new_token()), guest(new_token())):
        job = new_job(one, "demo", {"cases": 24, "seed": 0, "level": "medium"})
        execute(job, one)
        assert job.state == "finished" and is_ready(one)
    assert made == [workspace]


def test_one_visitor_s_runs_are_not_there_for_another(demo: Workspace) -> None:
    one, other = guest(new_token()), guest(new_token())
    run = make_run(one, make_dataset(one))
    assert [found.id for found in list_runs(one)] == [run.id]
    assert list_runs(other) == []
    with pytest.raises(NotFoundError):
        Run.open(other, run.id)
    for path in (f"../../{one.owner}/runs/{run.id}", str(run.folder), f"..\\..\\{one.owner}"):
        with pytest.raises(InvalidConfigError):
            Run.open(other, path)
        with pytest.raises(InvalidConfigError):
            Dataset.open(other, path)


def test_a_full_workspace_takes_no_more_work_and_what_is_shared_does_not_count(
    demo: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSMODAL_GUEST_QUOTA_GB", "0.001")
    one = guest(new_token())
    share_showcase(one)
    check_quota(one)
    (one.runs / "big").write_bytes(bytes(1_100_000))
    (demo.runs / "big").write_bytes(bytes(1_100_000))
    job = new_job(one, "prepare", {})
    with pytest.raises(RefusedError, match="is what it may"):
        BACKENDS["local"].start(job)
    assert Queue(demo.root).entries() == []
    check_quota(demo)


def aged(workspace: Workspace, days: float) -> Workspace:
    workspace.runs.mkdir(parents=True)
    visit(workspace)
    os.utime(workspace.root / ".visited", (time.time() - days * DAY_S,) * 2)
    return workspace


def test_what_nobody_opened_for_thirty_days_is_removed_and_nothing_else(workspace: Workspace) -> None:
    old, young, busy, waiting, resting = (aged(guest(new_token()), days) for days in (31, 29, 99, 99, 99))
    queue = Queue(workspace.root)
    for place, state in ((busy, "running"), (waiting, "queued"), (resting, "paused")):
        queue.add(Entry(0, state, "train", place.owner, state=state), lambda: None, lambda _: None)
    assert set(retire(workspace)) == {old.owner, resting.owner}
    assert not old.root.exists() and not resting.root.exists()
    assert all(place.runs.is_dir() for place in (young, busy, waiting))
    assert {entry.key: entry.state for entry in queue.entries()}["paused"] == "cancelled"
    assert workspace.root.is_dir()


def test_a_visit_keeps_a_workspace_and_leaves_no_trace_where_nothing_was_made(workspace: Workspace) -> None:
    place, empty = aged(guest(new_token()), 31), guest(new_token())
    visit(place)
    visit(empty)
    assert time.time() - last_visit(place) < 60
    assert not empty.root.exists()
    assert retire(workspace) == []


def test_removal_is_looked_into_once_an_hour_and_can_be_switched_off(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert retire_now_and_then(workspace) == []
    old = aged(guest(new_token()), 31)
    monkeypatch.setenv("CROSSMODAL_GUEST_DAYS", "0")
    assert retire(workspace) == []
    monkeypatch.delenv("CROSSMODAL_GUEST_DAYS")
    assert retire_now_and_then(workspace) == [old.owner]
    aged(guest(new_token()), 31)
    assert retire_now_and_then(workspace) == []


def test_the_machine_s_own_workspace_is_never_removed(workspace: Workspace) -> None:
    with pytest.raises(ValueError, match="own workspace"):
        remove(workspace)
