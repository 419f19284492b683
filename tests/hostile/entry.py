"""One hostile or awkward input: its files, and what must become of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MARK_MM = np.array([-11.0, -24.0, 39.0])


@dataclass(frozen=True)
class Entry:
    """Files by name; the codes of which every file must get one ("": accepted without a note); and, where the image
    must be let in, that its highest value lies at MARK_MM."""

    files: dict[str, bytes]
    codes: set[str]
    is_marked: bool = False


def one(name: str, content: bytes, codes: set[str]) -> Entry:
    """A single file that must not become an image."""
    return Entry({name: content}, codes)
