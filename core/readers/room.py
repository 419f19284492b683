"""Where a reader puts its voxels: in the decoding process straight into what is handed over, so nothing is copied."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from core.types import Array

POPULATED = getattr(mmap, "MAP_POPULATE", 0)  # Linux: all pages at once, not one fault for each
_places: list[Path] = []  # the file to hand over, until the first array took it
_arrays: list[Array] = []  # the array that lies in it


@contextmanager
def handed_over_in(path: Path) -> Iterator[None]:
    """The first array of `voxels` lies in this file."""
    _places.append(path)
    try:
        yield
    finally:
        _places.clear()
        _arrays.clear()


def voxels(shape: Sequence[int]) -> Array:
    """A float32 array to be filled, its last axis contiguous.

    Raises:
        MemoryError: There is no room for it.
    """
    if not _places:
        return np.empty(tuple(shape), np.float32)
    n_bytes = int(np.prod([int(length) for length in shape], dtype=object)) * 4
    with _places.pop().open("w+b") as stream:
        _reserve(stream.fileno(), n_bytes)
        content = mmap.mmap(stream.fileno(), n_bytes, flags=mmap.MAP_SHARED | POPULATED)
    array = np.frombuffer(content, np.float32).reshape(tuple(shape))
    _arrays.append(array)
    return array


def _reserve(descriptor: int, n_bytes: int) -> None:
    """Take the room now: writing into a mapping for which there is none would end the process."""
    if not hasattr(os, "posix_fallocate"):
        os.ftruncate(descriptor, n_bytes)
        return
    try:
        os.posix_fallocate(descriptor, 0, n_bytes)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise MemoryError from error
        raise


def hand_over(data: Array, path: Path) -> dict[str, Any]:
    """Have the voxels in the file, in the order that they lie in memory; shape and order, for `handed_over`."""
    order: Literal["F", "C"] = "F" if data.flags.f_contiguous else "C"
    if not (_arrays and _fills(data, _arrays[0])):
        path.unlink(missing_ok=True)  # the data may lie in it, in another order
        with path.open("wb") as stream:
            (data.T if order == "F" else np.ascontiguousarray(data)).tofile(stream)
    return {"shape": list(data.shape), "order": order}


def _fills(data: Array, array: Array) -> bool:
    is_compact = data.flags.f_contiguous or data.flags.c_contiguous
    return is_compact and data.nbytes == array.nbytes and data.ctypes.data == array.ctypes.data


def handed_over(facts: dict[str, Any], path: Path) -> Array:
    """The voxels in the file, not copied; their pages outlive its name."""
    return np.asarray(np.memmap(path, np.float32, "c", shape=tuple(facts["shape"]), order=facts["order"]))
