"""SIGKILL at random moments, of workers, the app and the queue's keeper: nothing lost, nothing stuck, nothing twice.

The app is stood for by a process that starts short trainings and looks after the queue as a page does. Every run has
the same seed, so that each must end with the weights of one that nobody disturbed, bit for bit.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks import Figures
from core.dataset import Dataset
from core.dataset_writer import DatasetWriter, PreparedCase
from core.jobs import BACKENDS
from core.jobs.care import is_alive
from core.jobs.local import KEEPER_LOCK
from core.jobs.lock import is_held
from core.jobs.queue import Queue
from core.runs import Run, list_runs
from core.train import make_config
from core.workspace import Workspace

KILLS = "CROSSMODAL_KILLS"
N_KILLS = 50
WAITING = 2  # runs that the app keeps waiting
SHORTEST_S, LONGEST_S = 0.1, 6.0  # between kills; on a slow machine up to what one run takes, so that some get through
STUCK_S = 60.0
SETTLE_S = 300.0
SETTINGS = {"epochs": 60, "batch_size": 4, "preview_every": 40, "max_minutes": 60}
ROOT = Path(__file__).resolve().parents[1]


def tiny_dataset(workspace: Workspace) -> Dataset:
    """Four cases of 18 x 21 x 5 voxels."""
    writer = DatasetWriter(workspace, "tiny")
    for n in range(4):
        t1 = np.random.default_rng(n).uniform(0.1, 0.9, (18, 21, 5)).astype(np.float32)
        scales, units = {"T1": (1.0, 0.0), "T2": (1.0, 0.0)}, {"T1": "a.u.", "T2": "a.u."}
        mask = np.ones(t1.shape, bool)
        writer.add(PreparedCase(f"case-{n}", {"T1": t1, "T2": 1 - t1}, scales, units, mask, np.diag([1, 2, 3, 1.0])))
    return writer.finish("tiny", {"by hand": {}}, simulated=True)


def app(base: Path) -> None:
    """Keeps a few runs waiting until the file `enough` appears, and looks after the queue; never ends by itself."""
    workspace = Workspace(base)
    queue, backend = Queue(base), BACKENDS["local"]
    config = make_config(Dataset.open(workspace, "tiny"), "ae", {"width": 4}, SETTINGS)
    while True:
        if not (base / "enough").exists() and len(queue.entries("queued")) < WAITING:
            run = Run.new(workspace, config, "cpu")
            backend.start(run)
            (base / "accepted" / run.id).touch()
        backend.adopt(workspace)
        time.sleep(0.2)


@dataclass
class Siege:
    """What the killing process sees."""

    base: Path
    random: random.Random
    dead_since: dict[str, float] = field(default_factory=dict)
    pause_s: float = LONGEST_S
    longest_s: float = 0.0
    killed: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.queue = Queue(self.base)
        self.app = self.start_app()

    def start_app(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", "benchmarks.kill", str(self.base)], cwd=ROOT)

    def watch(self, seconds: float) -> None:
        """Wait, noting how long a job is said to run whose worker is dead."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.look()
            time.sleep(0.05)

    def look(self) -> None:
        now = time.monotonic()
        dead = {e.key for e in self.queue.entries("running") if not is_alive(self.base / e.key, e)}
        self.dead_since = {key: self.dead_since.get(key, now) for key in dead}
        self.longest_s = max([self.longest_s, *(now - since for since in self.dead_since.values())])

    def strike(self) -> None:
        """Kill a worker, the app, the keeper, or app and worker; a dead app is started again a little later."""
        kind = self.random.choice(["worker", "worker", "app", "both", "keeper"])
        if kind in ("worker", "both") and not self._kill([e.pid for e in self.queue.entries("running") if e.pid]):
            return
        if kind == "keeper" and not self._kill(self._keeper()):
            return
        if kind in ("app", "both"):
            self.app.kill()
            self.app.wait()
            self.watch(self.random.uniform(0.0, 1.0))
            self.app = self.start_app()
        self.killed[kind] += 1

    def _kill(self, pids: list[int]) -> bool:
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                return False
        return bool(pids)

    def _keeper(self) -> list[int]:
        """Its pid: the one process with this folder as the keeper's argument."""
        if not is_held(self.base / KEEPER_LOCK):
            return []
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:
                continue
            if b"core.jobs.keeper" in words and str(self.base).encode() in words:
                found.append(int(path.parent.name))
        return found


def measure_kill() -> Figures:
    """See the module; CROSSMODAL_KILLS sets how many."""
    base = Path(tempfile.mkdtemp(prefix="crossmodal-kill-"))
    os.environ |= {"CROSSMODAL_CHECKPOINT_S": "0.2", "OMP_NUM_THREADS": "1"}
    began = time.monotonic()
    try:
        tiny_dataset(Workspace(base))
        (base / "accepted").mkdir()
        siege = Siege(base, random.Random(0), pause_s=max(LONGEST_S, _undisturbed(Workspace(base))))
        while siege.killed.total() < int(os.environ.get(KILLS, N_KILLS)):
            siege.watch(siege.random.uniform(SHORTEST_S, siege.pause_s))
            siege.strike()
        (base / "enough").touch()
        _settle(siege)
        siege.app.kill()
        siege.app.wait()
        figures = {"kills": float(siege.killed.total()), **judge(base, siege), "seconds": time.monotonic() - began}
    finally:
        shutil.rmtree(base, ignore_errors=True)
    sys.stderr.write(
        f"{figures['kills']:.0f} kills ({', '.join(f'{n} {kind}' for kind, n in sorted(siege.killed.items()))}) over"
        f" {figures['runs']:.0f} runs: {figures['lost']:.0f} lost, {figures['stuck']:.0f} stuck,"
        f" {figures['with_two_results']:.0f} with two results, {figures['different_weights']:.0f} with other weights,"
        f" database {'intact' if figures['database_intact'] else 'BROKEN'}\n"
    )
    return figures


def _undisturbed(workspace: Workspace) -> float:
    """Seconds that one run takes which nobody kills."""
    backend = BACKENDS["local"]
    run = Run.new(workspace, make_config(Dataset.open(workspace, "tiny"), "ae", {"width": 4}, SETTINGS), "cpu")
    began = time.monotonic()
    backend.start(run)
    backend.wait(run, SETTLE_S)
    (workspace.root / "accepted" / run.id).touch()
    return time.monotonic() - began


def _settle(siege: Siege) -> None:
    """Let what waits and runs come to its end, and the keeper leave."""
    until = time.monotonic() + SETTLE_S
    while siege.queue.entries("queued", "running") and time.monotonic() < until:
        siege.watch(0.5)


def judge(base: Path, siege: Siege) -> Figures:
    """Every run that was accepted must have ended well, once, with the same weights."""
    accepted = {path.name for path in (base / "accepted").iterdir()}
    runs = [run for run in list_runs(Workspace(base)) if run.id in accepted]
    weights = Counter(run.weights_path.read_bytes() for run in runs if run.state == "finished")
    return {
        "runs": len(accepted),
        "attempts": sum(entry.attempt for entry in siege.queue.entries()),
        "lost": len(accepted) - sum(run.state == "finished" for run in runs),
        "stuck": float(len(siege.queue.entries("queued", "running")) + (siege.longest_s > STUCK_S)),
        "longest_dead_s": siege.longest_s,
        "with_two_results": sum(_results(run) > 1 or _has_steps_twice(run) for run in runs),
        "different_weights": weights.total() - max(weights.values(), default=0),
        "database_intact": float(siege.queue.is_intact()),
    }


def _results(run: Run) -> int:
    log = run.folder / "log.txt"  # absent where no worker was ever started
    return log.read_text().count(": finished\n") if log.exists() else 0


def _has_steps_twice(run: Run) -> bool:
    steps = [(line["split"], line["step"]) for line in run.history()]
    return len(steps) != len(set(steps))


TARGETS = {
    "lost": ("<=", 0.0),
    "stuck": ("<=", 0.0),
    "with_two_results": ("<=", 0.0),
    "different_weights": ("<=", 0.0),
    "database_intact": (">=", 1.0),
}

if __name__ == "__main__":
    app(Path(sys.argv[1]))
