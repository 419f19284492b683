"""What was handed to a cluster: ray.json in the job's folder names the one submission that may write there.

Whoever hands the job over writes it, and takes it away to withdraw what was handed over; the worker only reads it.
"""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from core.workspace import atomic_write, read_json, write_json

FILE = "ray.json"
BEAT = "beat"  # changes as long as the worker lives


@dataclass(frozen=True)
class Handed:
    """submission: its name in the cluster, new for each hand-over."""

    attempt: int
    submission: str


def hand_over(folder: Path, attempt: int) -> Handed:
    """From now on this submission alone may write."""
    new = Handed(attempt, f"crossmodal-{folder.name}-{attempt}-{secrets.token_hex(4)}")
    write_json(folder / FILE, asdict(new))
    return new


def handed(folder: Path) -> Handed | None:
    """What was handed over last; None where that was withdrawn."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return Handed(**read_json(folder / FILE))
    return None


def handed_of(folder: Path, attempt: int) -> Handed | None:
    """What was handed over for this attempt."""
    found = handed(folder)
    return found if found is not None and found.attempt == attempt else None


def withdraw(folder: Path) -> None:
    (folder / FILE).unlink(missing_ok=True)


def give_sign(folder: Path, submission: str, number: int) -> None:
    if folder.exists():
        atomic_write(folder / BEAT, f"{submission} {number}".encode())


def sign_of(folder: Path, submission: str) -> str:
    """The last sign of life of this submission's worker; "" where there is none."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        text = (folder / BEAT).read_text()
        return text if text.split(" ")[0] == submission else ""
    return ""
