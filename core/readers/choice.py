"""What a person decides for one row of the import's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from core.errors import InvalidConfigError
from core.readers.item import Box, Item
from core.readers.proposals import Proposal


@dataclass(frozen=True)
class Choice:
    """The case and modality of an image, and what its file does not say.

    Attributes:
        include: whether it is imported at all.
        reviewed: a person has looked and found no name or date in the picture.
        blank: (column, row, width, height) in the file's pixels, blackened before anything else.
        frame: which frame of several, counted from 0; -1 leaves it to the reader.
        each_frame: every frame becomes a case of its own.
        axes: where the axes of an array run to, such as "LPS"; "" as they are.
        spacing_mm: along those axes; () as the file says.
        slope, intercept: value = stored * slope + intercept, for arrays.
    """

    case: str = ""
    modality: str = ""
    include: bool = True
    reviewed: bool = False
    blank: tuple[Box, ...] = ()
    frame: int = -1
    each_frame: bool = False
    axes: str = ""
    spacing_mm: tuple[float, ...] = ()
    slope: float = 1.0
    intercept: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Choice:
        known = {field.name for field in fields(Choice)}
        found: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in known}
        return Choice(**{**found, "blank": tuple(tuple(box) for box in values.get("blank", ()))})

    def applied(self, item: Item) -> Item:
        """The item as it is to be read."""
        values: dict[str, Any] = {"reviewed": self.reviewed, "blank": self.blank}
        if self.frame >= 0:
            values["frame_index"] = self.frame
        if self.each_frame:
            values["stack"] = "frames"
        if item.reader == "array":
            values |= {"axes_order": self.axes, "slope": self.slope, "intercept": self.intercept}
            if self.spacing_mm:
                known = tuple(code for code in item.warnings if code != "NO-SPACING")
                values |= {"spacing_mm": self.spacing_mm, "warnings": known}
        return replace(item, **values)


EACH = "each"


def with_frame(proposals: Sequence[Proposal], choices: Mapping[str, Choice], frame: str) -> dict[str, Choice]:
    """The choices with one frame, or each, of everything that holds several.

    Raises:
        InvalidConfigError: `frame` is neither a number from 0 nor "each".
    """
    if frame != EACH and not (frame.isascii() and frame.isdigit()):
        raise InvalidConfigError(f"The frame is a number counted from 0, or {EACH}.", "FRAME")
    told = {"each_frame": True} if frame == EACH else {"frame": int(frame)}
    chosen = {p.key: choices.get(p.key, Choice(p.case, p.modality)) for p in proposals if p.frames > 1}
    return {**choices, **{key: replace(choice, **told) for key, choice in chosen.items()}}
