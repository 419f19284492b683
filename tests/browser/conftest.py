"""A real browser and a real server. Finds a Chromium, or skips aloud; with CI=true the skip is a failure."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLAGS = (
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
)
START_S = 60.0


def find_chromium() -> str:
    """The first of $CHROMIUM, chromium, chromium-browser, google-chrome that is there."""
    names = (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    found = next((path for path in map(shutil.which, filter(None, names)) if path), None)
    if found:
        return found
    reason = "No Chromium here; install it or set CHROMIUM to it."
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    path = find_chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """`serve(script)` starts a server (in a workspace of its own) and returns its address; its log is server.log."""
    started: list[subprocess.Popen[bytes]] = []

    def start(script: Path, workspace: Path = tmp_path / "workspace", more: Sequence[str] = ()) -> str:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options = ["--server.port", str(port), "--server.address", "127.0.0.1", "--server.headless", "true", *more]
        environment = {**os.environ, "CROSSMODAL_WORKSPACE": str(workspace), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "streamlit", "run", str(script), *options]
        with (tmp_path / "server.log").open("ab") as log:
            started.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log))
        address = f"http://127.0.0.1:{port}"
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            try:
                urllib.request.urlopen(f"{address}/_stcore/health", timeout=2).close()
            except OSError:
                time.sleep(0.2)
            else:
                return address
        pytest.fail(f"The server did not start.\n{(tmp_path / 'server.log').read_text()}")

    yield start
    for process in started:
        process.terminate()
        process.wait(10)
