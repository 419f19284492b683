"""Looks after the queue while nobody watches: `python -m core.jobs.keeper BASE`. Ends when nothing waits or runs."""

from __future__ import annotations

import logging
import os
import sqlite3
import sys
import time
from pathlib import Path

from core.jobs.care import find_strays, set_aside_if_broken
from core.jobs.local import KEEPER_LOCK, LocalBackend
from core.jobs.lock import hold
from core.jobs.queue import Queue
from core.workspace import Workspace

EVERY_S = 0.5


def keep(base: Path) -> None:
    """Tick until nothing is left to look after. One keeper per folder: a second one leaves at once."""
    queue, backend, workspace = Queue(base), LocalBackend(), Workspace(base)
    while base.exists():
        lock = hold(base / KEEPER_LOCK)
        if lock is None:
            return
        with lock:
            set_aside_if_broken(queue)
            find_strays(queue, base)
            while base.exists() and queue.entries("queued", "running"):
                try:
                    backend.tick(workspace)
                except (OSError, sqlite3.DatabaseError) as error:  # a full disk, a busy file: it may pass
                    logging.getLogger("core").warning("The queue could not be looked after: %s", type(error).__name__)
                    set_aside_if_broken(queue)
                    find_strays(queue, base)
                time.sleep(EVERY_S)
        if not queue.entries("queued", "running"):  # else somebody came after the last look
            return


if __name__ == "__main__":
    os.nice(5)
    keep(Path(sys.argv[1]))
