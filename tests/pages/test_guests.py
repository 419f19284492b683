"""Pages on a server whose visitors are kept apart: each has a link of one's own, and another's run is not there."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from core.guests import guest, is_token, new_token
from core.runs import Run
from core.workspace import Workspace
from tests.conftest import REPOSITORY
from tests.pages.driving import words
from tests.tiny_run import make_dataset, make_run

pytestmark = pytest.mark.usefixtures("apart")
PAGES = ("train", "compare", "evaluate", "latent", "prepare", "data")


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch, workspace: Workspace) -> None:
    monkeypatch.setenv("CROSSMODAL_VISITORS", "apart")


def opened(**link: str) -> AppTest:
    app = AppTest.from_file(str(REPOSITORY / "app.py"), default_timeout=60)
    for name, value in link.items():
        app.query_params[name] = value
    return app.run()


def token_of(app: AppTest) -> str:
    value = app.query_params["ws"]
    return value if isinstance(value, str) else value[0]


@pytest.fixture
def owners_run() -> Run:
    place = guest(new_token())
    run = make_run(place, make_dataset(place, "secret-study"), "ae")
    run.update(state="finished")
    return run


def all_words(app: AppTest) -> str:
    tables = " ".join(table.value.to_string() for table in app.dataframe)
    options = " ".join(str(box.options) for box in app.selectbox)
    return f"{words(app)} {tables} {options}"


def test_every_visitor_gets_a_workspace_that_nobody_can_guess(workspace: Workspace) -> None:
    one, other = opened(), opened()
    assert is_token(token_of(one)) and is_token(token_of(other))
    assert token_of(one) != token_of(other)
    one.run()
    assert one.session_state["ws"] == token_of(one)
    assert not (workspace.root / "workspaces").exists()  # who only looks leaves no folder


@pytest.mark.parametrize("name", ["anna", "../..", "a" * 31, "A" * 32])
def test_a_name_that_could_be_guessed_opens_nothing(name: str) -> None:
    app = opened(ws=name)
    assert not app.exception and is_token(token_of(app))


@pytest.mark.parametrize("page", PAGES)
def test_another_visitor_s_run_is_neither_listed_nor_reached(page: str, owners_run: Run) -> None:
    link = {"run": owners_run.id, "dataset": "secret-study"}
    own = opened(ws=owners_run.folder.parents[1].name, **link).switch_page(f"pages/{page}.py").run()
    other = opened(ws=new_token(), **link).switch_page(f"pages/{page}.py").run()
    alone = AppTest.from_file(str(REPOSITORY / "pages" / f"{page}.py"), default_timeout=60).run()
    assert not own.exception and not other.exception and not alone.exception
    if page == "train":
        assert "secret-study" in all_words(own)
    for app in (other, alone):
        assert "secret-study" not in all_words(app) and owners_run.id not in all_words(app)


def test_home_says_beforehand_how_long_a_workspace_is_kept() -> None:
    said = words(opened())
    assert "after 30 days without a visit" in said and "0 MB of 10 GB used" in said


def test_a_visitor_can_remove_what_is_there(owners_run: Run) -> None:
    place = Workspace(owners_run.folder.parents[1])
    app = opened(ws=place.owner)
    app.button(key="remove-workspace").click().run()
    assert place.root.is_dir()
    app.button(key="remove-workspace-yes").click().run()
    assert not app.exception and not place.root.exists()


def test_a_workspace_at_work_is_not_removed(owners_run: Run) -> None:
    owners_run.update(state="paused")
    app = opened(ws=owners_run.folder.parents[1].name)
    assert next(button for button in app.button if button.label == "Remove workspace").disabled
