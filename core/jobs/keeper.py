"""Looks after the queue while nobody watches: `python -m core.jobs.keeper BASE`. Ends when nothing waits or runs."""

from __future__ import annotations

import logging
import os
import sqlite3
import sys
import time
from pathlib import Path

from core.jobs import backend
from core.jobs.care import mend
from core.jobs.local import KEEPER_LOCK
from core.jobs.lock import hold
from core.jobs.queue import Queue
from core.workspace import Workspace

EVERY_S = 0.5


def keep(base: Path) -> None:
    """Tick until nothing is left to look after. One keeper per folder: a second one leaves at once."""
    queue = Queue(base)
    while base.exists():
        lock = hold(base / KEEPER_LOCK)
        if lock is None:
            return
        with lock:
            mend(queue, base)
            while base.exists() and (_tick(queue, base) or _was_forgetful(queue, base)):
                time.sleep(EVERY_S)
        if not base.exists() or not queue.entries("queued", "running"):  # else somebody came after the last look
            return


def _tick(queue: Queue, base: Path) -> bool:
    """Whether there is anything left to do."""
    try:
        backend().tick(Workspace(base))
        return bool(queue.entries("queued", "running"))
    except (OSError, sqlite3.DatabaseError) as error:  # a full disk or a busy file may pass; a broken one is mended
        logging.getLogger("core").warning("The queue could not be looked after: %s", type(error).__name__)
        if base.exists():
            mend(queue, base)
        return True


def _was_forgetful(queue: Queue, base: Path) -> bool:
    """Whether a queue in which nothing is left lacks what the folders tell of: its file may have been made anew."""
    try:
        mend(queue, base)
        return bool(queue.entries("queued", "running"))
    except (OSError, sqlite3.DatabaseError):
        return base.exists()


if __name__ == "__main__":
    os.nice(5)
    keep(Path(sys.argv[1]))
