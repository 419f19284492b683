"""A Ray cluster of one node for the tests: two cores, on 127.0.0.1, with a token; ended by its own process ids.

`ray stop` would end every Ray on the machine, other people's too.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from core.errors import UserError
from core.jobs.ray_api import check_cluster

START_S = 90.0
RAY = "import ctypes; ctypes.CDLL(None).prctl(1, 15)\n"  # SIGTERM when the tests' process dies, however it dies
RAY += "from ray.scripts.scripts import main; main()"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def descendants(pid: int) -> set[int]:
    """All processes below one, as /proc tells."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found, new = set(), {pid}
    while new:
        found |= new
        new = {child for child, parent in parents.items() if parent in new} - found
    return found - {pid}


def working_on(text: str) -> list[int]:
    """Processes of Python whose command line holds this text; Ray calls one at work `ray::FUNCTION`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().decode(errors="replace").split("\0")
            if any(text in word for word in words) and ("python" in Path(words[0]).name or words[0][:5] == "ray::"):
                found.append(int(path.parent.name))
    return found


class RayHead:
    """A running head; `environment` is what a client of it needs."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # sockets' paths must be short
        token = self.folder / "token"
        token.write_text(secrets.token_hex(32))
        token.chmod(0o600)
        self.dashboard = free_port()
        self.environment = {
            "RAY_ADDRESS": f"http://127.0.0.1:{self.dashboard}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
        }
        self.process = self._start()
        self._known = descendants(self.process.pid)

    def _start(self) -> subprocess.Popen[bytes]:
        own = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "CROSSMODAL_"))}
        own |= {
            **{name: value for name, value in self.environment.items() if name != "RAY_ADDRESS"},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_DISABLE_IMPORT_WARNING": "1",
        }
        options = {
            "port": free_port(),
            "node-ip-address": "127.0.0.1",
            "dashboard-host": "127.0.0.1",
            "dashboard-port": self.dashboard,
            "ray-client-server-port": free_port(),
            "num-cpus": 2,
            "num-gpus": 0,
            "object-store-memory": 80_000_000,
            "temp-dir": self.folder / "r",
        }
        words = [f"--{name}={value}" for name, value in options.items()]
        with (self.folder / "log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-c", RAY, "start", "--head", "--block", "--disable-usage-stats", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=own,
            )

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-3000:]

    def await_answer(self) -> None:
        until = time.monotonic() + START_S
        while True:
            try:
                check_cluster()
                return
            except UserError as error:
                assert self.process.poll() is None and time.monotonic() < until, f"{error}\n{self.log()}"
            time.sleep(0.5)

    def stop(self) -> None:
        """End what this head started, and nothing else."""
        own = self._known | descendants(self.process.pid)
        started = {pid: start_of(pid) for pid in own}
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        self.process.kill()
        self.process.wait()
        for pid, start in started.items():
            if start and start_of(pid) == start:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)


def start_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return ""


@contextlib.contextmanager
def ray_head() -> Iterator[RayHead]:
    head = RayHead()
    before = {name: os.environ.get(name) for name in head.environment}
    os.environ.update(head.environment)
    try:
        head.await_answer()
        yield head
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        head.stop()
