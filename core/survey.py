"""Before an import: every image is decoded once, to be drawn small, and to tell what only its voxels can tell.

In the folder of a survey lie `proposals.json`, KEY.npz (an image on a coarser grid, for the page to draw) and
KEY-0000.png (each slice of what is held back, for somebody to look at).
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.errors import UserError
from core.intake import HELD_BACK, fate_of, read_image
from core.progress import Progress, silent
from core.readers.array import placed
from core.readers.choice import Choice
from core.readers.decoder import Decoder
from core.readers.files import Source, collected
from core.readers.item import Item
from core.readers.proposals import DUPLICATE, TWICE, Proposal, Row, propose
from core.readers.values import explain
from core.types import Volume
from core.workspace import Workspace, atomic_write, read_json, write_json

PROPOSALS = "proposals.json"
MAX_AXIS, MAX_VOXELS = 256, 4_000_000  # of an image that is drawn small
MAX_GLIMPSES_BYTES = 1024**3  # of all of them; the images behind that are listed, not drawn


@dataclass(frozen=True, eq=False)
class Glimpse:
    """An image on a coarser grid: every so many voxels along each axis."""

    volume: Volume
    steps: tuple[int, int, int]


def look(
    workspace: Workspace, paths: Sequence[Path], layout: str, folder: Path, progress: Progress = silent
) -> list[Proposal]:
    """What an import would make of `paths`, and every slice of every held-back picture drawn. Nothing is imported.

    The pictures show rows and columns as the file has them, so that boxes can be counted in them.

    Raises:
        NotFoundError: A path does not exist.
        RefusedError: Too many files.
    """
    return _each(workspace, paths, layout, progress, _Pictures(folder).held_back)


def survey(
    workspace: Workspace, paths: Sequence[Path], layout: str, folder: Path, progress: Progress = silent
) -> list[Proposal]:
    """The same, with every other image decoded too: drawn small, its unit, and what is wrong or doubtful with it."""
    return _each(workspace, paths, layout, progress, _Pictures(folder).image)


Visit = Callable[[Row, Sequence[Source], Decoder], Proposal]


def _each(workspace: Workspace, paths: Sequence[Path], layout: str, progress: Progress, visit: Visit) -> list[Proposal]:
    with collected(workspace, paths) as sources, Decoder(workspace) as decoder:
        rows = propose(sources, decoder, layout, lambda name: name, progress)
        result = []
        for done, row in enumerate(rows):
            progress(len(rows) + done, 2 * len(rows), f"Looking at image {done + 1} of {len(rows)}")
            result.append(visit(row, sources, decoder))
        return result


@dataclass
class _Pictures:
    """Where the pictures of one survey go, and how much room is left for them."""

    folder: Path
    left_bytes: int = MAX_GLIMPSES_BYTES

    def held_back(self, row: Row, sources: Sequence[Source], decoder: Decoder) -> Proposal:
        """The proposal as it is; drawn where it is held back."""
        if row.proposal.fate != HELD_BACK or not row.parts:
            return row.proposal
        return replace(row.proposal, slices=_draw(row, sources, decoder, self.folder))

    def image(self, row: Row, sources: Sequence[Source], decoder: Decoder) -> Proposal:
        """The proposal with what its voxels tell."""
        if not row.parts or row.proposal.fate == HELD_BACK:
            return self.held_back(row, sources, decoder)
        try:
            volume = read_image(row, sources, decoder)
        except UserError as error:
            told = replace(row.proposal, fate=fate_of(error), code=error.code, codes=(error.code,), message=str(error))
            failed = replace(told, include=False)
            return self.held_back(replace(row, proposal=failed), sources, decoder)
        self._keep(row.proposal.key, volume)
        return _told(row.proposal, volume)

    def _keep(self, key: str, volume: Volume) -> None:
        steps = _steps(volume.data.shape)
        data = np.ascontiguousarray(volume.data[:: steps[0], :: steps[1], :: steps[2]])
        self.left_bytes -= data.nbytes
        if self.left_bytes < 0:
            return
        stream = io.BytesIO()
        np.savez(stream, data=data, affine=volume.affine @ np.diag([*steps, 1.0]), steps=np.asarray(steps))
        atomic_write(self.folder / f"{key}.npz", stream.getvalue())


def _told(proposal: Proposal, volume: Volume) -> Proposal:
    """With the unit and the notes of the decoded image; that it is there twice stays said first."""
    is_twice = proposal.code == DUPLICATE
    codes = ((DUPLICATE,) if is_twice else ()) + volume.warnings
    message = " ".join(filter(None, [TWICE if is_twice else "", explain(volume.warnings)]))
    fate = "warned" if codes else "accepted"
    code = codes[0] if codes else ""
    return replace(proposal, unit=volume.unit, fate=fate, code=code, codes=codes, message=message)


def _steps(shape: Sequence[int]) -> tuple[int, int, int]:
    steps = [1, 1, 1]
    while True:
        lengths = [math.ceil(n / step) for n, step in zip(shape, steps, strict=True)]
        if max(lengths) <= MAX_AXIS and math.prod(lengths) <= MAX_VOXELS:
            return steps[0], steps[1], steps[2]
        steps[lengths.index(max(lengths))] += 1


def load_glimpse(folder: Path, proposal: Proposal) -> Glimpse | None:
    """An image as it was found; None where it was not drawn."""
    path = folder / f"{proposal.key}.npz"
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as stored:
        volume = Volume(stored["data"], stored["affine"], proposal.modality, proposal.unit or "a.u.")
        i, j, k = (int(step) for step in stored["steps"])
    return Glimpse(volume, (i, j, k))


def as_chosen(glimpse: Glimpse, choice: Choice) -> Volume:
    """An array's image as a person says that it lies: what the import would make of it, on the coarser grid.

    Raises:
        UserError: What was said cannot be, or does not fit the values.
    """
    shape = glimpse.volume.data.shape
    item = choice.applied(Item("array", shape, (1.0, 1.0, 1.0)))
    spacing = tuple(size * step for size, step in zip(item.spacing_mm, glimpse.steps, strict=True))
    return placed(glimpse.volume.data, replace(item, spacing_mm=spacing), choice.modality)


def save_proposals(proposals: Sequence[Proposal], folder: Path) -> None:
    """Keep the table beside its pictures."""
    write_json(folder / PROPOSALS, [asdict(proposal) for proposal in proposals])


def load_proposals(folder: Path) -> list[Proposal]:
    """What `save_proposals` kept."""
    rows: list[dict[str, Any]] = read_json(folder / PROPOSALS)
    return [_proposal({k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}) for row in rows]


def _proposal(values: dict[str, Any]) -> Proposal:
    return Proposal(**values)


def picture_name(key: str, number: int) -> str:
    """The file of one drawn slice."""
    return f"{key}-{number:04d}.png"


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


def _slices(row: Row) -> list[tuple[int, Item]]:
    """Each stored picture alone, without its place in the patient: rows and columns as in the file."""
    flat = [(n, replace(item, position=(), axes=(), warnings=(), reviewed=True)) for n, item in row.parts]
    first = row.parts[0][1]
    if first.moment >= 0:
        return [(n, replace(item, moment=-1, frames=1)) for n, item in flat]
    if first.frames == 1:
        return flat
    return [(flat[0][0], replace(flat[0][1], frame_index=n)) for n in range(first.frames)]


def _png(values: NDArray[np.float32]) -> bytes:
    """Grey from the least to the largest value: nothing that can be read is lost in a window."""
    low, high = float(values.min()), float(values.max())
    grey = np.rint((values - low) * (255.0 / max(high - low, 1e-12))).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(grey).save(stream, "PNG")
    return stream.getvalue()
