"""Visitors' untouched demos are worked with once; a changed one, and another's run, never stand in for each other."""

from __future__ import annotations

import pytest

from core.dataset import Dataset
from core.guests import guest, new_token
from core.models import MODELS
from core.runs import Run
from core.showcase import RUN_ID, share_showcase
from core.synthesis import LoadedRun
from core.workspace import Workspace
from tests.conftest import make_cohort
from tests.tiny_run import Blend, load_tiny, make_dataset
from ui.loaded_run import comparison, home_of, loaded_run


@pytest.fixture
def demo(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> LoadedRun:
    """The machine's demo, in small."""
    monkeypatch.setitem(MODELS, "blend", Blend)
    make_cohort(workspace, "demo")
    loaded = load_tiny(workspace, make_dataset(workspace, "demo"))
    loaded.run.folder.rename(workspace.runs / RUN_ID)
    return loaded


def visitor() -> tuple[Workspace, Run]:
    place = guest(new_token())
    share_showcase(place)
    return place, Run.open(place, RUN_ID)


def test_untouched_demos_are_loaded_and_compared_once(demo: LoadedRun, workspace: Workspace) -> None:
    (one, run), (other, same) = visitor(), visitor()
    assert loaded_run(one, run) is loaded_run(other, same)
    case_id = demo.split.test[0]
    assert comparison(one, run, case_id, ("T1",), "CT") is comparison(other, same, case_id, ("T1",), "CT")
    assert home_of(one, run) == workspace


def test_who_changed_the_demo_sees_the_change_and_nobody_else_does(demo: LoadedRun) -> None:
    (one, run), (other, same) = visitor(), visitor()
    Dataset.open(one, "demo").set_labels({"case-0": {"site": "B"}})
    assert home_of(one, run) == one
    assert loaded_run(one, run).dataset.record("case-0")["labels"] == {"site": "B"}
    assert loaded_run(other, same).dataset.record("case-0")["labels"] == {}


def test_the_machine_s_own_and_a_visitor_s_own_runs_are_at_home(demo: LoadedRun, workspace: Workspace) -> None:
    place = guest(new_token())
    own = load_tiny(place, make_dataset(place, "mine")).run
    assert home_of(place, own) == place
    assert home_of(workspace, Run.open(workspace, RUN_ID)) == workspace
