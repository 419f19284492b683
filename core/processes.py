"""Whether a process still is the one that it was."""

from __future__ import annotations

import os


def process_start(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 if there is none (or it is a zombie)."""
    try:
        with open(f"/proc/{pid}/stat") as stream:
            fields = stream.read().rpartition(")")[2].split()
    except OSError:
        return 0 if os.path.isdir("/proc/self") else _start_without_proc(pid)
    return 0 if fields[0] == "Z" else int(fields[19])


def _start_without_proc(pid: int) -> int:
    """macOS has no /proc: there, a living pid counts as started at 1."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return 0
    except PermissionError:
        return 1
    return 1 if pid > 0 else 0
