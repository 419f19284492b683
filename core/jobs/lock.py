"""A lock that its holder's death frees: how anybody can tell a living worker from a dead one."""

from __future__ import annotations

import contextlib
import fcntl
from pathlib import Path
from typing import IO


def hold(path: Path) -> IO[bytes] | None:
    """Take the lock and keep it as long as the returned file stays open; None where another process has it.

    A POSIX record lock: the kernel frees it with the process, and children do not inherit it, so that an orphaned
    child cannot make its dead parent look alive.
    """
    stream = path.open("ab")
    try:
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        stream.close()
        return None
    return stream


def is_held(path: Path) -> bool:
    """Whether another process holds the lock. Never call it in the holder's own process: that would free it."""
    with contextlib.suppress(FileNotFoundError), path.open("rb+") as stream:
        try:
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
