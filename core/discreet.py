"""Faults in a log without what they quote: a path, a file's name or a header's value can name a patient."""

from __future__ import annotations

import logging
import re
import traceback
from types import TracebackType

_QUOTED = re.compile(r"(['\"`]).*?\1", re.DOTALL)
_PATHS = re.compile(r"\S*[/\\]\S*")
_NUMBERS = re.compile(r"\d{5,}")
_HIDDEN = "..."


def masked(text: str) -> str:
    """An error's message without what stands in quotes, paths and long numbers."""
    for pattern in (_QUOTED, _PATHS, _NUMBERS):
        text = pattern.sub(_HIDDEN, text)
    return text


def told(error: BaseException) -> str:
    """The traceback, with all that led to the error: our own lines in full, what errors say masked."""
    lines: list[str] = []
    seen: set[int] = set()
    now: BaseException | None = error
    while now is not None and id(now) not in seen:
        seen.add(id(now))
        frames = "".join(traceback.format_tb(now.__traceback__))
        lines.insert(0, f"{frames}{type(now).__name__}: {masked(str(now))}")
        now = now.__cause__ or (None if now.__suppress_context__ else now.__context__)
    return "\nwhich led to\n".join(lines)


class DiscreetFormatter(logging.Formatter):
    """For every handler that writes to a file or the terminal."""

    def formatException(  # noqa: N802 - logging's own name
        self, ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
    ) -> str:
        return told(ei[1]) if ei[1] is not None else ""
