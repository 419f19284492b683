"""How soon Evaluate stands there with fifty evaluated runs, in a server that has read none of them yet.

The runs are the shipped one under fifty ids: its results have the usual size, 1525 rows, and Evaluate needs no images.
A visitor opens Home, then Evaluate, over the real websocket. Processor seconds are the server's; on a machine that does
other things besides they say more than the clock.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks import Figures
from benchmarks.server import processor_s, serving
from benchmarks.visitor import Visitor
from core.gist import FILES, keep_gists
from core.showcase import SHIPPED
from core.workspace import Workspace

N_RUNS, N_TRIES = 50, 3
NEEDED = ("config.json", "job.json", "state.json", "results.json", "regions.json", "weights.safetensors")


def measure_evaluate_page() -> Figures:
    """Medians of three servers; once more with results that an earlier version left, and so without their gists."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        _fill(workspace)
        tries = [_open(folder) for _ in range(N_TRIES)]
        figures = {name: statistics.median(one[name] for one in tries) for name in tries[0]}
        for path in [path for name in FILES.values() for path in workspace.runs.glob(f"*/{name}")]:
            path.unlink()
        figures["without_gists_s"] = _open(folder)["cold_s"]
    return figures


def _fill(workspace: Workspace) -> None:
    first = workspace.runs / f"run-{0:016x}"
    first.mkdir(parents=True)
    for name in NEEDED:
        shutil.copy2(SHIPPED / name, first / name)
    keep_gists(first)
    for number in range(1, N_RUNS):
        shutil.copytree(first, workspace.runs / f"run-{number:016x}")


def _open(folder: str) -> Figures:
    """Evaluate for the first time, for the second, and for another visitor."""
    figures: Figures = {}
    with serving(folder) as (address, pid):
        visitors = [Visitor(address), Visitor(address)]
        for visitor, names in zip(visitors, (("cold", "again"), ("other_visitor",)), strict=True):
            with visitor:
                visitor.open()
                for name in names:
                    before_s, began = processor_s(pid), time.monotonic()
                    visitor.open("evaluate")
                    figures[f"{name}_s"] = time.monotonic() - began
                    figures[f"{name}_processor_s"] = processor_s(pid) - before_s
                    if ("selectbox", "Look into") not in visitor.widgets:
                        visitor.errors.append("evaluate: the runs are not there")
        figures["errors"] = sum(len(visitor.errors) for visitor in visitors)
    return figures


TARGETS = {"cold_s": ("<=", 2.0), "again_s": ("<=", 2.0), "errors": ("<=", 0.0)}
