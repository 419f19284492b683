"""What a training needs to go on, on disk: a folder that is renamed when it is whole, and checked when it is read.

checkpoints/STEP/  tensors.safetensors   state.json   sha256.json (of the other two)
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor

FOLDER = "checkpoints"
SUMS = "sha256.json"
KEPT = 2  # the newest, and the one before it should the newest be broken


@dataclass(frozen=True)
class Checkpoint:
    """What was read back.

    Attributes:
        n_broken: How many newer ones were damaged and passed over.
    """

    step: int
    tensors: dict[str, Tensor] = field(repr=False)
    state: dict[str, Any] = field(repr=False)
    n_broken: int = 0


def write_checkpoint(run_folder: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Add a checkpoint and remove all but the newest two. The one before stays whole whatever happens meanwhile.

    Raises:
        OSError: The disk is full, for one; `core.disk` tells.
    """
    place = run_folder / FOLDER
    place.mkdir(parents=True, exist_ok=True)
    for left_over in place.glob(".draft-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    contents = {
        "tensors.safetensors": save_safetensors(
            {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        ),
        "state.json": json.dumps(dict(state)).encode(),
    }
    contents[SUMS] = json.dumps(
        {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    ).encode()
    draft = place / f".draft-{secrets.token_hex(4)}"
    draft.mkdir()
    try:
        for name, content in contents.items():
            _write(draft / name, content)
        _sync(draft)
        final = place / f"{step:08d}"
        shutil.rmtree(final, ignore_errors=True)  # of the same step: a start from it that did not get far
        os.rename(draft, final)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    _sync(place)
    for old in _newest_first(place)[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)


def read_checkpoint(run_folder: Path) -> Checkpoint | None:
    """The newest checkpoint that is whole; None where there is none."""
    for n_broken, folder in enumerate(_newest_first(run_folder / FOLDER)):
        with contextlib.suppress(OSError, ValueError, KeyError, SafetensorError):
            return _read(folder, n_broken)
    return None


def drop_newer(run_folder: Path, step: int) -> None:
    """Remove checkpoints after this step: damaged ones, or of a way that is not gone on."""
    for folder in _newest_first(run_folder / FOLDER):
        if int(folder.name) > step:
            shutil.rmtree(folder, ignore_errors=True)


def has_checkpoint(run_folder: Path) -> bool:
    return bool(_newest_first(run_folder / FOLDER))


def forget_checkpoints(run_folder: Path) -> None:
    """A training that reached its end needs none."""
    shutil.rmtree(run_folder / FOLDER, ignore_errors=True)


def _read(folder: Path, n_broken: int) -> Checkpoint:
    sums: dict[str, str] = json.loads((folder / SUMS).read_text())
    contents = {name: (folder / name).read_bytes() for name in ("tensors.safetensors", "state.json")}
    for name, content in contents.items():
        if hashlib.sha256(content).hexdigest() != sums[name]:
            raise ValueError(f"{name} is not what was written")
    tensors = load_safetensors(contents["tensors.safetensors"])
    return Checkpoint(int(folder.name), tensors, json.loads(contents["state.json"]), n_broken)


def _newest_first(place: Path) -> list[Path]:
    return sorted((path for path in place.glob("[0-9]*") if path.is_dir()), reverse=True) if place.is_dir() else []


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
