"""Vendors' private values that are read, then dropped. Found by their creator's name: others use the same numbers."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag

BLOCKS = range(0x10, 0x14)  # where a creator may have reserved its numbers


@dataclass(frozen=True)
class Private:
    """Which value: its creator, the group, and the number within the creator's block."""

    creator: str
    group: int
    element: int

    def tags(self) -> list[BaseTag]:
        """Every place where it may stand, with those where its creator may be named."""
        places = [(block, block << 8 | self.element) for block in BLOCKS]
        return [Tag(self.group, element) for place in places for element in place]


SIEMENS_B_VALUE = Private("SIEMENS MR HEADER", 0x0019, 0x0C)
SIEMENS_GRADIENT = Private("SIEMENS MR HEADER", 0x0019, 0x0E)
SIEMENS_TILES = Private("SIEMENS MR HEADER", 0x0019, 0x0A)
SIEMENS_CSA = Private("SIEMENS CSA HEADER", 0x0029, 0x10)  # long, so read for mosaics only
GE_B_VALUE = Private("GEMS_PARM_01", 0x0043, 0x39)
GE_COMPONENT = Private("GEMS_PARM_01", 0x0043, 0x2F)
GE_SCAN_START = Private("GEMS_PETD_01", 0x0009, 0x0D)
PHILIPS_B_VALUE = Private("Philips Imaging DD 001", 0x2001, 0x03)
PHILIPS_SUV = Private("Philips PET Private Group", 0x7053, 0x00)
PHILIPS_ACTIVITY = Private("Philips PET Private Group", 0x7053, 0x09)
READ = (
    SIEMENS_B_VALUE, SIEMENS_GRADIENT, SIEMENS_TILES, GE_B_VALUE, GE_COMPONENT, GE_SCAN_START, PHILIPS_B_VALUE,
    PHILIPS_SUV, PHILIPS_ACTIVITY,
)  # fmt: skip


def private_value(dataset: Dataset, private: Private) -> Any:
    """The value as the file has it; None where it, or its creator, is absent."""
    for block in BLOCKS:
        creator, tag = Tag(private.group, block), Tag(private.group, block << 8 | private.element)
        if creator in dataset and tag in dataset and _text(dataset[creator].value) == private.creator:
            return dataset[tag].value
    return None


def private_text(dataset: Dataset, private: Private) -> str:
    """As text, which may come as plain bytes; "" where it is absent."""
    value = private_value(dataset, private)
    return "" if value is None else _text(value)


def private_numbers(dataset: Dataset, private: Private) -> tuple[float, ...]:
    """As finite numbers, written as text or as doubles; () where it is absent or none."""
    value = private_value(dataset, private)
    if value is None:
        return ()
    try:
        if isinstance(value, bytes) and len(value) % 8 == 0 and not _is_text(value):
            found = struct.unpack(f"<{len(value) // 8}d", value)
        else:
            many = value if isinstance(value, MultiValue | list | tuple) else _text(value).split("\\")
            found = tuple(float(part) for part in many)
    except (TypeError, ValueError):
        return ()
    return found if all(math.isfinite(number) for number in found) else ()


def private_number(dataset: Dataset, private: Private) -> float | None:
    """The first of its numbers; None where it is absent or none."""
    found = private_numbers(dataset, private)
    return found[0] if found else None


def _text(value: object) -> str:
    return (value.decode("latin-1") if isinstance(value, bytes) else str(value)).strip("\0 ")


def _is_text(value: bytes) -> bool:
    return all(0x20 <= byte < 0x7F or byte == 0 for byte in value) and any(value)
