"""Looks after the queue while nobody watches: `python -m core.jobs.keeper BASE`. Ends when nothing waits or runs."""

from __future__ import annotations

import logging
import os
import sqlite3
import sys
import time
from contextlib import suppress
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
            file = _identity(queue.path)
            while base.exists() and (_tick(queue, base) or _finds_forgotten(queue, base)):
                time.sleep(EVERY_S)
                if _identity(queue.path) != file:
                    _finds_forgotten(queue, base)
                    file = _identity(queue.path)
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


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file it is, whatever is in it."""
    with suppress(OSError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None


def _finds_forgotten(queue: Queue, base: Path) -> bool:
    """Put back what the folders tell of and the queue lacks, whose file may have been made anew; whether any waits."""
    try:
        mend(queue, base)
        return bool(queue.entries("queued", "running"))
    except (OSError, sqlite3.DatabaseError) as error:
        logging.getLogger("core").warning("The queue could not be mended: %s", type(error).__name__)
        return False


if __name__ == "__main__":
    os.nice(5)
    keep(Path(sys.argv[1]))
