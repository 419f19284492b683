"""One image of an import, read and doubted: the table before an import tells what the import itself will find."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from core.errors import UserError
from core.preprocess.faces import with_face_check
from core.readers.decoder import Decoder
from core.readers.files import Source
from core.readers.proposals import Row
from core.types import Volume

HELD_BACK = "quarantined"
BURNED_IN = ("BURNED-IN-UNCHECKED", "BURNED-IN-TEXT")
THERE_ALREADY = "ALREADY-THERE"


def read_image(row: Row, sources: Sequence[Source], decoder: Decoder) -> Volume:
    """The image of a row, decoded in the child process, with all that is doubtful about it.

    Raises:
        UserError: It is no usable image, or needs to be looked at first; see `fate_of`.
    """
    parts = [(sources[n].path, item) for n, item in row.parts]
    volume = decoder.read(parts, row.proposal.modality)
    chosen = {"FRAME-CHOSEN", "TIME-POINTS"} if row.parts[0][1].frame_index >= 0 else set()
    extra = [code for code in row.parts[0][1].warnings if code not in {*volume.warnings, *chosen}]
    return with_face_check(replace(volume, warnings=(*volume.warnings, *extra)))


def fate_of(error: UserError) -> str:
    """What becomes of an image that could not be stored."""
    if error.code in BURNED_IN:
        return HELD_BACK
    return "ignored" if error.code == THERE_ALREADY else "rejected"
