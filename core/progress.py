"""How long work tells that it advances, and is told to stop."""

from __future__ import annotations

from typing import Protocol


class Cancelled(Exception):
    """Raised inside `Progress` when the user asked to stop; the worker records it as such."""


class Paused(Cancelled):
    """Raised in its place when the work should rest and go on later."""


class Interrupted(Cancelled):
    """Raised in its place when the machine needs the process to end: the work goes on at the next start."""


class Progress(Protocol):
    """Called between units of work; raises `Cancelled` when the work should end."""

    def __call__(self, done: float, total: float, message: str = "") -> None:
        """`done` of `total` units are finished; `message` is one short line for the page."""


def silent(done: float, total: float, message: str = "") -> None:
    """A `Progress` for tests and scripts that do not watch."""


def part(progress: Progress, first: float, last: float) -> Progress:
    """A `Progress` for one part of a longer work, which is told in shares of 1."""

    def report(done: float, total: float, message: str = "") -> None:
        progress(first + (last - first) * done / max(total, 1e-9), 1.0, message)

    return report
