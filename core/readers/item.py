"""What a scan tells of one image in a file, and the limits that hold before anything is allocated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Protocol

from core.deidentify import Pseudonym
from core.errors import RefusedError
from core.types import Volume

Box = tuple[int, int, int, int]  # column, row, width, height

MAX_VOLUME_BYTES = 2 * 1024**3
MAX_AXIS = 16_384
MAX_FRAMES = 5_000
HEADER_BYTES = 64 * 1024


@dataclass(frozen=True)
class Item:
    """One image, or one slice of a series. Whitelisted facts only.

    Attributes:
        part: which array or frame of the file.
        name: cleaned name of the part within its file; a label, never stored.
        shape: voxels along the file's own axes.
        unit, modality: "" where only names can tell.
        fate: "accepted", or why it goes no further: "quarantined", "rejected", "ignored"; then with code and message.
        patient, person, series, frame, instance: keyed hashes; equal where the originals are equal. A person is a
            name and a day of birth, which must not differ within a series.
        stack: "images" or "frames" where a person wants each picture or frame as a case of its own.
        traits, times: what tells the volumes of one series apart, and orders them; see `dicom_traits`.
        moment: which of the series' volumes the slice belongs to, where there are several; else -1.
        position, axes: DICOM's, LPS millimetres: first voxel's centre; directions along a row and along a column.
        frames, frame_index: how many frames the file holds without a place, or the series at the same places, and
            which is read (-1: any).
        tile: the box in the file's picture that holds the slice; () for all of it.
        reviewed, blank, axes_order, slope, intercept: what a person decided; see `Choice`.
    """

    reader: str
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...] = ()
    orientation: str = ""
    unit: str = ""
    modality: str = ""
    part: int = 0
    name: str = ""
    warnings: tuple[str, ...] = ()
    fate: str = "accepted"
    code: str = ""
    message: str = ""
    patient: str = ""
    person: str = ""
    series: str = ""
    frame: str = ""
    instance: str = ""
    stack: str = ""
    traits: tuple[str, ...] = ()
    times: tuple[float | None, ...] = ()
    moment: int = -1
    tile: Box | tuple[()] = ()
    position: tuple[float, ...] = ()
    axes: tuple[float, ...] = ()
    frames: int = 1
    frame_index: int = -1
    reviewed: bool = False
    blank: tuple[Box, ...] = ()
    axes_order: str = ""
    slope: float = 1.0
    intercept: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Item:
        known = {field.name for field in fields(Item)}
        found: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in known}
        return Item(**{**found, "blank": tuple(tuple(box) for box in values.get("blank", ()))})


Part = tuple[Path, Item]


class Reader(Protocol):
    """A file format: a module with these three functions, listed in `registry.READERS`."""

    def matches(self, head: bytes) -> bool:
        """Whether the first bytes (up to 4096; of a gzip, its content's) are of this format."""

    def scan(self, path: Path, pseudonym: Pseudonym) -> list[Item]:
        """The images in a file, from its header alone. Raises a UserError where the header is unfit."""

    def read(self, parts: Sequence[Part], modality: str) -> Volume:
        """One volume, in RAS, of the parts that belong together, in order."""


def check_size(shape: Sequence[int], bytes_per_voxel: int, code: str) -> int:
    """The number of bytes that `shape` takes, in Python integers.

    Raises:
        RefusedError: An axis is empty or longer than 16,384, or the image takes more than 2 GB.
    """
    total = bytes_per_voxel
    for length in shape:
        if not 1 <= length <= MAX_AXIS:
            raise RefusedError(f"An axis of the image has {length} voxels; 1 to {MAX_AXIS:,} are possible.", code)
        total *= int(length)
    if max(total, total // bytes_per_voxel * 4) > MAX_VOLUME_BYTES:
        raise RefusedError("The image takes more than 2 GB once decoded; crop or resample it first.", "TOO-LARGE")
    return total
