"""Pictures that are held back because text may be burned into them: the list of those that a person has looked at.

It has one line for each picture: its key, its label, its file's or folder's name; then, after a tab or two spaces,
boxes to blacken as `column,row,width,height`, separated by semicolons. `core.survey` draws the pictures.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from core.errors import InvalidConfigError
from core.intake import HELD_BACK
from core.readers.choice import Choice
from core.readers.item import Box
from core.readers.proposals import Proposal


@dataclass(frozen=True)
class Looked:
    """A line of the list: which picture, and what is blackened in it."""

    name: str
    blank: tuple[Box, ...] = ()


def read_list(text: str) -> list[Looked]:
    """The lines of a list; empty ones and those that begin with # are passed over.

    Raises:
        InvalidConfigError: A box is not four whole numbers; names the line.
    """
    looked = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, *rest = re.split(r"\t+| {2,}", line.strip(), maxsplit=1)
        looked.append(Looked(name.strip(), _boxes(rest[0] if rest else "", number)))
    return looked


def _boxes(text: str, line: int) -> tuple[Box, ...]:
    boxes = []
    for part in text.split(";"):
        if not part.strip():
            continue
        numbers = re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*", part)
        if numbers is None:
            raise InvalidConfigError(
                f"Line {line} of the list: a box is four whole numbers, column,row,width,height.", "REVIEWED-LIST"
            )
        column, row, width, height = (int(value) for value in numbers.groups())
        boxes.append((column, row, width, height))
    return tuple(boxes)


def released(proposals: Sequence[Proposal], looked: Sequence[Looked]) -> dict[str, Choice]:
    """The choices that let in what a person has looked at.

    Raises:
        InvalidConfigError: An entry names no held-back picture; says which entry, not its name.
    """
    choices: dict[str, Choice] = {}
    for number, entry in enumerate(looked, 1):
        named = [p for p in proposals if p.fate == HELD_BACK and entry.name in _names(p)]
        if not named and not any(entry.name in _names(p) for p in proposals):
            raise InvalidConfigError(
                f"Entry {number} of the list names no picture of this import. Write its label as the report shows it.",
                "REVIEWED-LIST",
            )
        for proposal in named:
            choices[proposal.key] = Choice(proposal.case, proposal.modality, reviewed=True, blank=entry.blank)
    return choices


def _names(proposal: Proposal) -> set[str]:
    parts = proposal.label.split("/")
    return {proposal.key, proposal.label, parts[-1], *("/".join(parts[:n]) for n in range(1, len(parts)))}
