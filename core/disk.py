"""A full disk: noticed, said in a sentence, and survived by a little room that was set aside."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from core.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
CODE = "DISK-FULL"
RESERVE = ".reserve"
RESERVED_BYTES = 256 * 2**10  # for the last words of a job: its state, its line in the queue


def is_disk_full(error: OSError) -> bool:
    """Whether room is what was lacking: on the disk, in a quota, or for a single file."""
    return error.errno in FULL


def disk_full(detail: str = "") -> UserError:
    """What a person is told."""
    return UserError(" ".join(filter(None, ["The disk is full.", detail, "Make room, then go on."])), CODE)


@contextlib.contextmanager
def reserve(folder: Path) -> Iterator[None]:
    """Room that a job keeps until it ends, so that it can say how it ended.

    Raises:
        UserError: There is not even that much (code DISK-FULL).
    """
    path = folder / RESERVE
    try:
        path.write_bytes(bytes(RESERVED_BYTES))
    except OSError as error:
        path.unlink(missing_ok=True)
        if is_disk_full(error):
            raise disk_full() from error
        raise
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
