"""Who waits, who runs, which attempt: one SQLite file beside the folders, which can be rebuilt from them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from core.jobs.order import Entry, Limits, fair_order, free_slot, is_ripe

FILE = "queue.sqlite"
COLUMNS = tuple(field.name for field in fields(Entry))
SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, owner TEXT NOT NULL,
    device TEXT NOT NULL, state TEXT NOT NULL, slot TEXT NOT NULL, attempt INTEGER NOT NULL, deaths INTEGER NOT NULL,
    created REAL NOT NULL, started REAL NOT NULL, ended REAL NOT NULL,
    pid INTEGER NOT NULL, pid_start INTEGER NOT NULL, beat REAL NOT NULL, reached INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS by_state ON jobs (state);
CREATE UNIQUE INDEX IF NOT EXISTS one_a_slot ON jobs (slot) WHERE state = 'running';
"""
KEPT = 500  # ended jobs whose times serve the estimates


class Superseded(Exception):
    """This attempt is no longer the one that counts: it must not write."""


def now_monotonic() -> float:
    """Seconds since boot, the same for all processes; stands still while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


class Queue:
    """The queue of one machine. Every change is one transaction, on disk before the call returns."""

    def __init__(self, base: Path) -> None:
        self.path = base / FILE

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=30, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            yield connection
        finally:
            connection.close()

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """One writer at a time; an exception undoes the whole change."""
        with self._open() as connection:
            if not _has_tables(connection):
                connection.executescript(SCHEMA)
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def is_intact(self) -> bool:
        """Whether SQLite finds no fault in the file."""
        try:
            with self._open() as connection:
                return bool(connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok")
        except sqlite3.OperationalError:  # busy, or the disk is full: that says nothing of the file
            return True
        except sqlite3.DatabaseError:
            return False

    def entries(self, *states: str) -> list[Entry]:
        """All jobs, or those in one of these states, in the order of asking."""
        if not self.path.exists():
            return []
        with self._open() as connection:
            return _select(connection, *states) if _has_tables(connection) else []

    def entry(self, key: str) -> Entry | None:
        if not self.path.exists():
            return None
        with self._open() as connection:
            return _select_one(connection, key) if _has_tables(connection) else None

    def add(self, entry: Entry, write: Callable[[], None], check: Callable[[Sequence[Entry]], None]) -> None:
        """Put a job at the end, or back into its place; `check` sees who waits, and may refuse by raising.

        What waits or runs already stays as it is.
        """
        with self._change() as connection:
            old = _select_one(connection, entry.key)
            if old is not None and old.state in ("queued", "running"):
                return
            check(_select(connection, "queued"))
            write()
            values = {name: getattr(entry, name) for name in COLUMNS if name != "seq"}
            marks = ", ".join(f":{name}" for name in values)
            again = "state = 'queued', slot = '', deaths = 0, reached = 0, pid = 0, beat = 0"
            connection.execute(
                f"INSERT INTO jobs ({', '.join(values)}) VALUES ({marks}) ON CONFLICT (key) DO UPDATE SET {again}",
                values,
            )
            connection.execute(
                "DELETE FROM jobs WHERE state NOT IN ('queued', 'running', 'paused')"
                " AND seq < (SELECT MAX(seq) FROM jobs) - ?",
                (KEPT,),
            )

    def claim(self, gpus: Sequence[int], limits: Limits) -> Entry | None:
        """Give the next job that finds a free slot a new attempt; None where nothing can start."""
        if not self.entries("queued"):
            return None
        with self._change() as connection:
            entries = _select(connection)
            running = [entry for entry in entries if entry.state == "running"]
            now = time.time()
            waiting = [entry for entry in entries if entry.state == "queued" and is_ripe(entry, now)]
            served = [entry for entry in entries if entry.state not in ("queued", "paused")]
            for entry in fair_order(waiting, served):
                if slot := free_slot(entry, running, gpus, limits):
                    connection.execute(
                        "UPDATE jobs SET state = 'running', slot = ?, attempt = attempt + 1, started = ?, pid = 0,"
                        " beat = ? WHERE seq = ?",
                        (slot, now, now_monotonic(), entry.seq),
                    )
                    return _select_one(connection, entry.key)
        return None

    def arrive(self, key: str, attempt: int, pid: int, pid_start: int) -> bool:
        """The worker of this attempt is there; False where it is no longer wanted."""
        with self._change() as connection:
            changed = connection.execute(
                "UPDATE jobs SET pid = ?, pid_start = ?, beat = ? WHERE key = ? AND attempt = ? AND state = 'running'",
                (pid, pid_start, now_monotonic(), key, attempt),
            )
            return changed.rowcount == 1

    def beat(self, key: str, attempt: int) -> bool:
        """A sign of life; False where this attempt does not count any more."""
        with self._change() as connection:
            changed = connection.execute(
                "UPDATE jobs SET beat = ? WHERE key = ? AND attempt = ? AND state = 'running'",
                (now_monotonic(), key, attempt),
            )
            return changed.rowcount == 1

    def is_superseded(self, key: str, attempt: int) -> bool:
        """Whether the queue knows the job and means another attempt, or none, to run."""
        entry = self.entry(key)
        return entry is not None and (entry.attempt, entry.state) != (attempt, "running")

    @contextmanager
    def publishing(self, key: str, attempt: int, state: str) -> Iterator[None]:
        """What is written inside counts only if this attempt still does; then the job is in that state.

        Raises:
            Superseded: Another attempt took over, or the job was ended from outside. Nothing was written.
        """
        with self._change() as connection:
            entry = _select_one(connection, key)
            if entry is None or entry.attempt != attempt or entry.state != "running":
                raise Superseded
            yield
            _settle(connection, entry, state)

    @contextmanager
    def settling(self, entry: Entry, state: str) -> Iterator[bool]:
        """Bring a job into a state from outside; yields False where somebody else was first, and then does nothing.

        entry: As it was last read; its deaths and what it reached are written too.
        """
        with self._change() as connection:
            now = _select_one(connection, entry.key)
            is_first = now is not None and (now.state, now.attempt) == (entry.state, entry.attempt)
            yield is_first
            if is_first:
                _settle(connection, entry, state)


def _has_tables(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'one_a_slot'").fetchone() is not None


def _settle(connection: sqlite3.Connection, entry: Entry, state: str) -> None:
    connection.execute(
        "UPDATE jobs SET state = ?, ended = ?, deaths = ?, reached = ?, slot = '', pid = 0 WHERE seq = ?",
        (state, time.time(), entry.deaths, entry.reached, entry.seq),
    )


def _select(connection: sqlite3.Connection, *states: str) -> list[Entry]:
    condition = f"WHERE state IN ({', '.join('?' * len(states))})" if states else ""
    rows = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM jobs {condition} ORDER BY seq", states)
    return [Entry(*row) for row in rows]


def _select_one(connection: sqlite3.Connection, key: str) -> Entry | None:
    row = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM jobs WHERE key = ?", (key,)).fetchone()
    return Entry(*row) if row else None
