"""What was read of a file is remembered until the file is written anew, for all hard links of it at once."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from threading import Lock
from typing import Any, Concatenate, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")
SETTLED_NS = 50_000_000  # a file so young could be written anew within one tick of its clock, and look the same


def file_stamp(path: Path) -> str:
    """Changes when the file is written anew; all visitors' links to one file have the same.

    Raises:
        FileNotFoundError: There is no such file.
    """
    return _stamp_and_age(path)[0]


def remembered(
    at_most: int = 256,
) -> Callable[[Callable[Concatenate[Path, P], T]], Callable[Concatenate[Path, P], T]]:
    """For a function of a file's content, which then reads a file once. What it returns is nobody's to change.

    Args:
        at_most: answers that are remembered; the one that was not asked for the longest goes first.
    """

    def wrap(read: Callable[Concatenate[Path, P], T]) -> Callable[Concatenate[Path, P], T]:
        known: OrderedDict[Any, T] = OrderedDict()
        lock = Lock()

        @wraps(read)
        def of(path: Path, /, *args: P.args, **kwargs: P.kwargs) -> T:
            stamp, age_ns = _stamp_and_age(path)
            key = (stamp, args, tuple(kwargs.items()))
            with lock:
                if key in known:
                    known.move_to_end(key)
                    return known[key]
            answer = read(path, *args, **kwargs)
            if age_ns > SETTLED_NS and _is_still(path, stamp):
                with lock:
                    known[key] = answer
                    while len(known) > at_most:
                        known.popitem(last=False)
            return answer

        return of

    return wrap


def _is_still(path: Path, stamp: str) -> bool:
    """Whether what was read since is of that stamp: another file may have come to lie there meanwhile."""
    with suppress(FileNotFoundError):
        return file_stamp(path) == stamp
    return False


def _stamp_and_age(path: Path) -> tuple[str, int]:
    found = path.stat()
    return f"{found.st_dev}-{found.st_ino}-{found.st_mtime_ns}-{found.st_size}", time.time_ns() - found.st_mtime_ns
