"""The safe side of decoding: starts the child process, asks it, and outlives it."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

import core
from core.errors import RefusedError, UnreadableImageError
from core.readers.item import Item, Part
from core.types import Volume
from core.workspace import Workspace

SCAN_SECONDS = 60.0
READ_SECONDS = 600.0
MEMORY_ROOM = 4 * 1024**3
MAX_REPLY_BYTES = 64 * 1024**2
_START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from core.readers.child import main; main()"


def _memory() -> str | None:
    """Where files lie in memory, if there is room for the largest volume; None for the usual place."""
    shared = "/dev/shm"
    try:
        return shared if shutil.disk_usage(shared).free > MEMORY_ROOM else None
    except OSError:
        return None


def no_leak(reply: dict[str, Any]) -> dict[str, int]:
    """The kinds that were left behind, of a reply to "check"; RefusedError where something was not."""
    if reply["leaks"]:
        raise RefusedError(
            "What would be stored holds a word of the patient's data; choose another name for case or modality.",
            "CANARY",
        )
    return dict(reply["dropped"])


class Decoder:
    """A context manager around one child process; a child that dies is replaced at the next request."""

    def __init__(self, workspace: Workspace) -> None:
        workspace.secret()  # made here, once: the child only reads it
        self._workspace = workspace
        self._folder = tempfile.TemporaryDirectory(prefix="decode-")
        self._hand_over = tempfile.TemporaryDirectory(prefix="decode-", dir=_memory())
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Decoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        self._folder.cleanup()
        self._hand_over.cleanup()

    def scan(self, path: Path) -> list[Item]:
        """The images in a file; raises UserErrors as its reader does, and for a child that died."""
        reply = self._ask({"do": "scan", "path": str(path)}, SCAN_SECONDS)
        return [Item.from_json(values) for values in reply["items"]]

    def read(self, parts: Sequence[Part], modality: str) -> Volume:
        """One volume of parts that belong together."""
        out = Path(self._hand_over.name) / "volume.npy"
        pairs = [(str(path), item.to_json()) for path, item in parts]
        request = {"do": "read", "reader": parts[0][1].reader, "modality": modality, "parts": pairs, "out": str(out)}
        facts = self._ask(request, READ_SECONDS)["volume"]
        data = np.asarray(np.load(out, mmap_mode="c", allow_pickle=False))  # no copy; the pages outlive the name
        out.unlink()
        affine = np.asarray(facts["affine"], float)
        return Volume(data, affine, facts["modality"], facts["unit"], tuple(facts["warnings"]))

    def check(self, paths: Sequence[Path], texts: Sequence[str]) -> dict[str, int]:
        """What these files leave behind, by kind.

        Raises:
            RefusedError: One of `texts`, which would be stored, holds identity of these files.
        """
        request = {"do": "check", "paths": [str(path) for path in paths], "texts": list(texts)}
        return no_leak(self._ask(request, READ_SECONDS))

    def _ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        process = self._running()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            reply: dict[str, Any] = json.loads(self._line(process, seconds))
        except (OSError, ValueError) as error:
            self._stop()
            raise UnreadableImageError(
                "Decoding the file failed badly or took too long, so it was stopped; the file is probably damaged.",
                "DECODER-DIED",
            ) from error
        if "error" in reply:
            kind = RefusedError if reply["error"]["refused"] else UnreadableImageError
            raise kind(reply["error"]["message"], reply["error"]["code"])
        return reply

    @staticmethod
    def _line(process: subprocess.Popen[bytes], seconds: float) -> bytes:
        """The child's next line; OSError when it dies, is silent for too long or says too much."""
        assert process.stdout is not None
        deadline, line = time.monotonic() + seconds, bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError("silent")
                piece = os.read(process.stdout.fileno(), 1 << 16)
                line += piece
                if not piece or len(line) > MAX_REPLY_BYTES:
                    raise OSError("gone")
        return bytes(line)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            root = str(Path(core.__file__).resolve().parent.parent)
            one_thread = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", _START, root, str(self._workspace.root.absolute())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=self._folder.name,
                env={"PATH": os.defpath, "TMPDIR": self._folder.name, "HOME": self._folder.name, **one_thread},
            )
        return self._process

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with suppress(OSError):  # what it had not read yet
                        pipe.close()
            self._process = None
