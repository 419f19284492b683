"""How quickly the app answers: first page on a warm server, a slice moved on Compare, a page opened again."""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import Figures
from benchmarks.timing import seconds
from core.dataset import Dataset
from core.processes import stat_fields
from core.runs import Run
from core.showcase import make_showcase
from core.synthesis import pick_device
from core.train import make_config, train
from core.workspace import Workspace

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"]


def measure_server() -> Figures:
    """Three demo cases at full size and a fitted run, a real server, a real browser where there is one."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        make_showcase(workspace, n_cases=3)
        dataset = Dataset.open(workspace, "demo")
        run = Run.new(workspace, make_config(dataset, "linear", {}, {}), "cpu")
        train(run, dataset, pick_device("cpu"))
        run.update(state="finished")
        os.environ["CROSSMODAL_WORKSPACE"] = folder
        figures = _slice_redraw()
        path = next(filter(None, map(shutil.which, CHROMIUM)), None)
        if path:
            with serving(folder) as (address, _):
                figures |= _first_page(address, path)
    return figures


def _slice_redraw() -> Figures:
    """Server time of one rerun of Compare in the simple view, where the server draws the four panes.

    In the fluid view slices are drawn by the browser, and the server is not asked at all.
    """
    from streamlit.testing.v1 import AppTest

    from ui.state import State

    page = AppTest.from_file(str(ROOT / "pages" / "compare.py"), default_timeout=120).run()
    page.toggle(key=State.SIMPLE_VIEW).set_value(True).run()
    times = []
    for number in (40, 44, 30, 52, 36, 61, 25):
        page.slider[0].set_value(number)
        times.append(seconds(page.run))
    return {"slice_redraw_s": statistics.median(times)}


def _first_page(address: str, chromium: str) -> Figures:
    """From asking for a page to its title and content on the screen, in fresh browser contexts; median of five."""
    from playwright.sync_api import sync_playwright

    pages = {"home": "Crossmodal Studio", "compare": "Compare"}
    figures: Figures = {}
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        for name, title in pages.items():
            times = []
            for _ in range(6):
                context = browser.new_context()
                tab = context.new_page()
                start = time.perf_counter()
                tab.goto(f"{address}/{'' if name == 'home' else name}")
                tab.get_by_role("heading", name=title).first.wait_for()
                tab.get_by_text("Not for clinical use").first.wait_for()
                times.append(time.perf_counter() - start)
                context.close()
            figures[f"{name}_page_s"] = statistics.median(times[1:])
        browser.close()
    return figures


@contextmanager
def serving(workspace: str, **settings: str) -> Iterator[tuple[str, int]]:
    """A server of its own on a free port: its address and process id. Settings are environment variables."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "ui.serve", "--server.headless", "true"]
    command += ["--server.port", str(port), "--server.address", "127.0.0.1"]
    environment = {**os.environ, "CROSSMODAL_WORKSPACE": workspace, **settings}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{address}/_stcore/health", timeout=2).close()
                break
            except OSError:
                time.sleep(0.2)
        yield address, process.pid
    finally:
        process.terminate()
        process.wait()


def resident_gb(pid: int) -> float:
    """Memory of a process that lies in RAM."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e9


def processor_s(pid: int) -> float:
    """Seconds of processor time that a process has taken."""
    fields = stat_fields(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


TARGETS = {"home_page_s": ("<=", 3.0), "slice_redraw_s": ("<=", 0.15)}
