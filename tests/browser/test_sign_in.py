"""Signing in for real: a provider that signs what it says, the app as a server, people in browsers of their own."""

from __future__ import annotations

import re
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from core.archive import pack_workspace
from core.guests import GUESTS
from core.workspace import Workspace
from tests.browser.test_walk import go, press, settled, until
from tests.conftest import REPOSITORY
from tests.tiny_run import make_dataset

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]
PATIENCE_MS = 60_000
STUDY = "annas-study"
Visit = Callable[..., Any]


@pytest.fixture(scope="module", autouse=True)
def libraries() -> None:
    lacking = [name for name in ("authlib", "httpx") if find_spec(name) is None]
    if lacking:
        pytest.skip(f"Signing in is not tested: {' and '.join(lacking)} missing; requirements-signin.txt brings them.")


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    script = REPOSITORY / "tests" / "browser" / "oidc_provider.py"
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.terminate()
    process.wait(10)


@pytest.fixture
def address(serve: Any, issuer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """`address("required")` starts the app as a server on which one can, or must, sign in."""
    settings = {
        "redirect_uri": "http://127.0.0.1:{port}/oauth2callback",
        "cookie_secret": secrets.token_hex(32),
        "client_id": "studio",
        "client_secret": "a-secret-between-the-two",
        "server_metadata_url": f"{issuer}/.well-known/openid-configuration",
    }
    path = tmp_path / "secrets.toml"
    path.write_text("\n".join(["[auth]", *(f'{name} = "{value}"' for name, value in settings.items())]))
    monkeypatch.setenv("CROSSMODAL_VISITORS", "apart")

    def start(setting: str) -> str:
        monkeypatch.setenv("CROSSMODAL_SIGN_IN", setting)
        return str(serve(REPOSITORY / "app.py", tmp_path / "workspace", ["--secrets.files", str(path)]))

    return start


@pytest.fixture
def visit(chromium: Any, issuer: str) -> Iterator[Visit]:
    """`visit(address, "anna")`: a browser of its own, whose holder the provider takes for Anna."""
    contexts = []

    def open_browser(address: str, who: str) -> Any:
        context = chromium.new_context(viewport={"width": 1400, "height": 900})
        context.add_cookies([{"name": "who", "value": who, "url": issuer}])
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(address)
        return page

    yield open_browser
    for context in contexts:
        context.close()


def sign_in(tab: Any) -> None:
    press(tab, "Sign in")
    tab.get_by_role("button", name="Sign out").wait_for()
    settled(tab)
    assert "ws=" not in tab.url


def bring_study(tab: Any, folder: Path) -> None:
    """Take in an export with one dataset, through Home."""
    elsewhere, stream = Workspace(folder), BytesIO()
    make_dataset(elsewhere, STUDY)
    pack_workspace(elsewhere, stream)
    tab.get_by_text("bring such a file in").click()
    export = {"name": "export.zip", "mimeType": "application/zip", "buffer": stream.getvalue()}
    tab.locator("input[type=file]").set_input_files(export)
    tab.get_by_text("Taken in: 1").wait_for()
    settled(tab)


def shows_study(tab: Any) -> bool:
    """Whether its name stands in a text, a picker or the link."""
    values = tab.locator("input").evaluate_all("fields => fields.map(field => field.value)")
    return STUDY in f"{tab.url} {tab.locator('body').inner_text()} {values}"


def sees_study(tab: Any) -> bool:
    go(tab, "Train")
    return shows_study(tab)


def owners(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "workspace" / GUESTS).iterdir() if not path.name.startswith(".")}


def test_people_find_their_own_workspace_from_any_browser(
    address: Callable[[str], str], visit: Visit, tmp_path: Path
) -> None:
    site = address("offered")
    anna = visit(site, "anna")
    until(anna, lambda: "ws=" in anna.url)
    sign_in(anna)
    bring_study(anna, tmp_path / "elsewhere")
    assert sees_study(anna)
    (name,) = owners(tmp_path)

    elsewhere, ben = visit(site, "anna"), visit(site, "ben")
    for tab in (elsewhere, ben):
        sign_in(tab)
    assert sees_study(elsewhere) and not sees_study(ben)

    stranger = visit(f"{site}/train?ws={name}", "eve")  # who has come to know how Anna's folder is named
    until(stranger, lambda: "ws=" in stranger.url and name not in stranger.url)
    assert not shows_study(stranger)

    anna.goto(site)
    press(anna, "Sign out")
    anna.get_by_role("button", name="Sign in").wait_for()
    until(anna, lambda: bool(re.search(r"ws=[0-9a-f]{32}", anna.url)) and name not in anna.url)
    assert not sees_study(anna)
    anna.goto(site)
    sign_in(anna)
    assert sees_study(anna)


def test_nobody_is_told_who_signed_in(address: Callable[[str], str], visit: Visit, tmp_path: Path) -> None:
    anna = visit(address("required"), "anna")
    sign_in(anna)
    bring_study(anna, tmp_path / "elsewhere")
    secret = (tmp_path / "workspace" / ".secret").read_bytes()
    files = [path for path in [tmp_path / "server.log", *(tmp_path / "workspace").rglob("*")] if path.is_file()]
    for path in files:
        content = path.read_bytes().lower()
        for word in (b"anna-subject", b"anna surname", b"anna@hospital", secret.hex().encode()):
            assert word not in content and word.decode() not in str(path)
        assert path.name == ".secret" or secret not in content


def test_a_door_that_is_shut_opens_for_nobody_else(address: Callable[[str], str], visit: Visit, tmp_path: Path) -> None:
    site = address("required")
    anna = visit(site, "anna")
    anna.get_by_text("Sign in to open your workspace.").wait_for()
    settled(anna)
    assert not anna.get_by_role("link", name="Train").count() and not anna.get_by_text("Bring images").count()
    sign_in(anna)
    bring_study(anna, tmp_path / "elsewhere")
    (name,) = owners(tmp_path)

    for page in ("", "train", "data", "prepare", "compare", "evaluate", "latent"):
        stranger = visit(f"{site}/{page}?ws={name}", "eve")
        stranger.get_by_text("Sign in to open your workspace.").wait_for()
        settled(stranger)
        assert not shows_study(stranger)
    sign_in(stranger)
    stranger.goto(f"{site}/train?ws={name}")
    stranger.get_by_text("The link names another workspace").wait_for()
    assert not sees_study(stranger)

    forged = visit(site, "eve")
    cookie = {"name": "_streamlit_user", "value": "2|1:0|10:1|15:_streamlit_user|4:e30=|" + "0" * 64, "url": site}
    forged.context.add_cookies([cookie])
    forged.goto(site)
    forged.get_by_text("Sign in to open your workspace.").wait_for()
