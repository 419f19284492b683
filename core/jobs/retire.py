"""Removing the workspaces of visitors who have long not come back."""

from __future__ import annotations

import shutil
import sqlite3
import time

from core.guests import REMOVED, is_forgotten, remove
from core.jobs.queue import Queue
from core.sharing import discard_unused
from core.workspace import GUESTS, Workspace, atomic_write, locked

EVERY_S = 3600.0
LAST = ".last-removal"
HALF_GONE = f"{REMOVED}-*"


def retire_now_and_then(base: Workspace) -> list[str]:
    """`retire`, at most once an hour, whoever asks."""
    stamp = base.root / GUESTS / LAST
    if not stamp.parent.is_dir() or (stamp.exists() and time.time() - stamp.stat().st_mtime < EVERY_S):
        return []
    atomic_write(stamp, b"")
    return retire(base)


def retire(base: Workspace) -> list[str]:
    """Remove each guest's workspace that nobody has opened for too long; returns their names.

    One with work that waits or runs stays, and so do all while the queue cannot be read.
    """
    folder, queue = base.root / GUESTS, Queue(base.root)
    with locked(folder):
        for left_over in folder.glob(HALF_GONE):
            shutil.rmtree(left_over, ignore_errors=True)
        try:
            busy = {entry.owner for entry in queue.entries("queued", "running")}
            resting = queue.entries("paused")
        except sqlite3.DatabaseError:
            return []
        places = [place for place in sorted(folder.iterdir()) if place.is_dir() and place.name[0] != "."]
        gone = [place.name for place in places if place.name not in busy and is_forgotten(Workspace(place))]
        for name in gone:
            remove(Workspace(folder / name))
    for entry in resting:
        if entry.owner in gone:
            with queue.settling(entry, "cancelled"):
                pass
    discard_unused(base)
    return gone
