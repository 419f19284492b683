"""Equal trainings of visitors are computed once; what is anybody's own is computed for them alone."""

from __future__ import annotations

from typing import Any

import pytest

from core.dataset import Dataset
from core.guests import guest, new_token, own_bytes
from core.jobs.order import Entry
from core.jobs.queue import Queue
from core.jobs.retire import retire
from core.jobs.same import tell_if_same
from core.jobs.worker import execute
from core.runs import Run
from core.sharing import AHEAD, BROUGHT_IN, TAKEN_OVER, can_share, key_of
from core.train import make_config
from core.workspace import Workspace, read_json, write_json
from tests.tiny_run import make_dataset

QUICK = {"epochs": 2, "batch_size": 8, "preview_every": 4, "max_minutes": 1000}


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs that were really trained."""
    from core import train

    done: list[str] = []
    original = train.train

    def counting(run: Run, *rest: Any) -> Any:
        done.append(run.id)
        return original(run, *rest)

    monkeypatch.setattr(train, "train", counting)
    return done


def new_run(workspace: Workspace, seed: int = 0, model: str = "ae", **settings: Any) -> Run:
    dataset = Dataset.open(workspace, "tiny") if (workspace.datasets / "tiny").exists() else make_dataset(workspace)
    of_model = {"width": 4} if model == "ae" else {}
    return Run.new(workspace, make_config(dataset, model, of_model, {**QUICK, **settings}, seed), "cpu")


def finished(run: Run) -> Run:
    execute(run, Workspace(run.folder.parent.parent))
    assert run.state == "finished"
    return run


def test_the_second_of_two_equal_trainings_gets_the_first_s_result(workspace: Workspace, counted: list[str]) -> None:
    first, second = finished(new_run(guest(new_token()))), finished(new_run(guest(new_token())))
    assert counted == [first.id]
    assert second.weights_path.read_bytes() == first.weights_path.read_bytes()
    assert second.history() == first.history() and len(second.previews) == len(first.previews) > 0
    assert (first.status.note, second.status.note) == ("", TAKEN_OVER)
    second.delete()
    assert first.has_weights and first.previews


@pytest.mark.parametrize("other", [{"seed": 1}, {"lr": 0.01}, {"model": "constant"}])
def test_any_difference_is_trained_anew(workspace: Workspace, counted: list[str], other: dict[str, Any]) -> None:
    first, second = new_run(guest(new_token())), new_run(guest(new_token()), **other)
    assert key_of(first) != key_of(second)
    finished(first)
    finished(second)
    assert counted == [first.id, second.id]


def test_real_images_and_the_machine_s_own_runs_are_shared_with_nobody(workspace: Workspace) -> None:
    place = guest(new_token())
    run, own = new_run(place), new_run(workspace)
    assert can_share(run, place) and not can_share(own, workspace)
    brought_in = place.datasets / "tiny" / BROUGHT_IN
    brought_in.touch()  # its fingerprint is what a file claimed: whoever trains on it must not train for others
    assert not can_share(run, place)
    brought_in.unlink()
    index = place.datasets / "tiny" / "index.json"
    write_json(index, {**read_json(index), "simulated": False})
    assert not can_share(run, place)


def test_a_result_takes_no_room_and_goes_when_no_run_has_it(workspace: Workspace) -> None:
    place, other = guest(new_token()), guest(new_token())
    run, again = finished(new_run(place)), finished(new_run(other))
    assert own_bytes(other) < own_bytes(place) + again.weights_path.stat().st_size
    kept = workspace.root / "shared" / "results" / key_of(run)
    run.delete()
    retire(workspace)
    assert kept.is_dir()
    again.delete()
    retire(workspace)
    assert not kept.exists()


def test_who_waits_behind_an_equal_training_is_told_until_it_trains_itself(workspace: Workspace) -> None:
    place, other = guest(new_token()), guest(new_token())
    first, equal, different = new_run(place), new_run(other), new_run(other, seed=1)
    queue = Queue(workspace.root)
    for run in (first, different, equal):
        key = run.folder.relative_to(workspace.root).as_posix()
        queue.add(Entry(0, key, "train", other.owner, state="queued"), lambda: None, lambda _: None)
    for run in (equal, different, first):
        tell_if_same(run)
    assert (first.status.note, equal.status.note, different.status.note) == ("", AHEAD, "")
    assert finished(equal).status.note == ""  # the first was cancelled, say
