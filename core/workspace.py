"""Where things lie on disk: the folders, safe names, atomic writes, the workspace's secret."""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import math
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from core.errors import InvalidConfigError

GUESTS = "workspaces"
NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"  # of a folder


def safe_name(text: str) -> str:
    """`text` itself when it can be a folder's name: letters, digits, '-' and '_', 64 at most.

    Raises:
        InvalidConfigError: Anything else; nothing is silently replaced.
    """
    if not re.fullmatch(NAME, text):
        raise InvalidConfigError(
            "A name has 1 to 64 letters, digits, '-' or '_', and starts with a letter or digit.", "NAME"
        )
    return text


def atomic_write(path: Path, content: bytes) -> None:
    """Write beside, flush, rename: a reader sees the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with draft.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(path.parent)


@contextmanager
def drafted(path: Path) -> Iterator[BinaryIO]:
    """A stream to a file beside, for what is too large for memory: it gets its name once all went well."""
    draft = path.with_name(f".{path.name}.draft")
    try:
        with draft.open("wb") as stream:
            yield stream
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time: others wait. The kernel frees the lock of a process that dies."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def plain(value: Any) -> Any:
    """`value` as JSON has it: NaN and infinities become null, tuples lists, numpy scalars numbers."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def digest_of(value: Any) -> str:
    """64 bits of a SHA-256 over `value` as JSON, in hexadecimal digits."""
    return hashlib.sha256(json.dumps(plain(value), sort_keys=True).encode()).hexdigest()[:16]


def write_json(path: Path, value: Any) -> None:
    """Atomically write `value` as strict JSON (no NaN)."""
    atomic_write(path, json.dumps(plain(value), indent=1, allow_nan=False).encode())


def read_json(path: Path) -> Any:
    """What `write_json` wrote."""
    return json.loads(path.read_text())


def new_id(prefix: str) -> str:
    """A fresh id that cannot be guessed and says nothing: `run-3f9c...` (64 random bits)."""
    return f"{prefix}-{secrets.token_hex(8)}"


@dataclass(frozen=True)
class Workspace:
    """One folder with all that a person made.

    cohorts/NAME/CASE/MODALITY.nii + case.json   images as they came in, without identity
    datasets/NAME/                               prepared arrays on one grid
    runs/ID/                                     trainings: the job folder is the run
    jobs/ID/                                     other long work (ingest, prepare, embed, evaluate, demo)
    uploads/ID/                                  what is being imported; removed afterwards
    judges/                                      frozen networks that judge syntheses; can be trained again
    """

    root: Path

    @staticmethod
    def default() -> Workspace:
        """`$CROSSMODAL_WORKSPACE`, else ./workspace."""
        return Workspace(Path(os.environ.get("CROSSMODAL_WORKSPACE", "workspace")).absolute())

    @property
    def base(self) -> Path:
        """The folder that this machine's workspaces share, with their queue: a guest's lies inside the default one."""
        shared = self.root.parent.parent
        is_guest = self.root.parent.name == GUESTS and shared == Workspace.default().root
        return shared if is_guest else self.root

    @property
    def owner(self) -> str:
        """Whose turn it is in the queue: the workspace's name; "" for the machine's own."""
        return "" if self.base == self.root else self.root.name

    @property
    def cohorts(self) -> Path:
        return self.root / "cohorts"

    @property
    def datasets(self) -> Path:
        return self.root / "datasets"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def jobs(self) -> Path:
        return self.root / "jobs"

    @property
    def uploads(self) -> Path:
        return self.root / "uploads"

    @property
    def judges(self) -> Path:
        return self.root / "judges"

    def secret(self) -> bytes:
        """The key of this workspace's pseudonyms, made on first use, readable by the owner only."""
        path = self.root / ".secret"
        if not path.exists():
            self.root.mkdir(parents=True, exist_ok=True)
            draft = self.root / f".secret.{secrets.token_hex(4)}"
            draft.touch(mode=0o600)
            with draft.open("wb") as stream:
                stream.write(secrets.token_bytes(32))
                stream.flush()
                os.fsync(stream.fileno())  # an empty key after a power cut would be everybody's
            try:
                os.link(draft, path)  # fails when another process was first: then its secret holds
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        return path.read_bytes()

    def pseudonym(self, text: str) -> str:
        """HMAC-SHA256 of `text` under the secret, 12 hex digits: a person keeps theirs, nobody can invert it."""
        return hmac.new(self.secret(), text.encode(errors="surrogatepass"), hashlib.sha256).hexdigest()[:12]
