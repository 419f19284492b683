"""Whether a process still is the one that it was."""

from __future__ import annotations

import os


def stat_fields(pid: int) -> list[str]:
    """What Linux's /proc/PID/stat says after the name: the state first, then as in proc(5) from ppid on.

    Raises:
        OSError: There is no such process, or no /proc.
    """
    with open(f"/proc/{pid}/stat") as stream:
        return stream.read().rpartition(")")[2].split()


def process_start(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 if there is none (or it is a zombie)."""
    try:
        fields = stat_fields(pid)
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
