"""Which slices make one volume, and in which order: by where they lie, never by their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.readers.item import Item

Found = tuple[int, Item]


@dataclass(frozen=True)
class Series:
    """Slices that belong together.

    Attributes:
        members: all its slices, in the order found.
        parts: those that are read, along the normal.
        item: the whole: shape, geometry, modality, fate.
    """

    members: tuple[Found, ...]
    parts: tuple[Found, ...]
    item: Item


def arrange(found: Sequence[Found]) -> list[Series]:
    return []
