"""Files that call themselves the same slice: copies where they hold the same, else two slices that contradict."""

from __future__ import annotations

import filecmp
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from core.readers.item import Item
from core.readers.series import Found

MAX_BYTES_PER_PIXEL = 2  # of the end of two files that is compared where their headers differ
MAX_COMPARED = 8  # a slice that claims to be one of more than these is none of them


def told_apart(found: Sequence[Found], paths: Sequence[Path]) -> list[Found]:
    """What was found, with another instance for a slice that claims to be one that it does not equal.

    Two such slices lie at one place then, and the series is refused unless its header tells them apart.
    """
    first: dict[tuple[object, ...], list[int]] = defaultdict(list)  # -> files with different content
    result = []
    for n, item in found:
        known = first[item.series, item.instance, item.part, item.position]
        few = enumerate(known[:MAX_COMPARED])
        same = next((k for k, other in few if other == n or _is_same(paths[other], paths[n], item)), None)
        if same is None:
            same = len(known)
            known.append(n)
        result.append((n, replace(item, instance=f"{item.instance}/{same}") if same else item))
    return result


def _is_same(one: Path, other: Path, item: Item) -> bool:
    """Whether two files are equal, or at least end alike, where the pixels are."""
    if filecmp.cmp(one, other, shallow=False):
        return True
    columns, rows = item.shape[:2]
    length = min(columns * rows * MAX_BYTES_PER_PIXEL, one.stat().st_size, other.stat().st_size)
    return length > 0 and _end(one, length) == _end(other, length)


def _end(path: Path, length: int) -> bytes:
    with path.open("rb") as stream:
        stream.seek(-length, 2)
        return stream.read()
