"""Whether an equal training of another visitor runs or waits already."""

from __future__ import annotations

import contextlib
import sqlite3

from core.errors import UserError
from core.jobs.queue import Queue
from core.runs import Run
from core.sharing import AHEAD, can_share, key_of
from core.workspace import Workspace


def tell_if_same(run: Run) -> None:
    """Say so in the note of a run that waits behind an equal one: what is ahead of it then takes no time."""
    workspace = Workspace(run.folder.parent.parent)
    if run.state == "queued" and can_share(run, workspace) and _is_ahead(run, workspace):
        run.update(note=AHEAD)


def _is_ahead(run: Run, workspace: Workspace) -> bool:
    """Among what was asked for earlier: the queue tells in the order of asking."""
    key = run.folder.relative_to(workspace.base).as_posix()
    with contextlib.suppress(sqlite3.DatabaseError, OSError, UserError, ValueError):
        keys = [e.key for e in Queue(workspace.base).entries("running", "queued") if e.is_training and e.owner]
        earlier = keys[: keys.index(key)] if key in keys else keys
        return any(key_of(Run(workspace.base / other)) == key_of(run) for other in earlier)
    return False
