"""Pictures that are held back because text may be burned into them: to be looked at, blackened, and let in.

A list of what a person has looked at has one line for each picture: its key, its label, its file's or folder's name;
then, after a tab or two spaces, boxes to blacken as `column,row,width,height`, separated by semicolons.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.errors import InvalidConfigError, UserError
from core.progress import Progress, silent
from core.readers.choice import Box, Choice
from core.readers.decoder import Decoder
from core.readers.files import Source, collected
from core.readers.item import Item
from core.readers.proposals import Proposal, Row, propose
from core.workspace import Workspace, atomic_write, read_json, write_json

HELD_BACK = "quarantined"
PROPOSALS = "proposals.json"


@dataclass(frozen=True)
class Looked:
    """A line of the list: which picture, and what is blackened in it."""

    name: str
    blank: tuple[Box, ...] = ()


def look(
    workspace: Workspace, paths: Sequence[Path], layout: str, folder: Path, progress: Progress = silent
) -> list[Proposal]:
    """What an import would make of `paths`, and every slice of every held-back picture drawn as KEY-0000.png.

    The pictures show rows and columns as the file has them, so that boxes can be counted in them. Nothing is imported.

    Raises:
        NotFoundError: A path does not exist.
        RefusedError: Too many files.
    """
    with collected(workspace, paths) as sources, Decoder(workspace) as decoder:
        rows = propose(sources, decoder, layout, lambda name: name, progress)
        result = []
        for done, row in enumerate(rows):
            progress(len(rows) + done, 2 * len(rows), f"Drawing image {done + 1} of {len(rows)}")
            is_held_back = row.proposal.fate == HELD_BACK and bool(row.parts)
            drawn = _draw(row, sources, decoder, folder) if is_held_back else 0
            result.append(replace(row.proposal, slices=drawn))
    return result


def _draw(row: Row, sources: Sequence[Source], decoder: Decoder, folder: Path) -> int:
    drawn = 0
    for n, item in _slices(row):
        try:
            values = decoder.read([(sources[n].path, item)], "picture").data
        except UserError:
            continue  # the import refuses it with its reason
        atomic_write(folder / picture_name(row.proposal.key, drawn), _png(values[::-1, ::-1, 0].T))
        drawn += 1
    return drawn


def picture_name(key: str, number: int) -> str:
    """The file of one drawn slice."""
    return f"{key}-{number:04d}.png"


def save_proposals(proposals: Sequence[Proposal], folder: Path) -> None:
    """Keep the table beside its pictures."""
    write_json(folder / PROPOSALS, [asdict(proposal) for proposal in proposals])


def load_proposals(folder: Path) -> list[Proposal]:
    """What `save_proposals` kept."""
    rows: list[dict[str, Any]] = read_json(folder / PROPOSALS)
    return [_proposal({k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}) for row in rows]


def _proposal(values: dict[str, Any]) -> Proposal:
    return Proposal(**values)


def _slices(row: Row) -> list[tuple[int, Item]]:
    """Each stored picture alone, without its place in the patient: rows and columns as in the file."""
    flat = [(n, replace(item, position=(), axes=(), warnings=(), reviewed=True)) for n, item in row.parts]
    frames = row.parts[0][1].frames
    return flat if frames == 1 else [(flat[0][0], replace(flat[0][1], frame_index=n)) for n in range(frames)]


def _png(values: NDArray[np.float32]) -> bytes:
    """Grey from the least to the largest value: nothing that can be read is lost in a window."""
    low, high = float(values.min()), float(values.max())
    grey = np.rint((values - low) * (255.0 / max(high - low, 1e-12))).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(grey).save(stream, "PNG")
    return stream.getvalue()


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
