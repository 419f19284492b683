"""Does the server keep what it need not keep? One visitor goes through the demo's cases and all pages, three times.

The first round fills the caches, which are bounded; memory after the third over memory after the first is 1 where
nothing else is kept.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from benchmarks import Figures, is_quick_try
from benchmarks.load import PAGES, make_demo
from benchmarks.server import resident_gb, serving
from benchmarks.visitor import Visitor
from core.workspace import Workspace

ROUNDS = 3
WITH_CASES = ("compare", "data", "prepare")


def measure_rounds() -> Figures:
    """GB before anybody came, after the first round and after the last. `--quick`: on a demo of three."""
    n_cases = 2 if is_quick_try() else int(os.environ.get("ROUNDS_CASES", "24"))
    with tempfile.TemporaryDirectory() as folder:
        make_demo(Workspace(Path(folder)))
        with serving(folder, CROSSMODAL_VISITORS="apart") as (address, pid):
            before = resident_gb(pid)
            with Visitor(address) as visitor:
                visitor.open()
                visitor.press("Open the demo")
                after = [_go_round(visitor, n_cases, pid) for _ in range(ROUNDS)]
    for error in visitor.errors:
        sys.stderr.write(f"{error}\n")
    grown = {"before_gb": before, "first_gb": after[0], "last_gb": after[-1], "growth": after[-1] / after[0]}
    return {"pages": float(len(visitor.took_s)), "errors": float(len(visitor.errors)), **grown}


def _go_round(visitor: Visitor, n_cases: int, pid: int) -> float:
    for page in WITH_CASES:
        visitor.open(page)
        for _ in range(n_cases):
            visitor.press("Next case")
    for page in PAGES:
        visitor.open(page)
    return resident_gb(pid)


TARGETS = {"errors": ("<=", 0.0), "growth": ("<=", 1.1)}
