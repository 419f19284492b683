"""Thirty visitors at once on one server: pages in turn, demo opened, ten of them pressing Start, for five minutes.

Each visitor has a workspace of their own, speaks the real protocol, fetches the pictures, redraws what redraws itself,
and looks at a page for 6 to 14 seconds before going on. The ten trainings are equal, so one is computed.
"""

from __future__ import annotations

import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from benchmarks import Figures, is_quick_try
from benchmarks.server import resident_gb, serving
from benchmarks.visitor import Visitor
from core.dataset import Dataset
from core.runs import Run, list_runs
from core.sharing import TAKEN_OVER
from core.showcase import RUN_ID, make_showcase
from core.workspace import GUESTS, Workspace

PAGES = ("", "data", "prepare", "train", "latent", "compare", "evaluate")
LOOK_S = (6.0, 14.0)
SAMPLE_S = 2.0
SETTLE_S = 600.0  # for the trainings that are still under way


def measure_load() -> Figures:
    """`--quick`: 4 visitors, 2 of whom train, for 30 seconds, on a demo of three."""
    n_visitors, n_trainers, seconds = (4, 2, 30.0) if is_quick_try() else (30, 10, 300.0)
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        make_demo(workspace)
        with serving(folder, CROSSMODAL_VISITORS="apart") as (address, pid):
            visitors = [Visitor(address) for _ in range(n_visitors)]
            memory = _watch(visitors, n_trainers, seconds, pid)
            load = os.getloadavg()[1]
            trainings = _trainings(_settled(workspace))
    return {**_times(visitors), **_memory(memory), **trainings, "load_average": load}


def make_demo(workspace: Workspace) -> None:
    """The whole demo; in a quick try three people, and a fitted model in place of the shipped run."""
    if not is_quick_try():
        make_showcase(workspace)
        return
    from core.synthesis import pick_device
    from core.train import make_config, train

    make_showcase(workspace, n_cases=3)
    dataset = Dataset.open(workspace, "demo")
    run = Run.new(workspace, make_config(dataset, "linear", {}, {}), "cpu")
    train(run, dataset, pick_device("cpu"))
    run.update(state="finished")
    run.folder.rename(workspace.runs / RUN_ID)


def _watch(visitors: list[Visitor], n_trainers: int, seconds: float, pid: int) -> list[float]:
    """Let them go about; returns the server's memory (GB) every two seconds."""
    end = time.monotonic() + seconds
    threads = [
        threading.Thread(target=_go_about, args=(visitor, n, n < n_trainers, end)) for n, visitor in enumerate(visitors)
    ]
    for thread in threads:
        thread.start()
    memory = []
    while any(thread.is_alive() for thread in threads):
        time.sleep(SAMPLE_S)
        memory.append(resident_gb(pid))
    return memory


def _go_about(visitor: Visitor, number: int, trains: bool, end: float) -> None:
    chance = random.Random(number)
    try:
        time.sleep(chance.uniform(0, LOOK_S[0]))
        with visitor:
            visitor.open()
            _look(visitor, chance, end)
            visitor.press("Open the demo")
            _look(visitor, chance, end)
            if trains:
                _train(visitor)
                _look(visitor, chance, end)
            while time.monotonic() < end:
                visitor.open(chance.choice(PAGES))
                _look(visitor, chance, end)
                visitor.press("Next case")
                _look(visitor, chance, end)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong is what is counted
        visitor.errors.append(f"{visitor.page}: {type(error).__name__}")


def _look(visitor: Visitor, chance: random.Random, end: float) -> None:
    visitor.stay(min(chance.uniform(*LOOK_S) / 2, end - time.monotonic()))


def _train(visitor: Visitor) -> None:
    """One short training with everything else as the form has it."""
    visitor.open("train")
    visitor.fill_in("Epochs", 1)
    if not visitor.press("Start training"):
        visitor.errors.append("train: there is no button")


def _settled(workspace: Workspace) -> list[Run]:
    """All visitors' trainings, when none of them is under way any more."""
    until = time.monotonic() + SETTLE_S
    while True:
        guests = [Workspace(path) for path in (workspace.root / GUESTS).glob("[0-9a-f]*")]
        runs = [run for guest in guests for run in list_runs(guest) if run.id != RUN_ID]
        if all(run.state not in ("queued", "running") for run in runs) or time.monotonic() > until:
            return runs
        time.sleep(1)


def _times(visitors: list[Visitor]) -> Figures:
    pages = sorted(seconds for visitor in visitors for seconds in visitor.took_s)
    polls = sorted(seconds for visitor in visitors for seconds in visitor.polls_took_s)
    errors = Counter(error for visitor in visitors for error in visitor.errors)
    for error, n in errors.most_common(10):
        sys.stderr.write(f"{n} x {error}\n")
    return {
        "visitors": len(visitors),
        "pages": len(pages),
        "errors": errors.total(),
        "page_median_s": statistics.median(pages),
        "page_p95_s": pages[int(0.95 * len(pages))],
        "page_max_s": pages[-1],
        "redraws": len(polls),
        "redraw_p95_s": polls[int(0.95 * len(polls))] if polls else 0.0,
    }


def _memory(samples: list[float]) -> Figures:
    """At most, and how much the last third is above the middle one: 1 is flat."""
    third = max(1, len(samples) // 3)
    growth = statistics.median(samples[-third:]) / statistics.median(samples[third : 2 * third] or samples)
    return {"memory_gb": max(samples), "memory_growth": growth}


def _trainings(runs: list[Run]) -> Figures:
    states = Counter(run.state for run in runs)
    for run in runs:
        if run.state != "finished":
            sys.stderr.write(f"a training is {run.state}: {run.status.error or run.status.message}\n")
    taken_over = sum(run.status.note == TAKEN_OVER for run in runs)
    return {
        "trainings": len(runs),
        "not_finished": len(runs) - states["finished"],
        "computed": states["finished"] - taken_over,
    }


TARGETS = {
    "errors": ("<=", 0.0),
    "page_p95_s": ("<=", 2.0),
    "memory_gb": ("<=", 4.0),
    "memory_growth": ("<=", 1.1),
    "not_finished": ("<=", 0.0),
    "computed": ("<=", 1.0),
}
