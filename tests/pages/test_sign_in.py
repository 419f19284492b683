"""Signing in on a server: a door where it is required, one's own workspace behind it, and no link to anybody else's."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from core.guests import guest, is_token, new_token, workspace_of_person
from core.workspace import Workspace
from tests.conftest import REPOSITORY
from tests.pages.driving import words
from tests.tiny_run import make_dataset

NOBODYS = [
    ("required", {"sub": ""}),
    ("required", {"iss": None}),
    ("offered", {"sub": None}),
    ("offered", {"sub": 4711}),
]
PROVIDER = {
    "client_id": "studio",
    "client_secret": "s",
    "server_metadata_url": "https://id.example.org/.well-known/openid-configuration",
}
AUTH = {"redirect_uri": "http://localhost:8501/oauth2callback", "cookie_secret": "c" * 32, **PROVIDER}
ANNA = {"is_logged_in": True, "iss": "https://id.example.org", "sub": "anna-4711", "email": "anna@example.org"}
BEN = {**ANNA, "sub": "ben-4712"}
NOBODY = {"is_logged_in": False}


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch, workspace: Workspace) -> None:
    """Visitors are apart, and the libraries for signing in are there."""
    monkeypatch.setenv("CROSSMODAL_VISITORS", "apart")
    for name in ("authlib", "httpx"):
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSMODAL_SIGN_IN", "required")


def opened(user: dict[str, Any], auth: dict[str, Any] = AUTH, script: str = "app.py", **link: str) -> AppTest:
    app = AppTest.from_file(str(REPOSITORY / script), default_timeout=60)
    app.secrets["auth"] = auth
    app.user = user
    for name, value in link.items():
        app.query_params[name] = value
    return app.run()


def labels(app: AppTest) -> list[str]:
    return [button.label for button in app.button]


def person(user: dict[str, Any], dataset: str) -> Workspace:
    """Their workspace, with a dataset of that name."""
    place = workspace_of_person(user["iss"], user["sub"])
    make_dataset(place, dataset)
    return place


def datasets_seen(app: AppTest) -> str:
    assert not app.exception
    boxes = " ".join(str(box.options) for box in app.selectbox)
    return f"{boxes} {words(app)}"


def test_who_signs_in_finds_their_own_workspace_without_a_link() -> None:
    person(ANNA, "annas-study")
    first, again, other = (opened(who).switch_page("pages/train.py").run() for who in (ANNA, ANNA, BEN))
    assert "annas-study" in datasets_seen(first) and "annas-study" in datasets_seen(again)
    assert "annas-study" not in datasets_seen(other)
    for app in (first, again, other):
        assert "ws" not in app.query_params and "ws" not in app.session_state


@pytest.mark.parametrize("script", ["app.py", "pages/home.py", "pages/train.py", "pages/compare.py"])
def test_where_it_is_required_nothing_is_shown_before(script: str, required: None) -> None:
    owner = guest(new_token())
    make_dataset(owner, "secret-study")
    app = opened(NOBODY, script=script, ws=owner.owner)
    assert not app.exception
    assert "secret-study" not in datasets_seen(app) and "Bring images" not in words(app)
    assert not app.selectbox and not app.dataframe
    if script == "app.py":
        assert labels(app) == ["Sign in"] and "Sign in to open your workspace." in words(app)


def test_the_door_is_gone_for_who_has_signed_in(required: None) -> None:
    app = opened(ANNA)
    assert not app.exception and "Bring images" in words(app)
    assert "Sign out" in labels(app) and "Sign in" not in labels(app)


@pytest.mark.parametrize("setting", ["required", "offered"])
def test_a_link_to_somebody_else_opens_nothing_for_who_has_signed_in(setting: str, monkeypatch) -> None:
    monkeypatch.setenv("CROSSMODAL_SIGN_IN", setting)
    links = [person(BEN, "bens-study").owner, guest(new_token()).owner]
    make_dataset(guest(links[1]), "linked-study")
    for link in links:
        app = opened(ANNA, ws=link)
        assert "names another workspace" in app.toast[0].value
        app.switch_page("pages/train.py").run()
        assert not any(study in datasets_seen(app) for study in ("bens-study", "linked-study"))
        assert "ws" not in app.query_params


def test_the_name_of_a_person_s_folder_opens_it_for_nobody() -> None:
    name = person(ANNA, "annas-study").owner
    opened(ANNA)
    app = opened(NOBODY, ws=name)
    assert app.query_params["ws"] not in (name, [name])
    assert "annas-study" not in datasets_seen(app.switch_page("pages/train.py").run())


def test_what_was_made_before_stays_at_its_link_and_home_says_so() -> None:
    before = guest(new_token())
    make_dataset(before, "early-study")
    said = words(opened(NOBODY, ws=before.owner))
    assert "it stays at this link" in said
    opened(ANNA, ws=before.owner)
    after = opened(NOBODY, ws=before.owner).switch_page("pages/train.py").run()
    assert "early-study" in datasets_seen(after)


def test_who_signs_out_is_a_new_visitor() -> None:
    app = opened(ANNA)
    app.button(key="sign-out").click().run()
    assert app.user == NOBODY
    later = opened(app.user)
    assert is_token(later.session_state["ws"])
    assert later.session_state["ws"] != workspace_of_person(ANNA["iss"], ANNA["sub"]).owner


@pytest.mark.parametrize(("setting", "claims"), NOBODYS)
def test_somebody_without_a_name_is_not_let_in(claims: dict[str, Any], setting: str, monkeypatch) -> None:
    monkeypatch.setenv("CROSSMODAL_SIGN_IN", setting)
    app = opened({**ANNA, **claims})
    assert not app.exception and "does not say who you are" in app.error[0].value
    assert labels(app) == ["Sign out"]


def test_nobody_is_somebody_by_the_link() -> None:
    app = opened(NOBODY, sub=ANNA["sub"], iss=ANNA["iss"], is_logged_in="true")
    assert is_token(app.session_state["ws"]) and "Sign out" not in labels(app)


@pytest.mark.parametrize("auth", [{**AUTH, "cookie_secret": "short"}, {**AUTH, "client_id": ""}, PROVIDER])
def test_a_cookie_that_proves_nothing_lets_nobody_in(auth: dict[str, Any], required: None) -> None:
    app = opened(ANNA, auth)
    assert not app.exception and labels(app) == []
    assert "switched off" in words(app) or "not fully set up" in words(app)


def test_a_header_may_not_say_who_somebody_is(required: None, monkeypatch) -> None:
    headers = {"X-Forwarded-User": "sub"}
    usual = st.get_option
    monkeypatch.setattr(st, "get_option", lambda key: headers if key == "server.trustedUserHeaders" else usual(key))
    app = opened(ANNA)
    assert labels(app) == [] and "let a header say" in words(app)


def test_without_the_library_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "authlib", None)
    app = opened(NOBODY)
    assert not app.exception and "Sign in" not in labels(app)
    assert "pip install -r requirements-signin.txt" in words(app)
    assert is_token(app.session_state["ws"])  # all else works


def test_each_provider_has_a_button() -> None:
    auth = {"redirect_uri": AUTH["redirect_uri"], "cookie_secret": "c" * 32, "hospital": PROVIDER, "google": PROVIDER}
    assert {"Sign in with Hospital", "Sign in with Google"} <= set(labels(opened(NOBODY, auth)))


def test_where_no_provider_is_set_up_a_required_sign_in_shuts_all_out(required: None) -> None:
    app = AppTest.from_file(str(REPOSITORY / "app.py"), default_timeout=60)
    app.user = ANNA
    app.run()
    assert not app.exception and labels(app) == [] and "no provider is set up" in words(app)


def test_a_machine_of_one_s_own_asks_nobody_who_they_are(workspace: Workspace, monkeypatch) -> None:
    monkeypatch.delenv("CROSSMODAL_VISITORS")
    app = opened(ANNA)
    assert not app.exception and not {"Sign in", "Sign out"} & set(labels(app))
    assert "ws" not in app.session_state and not workspace.root.exists()
