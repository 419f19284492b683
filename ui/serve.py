"""Start the app with everything imported that its pages need, so that nobody waits for that: `python -m ui.serve`.

What follows on the command line is for `streamlit run`, such as `--server.port 8501`.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import logging
import pkgutil
import sys
from contextlib import suppress
from pathlib import Path

from streamlit.web import cli

import ui
from core.errors import UserError
from core.showcase import renew_shipped_run
from core.workspace import Workspace

TURN_S = 0.0005  # a page that opens files waits for a turn after each: not behind others for 5 ms
M_ARENA_MAX, ARENAS = -8, 2  # of glibc's mallopt
CACHES = "streamlit.runtime.caching.cache_data_api"  # its log
APP = Path(__file__).resolve().parents[1] / "app.py"
LATE = ("core.models", "core.compare", "core.latent", "core.search", "plotly.graph_objects", "PIL.Image")


def import_what_pages_need() -> None:
    """All modules of `ui`, and those of others that pages import when they first need them."""
    logging.getLogger(CACHES).setLevel(logging.ERROR)  # that no server runs yet is no news
    for module in pkgutil.iter_modules(ui.__path__, "ui."):
        importlib.import_module(module.name)
    for name in LATE:
        importlib.import_module(name)
    sys.modules["PIL.Image"].init()  # its readers and writers
    gc.collect()
    gc.freeze()  # what was imported stays: looking for garbage need not look there, and so happens sooner


def share_free_memory() -> None:
    """Let all threads allocate from the same two pools: each rerun of a page is a new thread, and with one pool a
    thread the server's memory grows by what each has freed and keeps. Does nothing where the C library is not glibc."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, ARENAS)


def renew_demo() -> None:
    """The demo run of today; where that fails, the app starts all the same, and its pages say what does not fit."""
    try:
        renew_shipped_run(Workspace.default())
    except (UserError, OSError) as error:
        logging.getLogger("ui").warning("The demo run could not be renewed: %s", type(error).__name__)


if __name__ == "__main__":
    sys.setswitchinterval(TURN_S)
    share_free_memory()
    import_what_pages_need()
    renew_demo()
    sys.argv = ["streamlit", "run", str(APP), *sys.argv[1:]]
    cli.main()
