"""The right of one attempt to write to its job's folder, as long as nobody says otherwise."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from core.jobs.handed import Handed, give_sign, handed
from core.jobs.queue import Queue, Superseded

BEAT_EVERY_S = 5.0


class Alone:
    """The right to write where there is no queue: work in the caller's own process."""

    attempt = 0
    is_leaving = False
    is_here = True

    def check(self) -> None:
        pass

    @contextmanager
    def publishing(self, state: str) -> Iterator[None]:
        yield


class Ticket:
    """The queue says who may write; signs of life come from a thread."""

    is_here = True

    def __init__(self, queue: Queue, key: str, attempt: int) -> None:
        self.queue, self.key, self.attempt = queue, key, attempt
        self.is_leaving = False

    def check(self) -> None:
        """End this process at once, whatever it is doing, where another attempt took its place."""
        with contextlib.suppress(sqlite3.DatabaseError):  # a busy or broken file says nothing; the keeper mends it
            if self.queue.is_superseded(self.key, self.attempt):
                os._exit(0)  # no `finally` may write what is stale

    def publishing(self, state: str) -> AbstractContextManager[None]:
        return self.queue.publishing(self.key, self.attempt, state)

    def keep_alive(self) -> None:
        """Give signs of life as long as the process lives."""
        while True:
            time.sleep(BEAT_EVERY_S)
            self.check()
            with contextlib.suppress(sqlite3.DatabaseError):
                self.queue.beat(self.key, self.attempt)


class FarTicket:
    """On a cluster the job's folder says who may write: SQLite's queue cannot be shared over a network.

    The keeper, who sees that the worker has ended, tells the queue what its last word was.
    """

    is_here = False

    def __init__(self, folder: Path, mine: Handed) -> None:
        self.folder, self.mine, self.attempt = folder, mine, mine.attempt
        self.is_leaving = False

    @property
    def counts(self) -> bool:
        return handed(self.folder) == self.mine

    def check(self) -> None:
        """End this process at once where it was withdrawn, or another attempt took its place."""
        with contextlib.suppress(OSError):  # storage that does not answer says nothing
            if not self.counts:
                os._exit(0)

    @contextmanager
    def publishing(self, state: str) -> Iterator[None]:
        """Raises:
        Superseded: Another attempt took over, or the job was ended from outside.
        """
        if not self.counts:
            raise Superseded
        yield

    def keep_alive(self) -> None:
        """Give signs of life as long as the process lives."""
        number = 0
        while True:
            self.check()
            with contextlib.suppress(OSError):
                give_sign(self.folder, self.mine.submission, number)
            number += 1
            time.sleep(BEAT_EVERY_S)
