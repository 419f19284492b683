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
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

import core
from core.errors import RefusedError, UnreadableImageError, UserError
from core.progress import Progress, silent
from core.readers.item import Item, Part
from core.readers.room import handed_over
from core.types import Volume
from core.workspace import Workspace

SCAN_SECONDS = 60.0
READ_SECONDS = 600.0
MEMORY_ROOM = 4 * 1024**3
MAX_REPLY_BYTES = 64 * 1024**2
ASKED_AHEAD_BYTES = 8 * 1024
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
        self._unread = bytearray()  # what the child said beyond the reply that was taken

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

    def scan_all(self, paths: Sequence[Path], progress: Progress = silent) -> list[list[Item] | UserError]:
        """The images in each file, or what is wrong with it. The child is asked ahead, so that nobody waits."""
        found: list[list[Item] | UserError] = []
        ahead: deque[int] = deque()  # bytes of each request without a reply; they must fit into the pipe
        try:
            while len(found) < len(paths):
                asked = len(found) + len(ahead)
                if asked < len(paths) and sum(ahead) < ASKED_AHEAD_BYTES:
                    ahead.append(self._send({"do": "scan", "path": str(paths[asked])}))
                    continue
                progress(len(found), len(paths), f"Looking at file {len(found) + 1} of {len(paths)}")
                ahead.popleft()
                try:
                    found.append([Item.from_json(values) for values in self._reply(SCAN_SECONDS)["items"]])
                except UserError as error:
                    found.append(error)
                    ahead = ahead if self._process else deque()  # a new child has to be asked again
        finally:
            if ahead:
                self._stop()
        return found

    def read(self, parts: Sequence[Part], modality: str) -> Volume:
        """One volume of parts that belong together."""
        out = Path(self._hand_over.name) / "voxels"
        pairs = [(str(path), item.to_json()) for path, item in parts]
        request = {"do": "read", "reader": parts[0][1].reader, "modality": modality, "parts": pairs, "out": str(out)}
        facts = self._ask(request, READ_SECONDS)["volume"]
        data = handed_over(facts, out)
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
        self._send(request)
        return self._reply(seconds)

    def _send(self, request: dict[str, Any]) -> int:
        """Put a request into the child's pipe; how many bytes it took. A child that is gone is noticed by `_reply`."""
        pipe = self._running().stdin
        assert pipe is not None
        line = json.dumps(request).encode() + b"\n"
        with suppress(OSError):
            pipe.write(line)
            pipe.flush()
        return len(line)

    def _reply(self, seconds: float) -> dict[str, Any]:
        try:
            reply: dict[str, Any] = json.loads(self._line(self._running(), seconds))
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

    def _line(self, process: subprocess.Popen[bytes], seconds: float) -> bytes:
        """The child's next line; OSError when it dies, is silent for too long or says too much."""
        assert process.stdout is not None
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while (end := self._unread.find(b"\n")) < 0:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError("silent")
                piece = os.read(process.stdout.fileno(), 1 << 16)
                self._unread += piece
                if not piece or len(self._unread) > MAX_REPLY_BYTES:
                    raise OSError("gone")
        line = bytes(self._unread[: end + 1])
        del self._unread[: end + 1]
        return line

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
        self._unread.clear()
