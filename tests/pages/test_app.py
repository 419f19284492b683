"""The app as a whole: every page opens, alone and in an empty workspace."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from core.workspace import Workspace
from tests.conftest import REPOSITORY

PAGES = sorted(path.name for path in (REPOSITORY / "pages").glob("*.py"))


def opened(script: str) -> AppTest:
    return AppTest.from_file(str(REPOSITORY / script), default_timeout=60).run()


@pytest.mark.parametrize("page", PAGES)
def test_a_page_opens_alone_in_an_empty_workspace(page: str, workspace: Workspace) -> None:
    app = opened(f"pages/{page}")
    assert not app.exception
    assert app.title or app.header or app.subheader or app.markdown
    assert not app.error


def test_the_app_s_frame_is_there_on_every_run_not_on_the_first_alone(workspace: Workspace) -> None:
    """A folder named pages makes AppTest run the page without app.py from the second run on; conftest prevents that."""
    app = opened("app.py")
    first = [caption.value for caption in app.caption if "clinical" in caption.value]
    app.run()
    assert first
    assert [caption.value for caption in app.caption if "clinical" in caption.value] == first


def test_every_page_file_is_in_the_navigation() -> None:
    listed = (REPOSITORY / "app.py").read_text()
    assert all(f"pages/{page}" in listed for page in PAGES)
