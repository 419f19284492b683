"""The server has imported what its pages need before anybody comes."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from ui.serve import APP, LATE

SAY = """
import sys
from ui import serve
before = set(sys.modules)
serve.share_free_memory()
serve.import_what_pages_need()
after = set(sys.modules)
assert not before & {"torch", "ui.loaded_run"} and after >= {"torch", "ui.loaded_run", *serve.LATE}
"""


def test_what_is_imported_beforehand_is_there():
    assert APP == REPOSITORY / "app.py" and APP.exists()
    assert all(importlib.util.find_spec(name) for name in LATE)


@pytest.mark.slow
def test_no_page_waits_for_torch_and_nothing_is_said_about_it():
    done = subprocess.run([sys.executable, "-c", SAY], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
