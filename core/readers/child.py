"""The process that decodes: it answers one request a line, within limits on memory, time and file size.

Requests (JSON): {"do": "scan", "path"}, {"do": "read", "reader", "modality", "parts": [[path, item]], "out"},
{"do": "check", "paths", "texts"}.
Replies: {"items": [...]}, {"volume": {...}} with the voxels in the file `out`, {"leaks", "dropped"}, or
{"error": {"code", "message"}}.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.errors import RefusedError, UnreadableImageError, UserError
from core.readers.canaries import collect, leaks
from core.readers.item import Item
from core.readers.registry import READERS, scan_file
from core.readers.room import hand_over, handed_over_in
from core.types import Volume
from core.workspace import Workspace

MEMORY_BYTES = 8 * 1024**3
FILE_BYTES = 3 * 1024**3
CPU_SECONDS = 300  # for one request


def main() -> None:
    """Serve standard input until it ends. The single argument is the workspace, for its pseudonyms."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whatever a decoder prints goes nowhere
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pseudonym = lru_cache(100_000)(Workspace(Path(sys.argv[1])).pseudonym)
    for line in sys.stdin:
        _renew_cpu_limit()
        replies.write(json.dumps(_answer(json.loads(line), pseudonym)) + "\n")
        replies.flush()


def _renew_cpu_limit() -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + CPU_SECONDS, resource.RLIM_INFINITY))


def _answer(request: dict[str, Any], pseudonym: Callable[[str], str]) -> dict[str, Any]:
    try:
        if request["do"] == "scan":
            return {"items": [item.to_json() for item in scan_file(Path(request["path"]), pseudonym)]}
        if request["do"] == "check":
            return check(request["paths"], request["texts"])
        parts = [(Path(path), Item.from_json(item)) for path, item in request["parts"]]
        out = Path(request["out"])
        with handed_over_in(out):
            return _store(READERS[request["reader"]].read(parts, request["modality"]), out)
    except UserError as error:
        return _error(error)
    except MemoryError:
        return _error(RefusedError("The image needs more memory than one file may take.", "TOO-LARGE"))
    except Exception:  # noqa: BLE001  a decoder may raise anything on damaged input; its text may quote the header
        return _error(UnreadableImageError("The file is damaged, or of a variant that cannot be read.", "DAMAGED"))


def check(paths: Sequence[str], texts: Sequence[str]) -> dict[str, Any]:
    """How many of the texts that would be stored hold identity of these files, and what was left behind, by kind."""
    canaries = collect(Path(path) for path in paths)
    return {"leaks": leaks(canaries, texts), "dropped": dict(canaries.dropped)}


def _error(error: UserError) -> dict[str, Any]:
    return {"error": {"code": error.code, "message": str(error), "refused": isinstance(error, RefusedError)}}


def _store(volume: Volume, out: Path) -> dict[str, Any]:
    facts = {"affine": volume.affine.tolist(), "modality": volume.modality, "unit": volume.unit}
    return {"volume": {**facts, "warnings": list(volume.warnings), **hand_over(volume.data, out)}}
