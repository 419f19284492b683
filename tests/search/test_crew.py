"""A search whose trainings others do: the same table, asked for beforehand. The others are this very process."""

from __future__ import annotations

import pytest
import torch

from core.errors import UserError
from core.models import MODELS
from core.progress import silent
from core.runs import Job
from core.search.crew import train_and_judge
from core.search.grid import Point
from core.search.rounds import Verdict
from core.search.search import Search
from core.workspace import Workspace
from tests.search.test_search import Fragile, start, without_times
from tests.tiny_run import make_dataset


class Neighbours:
    """Train when they are asked for the result, as the tasks of a cluster do before."""

    def __init__(self, job: Job) -> None:
        self.job, self.begun, self.order = job, {}, []

    def begin(self, key, point: Point, hold_out) -> None:
        self.begun.setdefault(key, (point.number, list(hold_out.judged), list(hold_out.unseen)))

    def result(self, key, progress) -> Verdict:
        self.order.append(key)
        found = train_and_judge(str(self.job.folder), *self.begun[key], "cpu")
        assert found is not None
        return Verdict(**found)

    def leave(self) -> None:
        raise AssertionError("whoever made the crew lets it go")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory):
    return make_dataset(Workspace(tmp_path_factory.mktemp("crew")), n_cases=8)


def with_neighbours(search: Search) -> tuple[Search, Neighbours]:
    crew = Neighbours(search.job)
    return Search(search.job, search.config, search.dataset, torch.device("cpu"), silent, crew), crew


def test_a_nested_search_by_others_gives_the_table_of_one_alone(dataset, monkeypatch):
    monkeypatch.setitem(MODELS, "fragile", Fragile)
    options = {"n_folds": 2, "nested": True, "inner_folds": 2}
    place = Workspace(dataset.folder.parent.parent)
    alone = start(place, dataset, "fragile", ["model.components=3,1,4"], **options).run()
    search, crew = with_neighbours(start(place, dataset, "fragile", ["model.components=3,1,4"], **options))
    assert without_times(search.run()) == without_times(alone)
    assert alone["points"][-1]["state"] == "failed"
    assert crew.order == [key for key in crew.begun if key in crew.order]  # in the order of begin
    assert len(crew.begun) > len(crew.order) == len(set(crew.order))  # what failed once is not asked for again


def test_a_training_done_by_others_heeds_a_stop_and_tells_what_ends_all(dataset, monkeypatch):
    search, crew = with_neighbours(start(Workspace(dataset.folder.parent.parent), dataset, "pca", ["train.lr=1,0.5"]))
    crew.begin("key", search.points[0], type("Held", (), {"judged": search.folds[0], "unseen": search.test}))
    about = (str(search.job.folder), *crew.begun["key"], "cpu")
    (search.job.folder / "cancel").touch()
    assert train_and_judge(*about) is None
    (search.job.folder / "cancel").unlink()
    monkeypatch.setattr(
        "core.search.trial.train", lambda *_: (_ for _ in ()).throw(UserError("No room is left.", "DISK-FULL"))
    )
    assert train_and_judge(*about)["code"] == "DISK-FULL"
