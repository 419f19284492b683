"""Files on their way in: staged under workspace/uploads/ID with harmless names, removed after the import.

Folders of this machine that the operator has listed in $CROSSMODAL_DATA_FOLDERS can be imported in place, by name.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from core.disk import disk_full, is_disk_full
from core.errors import NotFoundError, RefusedError
from core.workspace import GUESTS, Workspace, new_id, read_json, safe_name

LABELS = "labels.json"  # in an import's job folder, until the page has read it
MAX_FILES = 5_000
MAX_BYTES = 4 * 1024**3
QUOTA, SERVER_QUOTA = "CROSSMODAL_UPLOAD_QUOTA_GB", "CROSSMODAL_SERVER_UPLOAD_QUOTA_GB"  # of what waits
KEPT_FREE_BYTES = 512 * 1024**2
FORGOTTEN_AFTER_S = 24 * 3600.0
_HARMLESS = re.compile(r"[^A-Za-z0-9._ +-]")


def stage(workspace: Workspace, files: Iterable[tuple[str, BinaryIO]]) -> str:
    """Write uploaded files (relative name, stream) into a fresh folder; returns its id.

    Folder names are kept as far as they are harmless: they tell which images belong together.

    Raises:
        RefusedError: More than 5,000 files or 4 GB; or the uploads that wait take all that they may.
        UserError: The disk is full.
    """
    upload = new_id("upload")
    folder = workspace.uploads / upload
    limits = _limits(workspace)
    folder.mkdir(parents=True)
    total = 0
    try:
        for n, (name, stream) in enumerate(files):
            if n >= MAX_FILES:
                raise RefusedError("An upload holds 5,000 files at most. Upload it in parts.", "UPLOAD-TOO-MANY")
            total += _write(stream, _place(folder, name))
            for room, refusal in limits:
                if total > room:
                    raise refusal
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError) and is_disk_full(error):
            raise disk_full("Nothing of this upload was kept.") from error
        raise
    return upload


def _write(stream: BinaryIO, target: Path) -> int:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as out:
        shutil.copyfileobj(stream, out, 1024 * 1024)
    return target.stat().st_size


def _limits(workspace: Workspace) -> list[tuple[float, RefusedError]]:
    """How many bytes may come in, and what is said when they are more: of an upload, a user, the server, its disk."""
    own, all_uploads = _waiting(workspace.root), _waiting(workspace.base)
    all_uploads += sum(_waiting(guest) for guest in (workspace.base / GUESTS).glob("*"))
    quota, server = _gigabytes(QUOTA, 8.0), _gigabytes(SERVER_QUOTA, 64.0)
    free = shutil.disk_usage(_existing(workspace.root)).free
    mine = (
        f"Your uploads that wait for an import take {own / 1e9:.1f} of {quota / 1e9:g} GB; this one is too much. "
        "Import them, or choose other files in their place. What nobody imports is removed after a day."
    )
    return [
        (MAX_BYTES, RefusedError("An upload holds 4 GB at most. Upload it in parts.", "UPLOAD-TOO-LARGE")),
        (quota - own, RefusedError(mine, "UPLOAD-QUOTA")),
        (
            server - all_uploads,
            RefusedError("This server holds too many uploads just now. Try later.", "UPLOAD-SERVER"),
        ),
        (free - KEPT_FREE_BYTES, RefusedError("This server's disk has no room for it. Upload less.", "UPLOAD-DISK")),
    ]


def _gigabytes(variable: str, usual: float) -> float:
    try:
        return float(os.environ.get(variable, usual)) * 1e9
    except ValueError:
        return usual * 1e9


def _waiting(root: Path) -> int:
    """Bytes of all uploads in a workspace."""
    total = 0
    for path in (root / "uploads").rglob("*"):
        with suppress(FileNotFoundError):  # just imported, or put away
            total += path.lstat().st_size if path.is_file() else 0
    return total


def _existing(folder: Path) -> Path:
    return folder if folder.exists() else _existing(folder.parent)


def staged(workspace: Workspace, upload: str) -> Path:
    """The folder of an upload.

    Raises:
        NotFoundError: It was imported or discarded already.
    """
    folder = workspace.uploads / safe_name(upload)
    if not folder.is_dir():
        raise NotFoundError("This upload is no longer there. Choose the files again.", "UPLOAD-GONE")
    return folder


def server_folders() -> dict[str, Path]:
    """Name -> folder, for every folder in $CROSSMODAL_DATA_FOLDERS (separated by ':') and those right inside it."""
    listed = [Path(text) for text in os.environ.get("CROSSMODAL_DATA_FOLDERS", "").split(os.pathsep) if text]
    found: dict[str, Path] = {}
    for folder in (folder for folder in listed if folder.is_dir()):
        found.setdefault(folder.name, folder)
        for inner in sorted(folder.iterdir()):
            if inner.is_dir() and not inner.is_symlink() and inner.name[0] != ".":
                found.setdefault(f"{folder.name}/{inner.name}", inner)
    return found


def server_folder(name: str) -> Path:
    """The listed folder of that name.

    Raises:
        RefusedError: It is not listed.
    """
    folders = server_folders()
    if name not in folders:
        raise RefusedError("This folder is not offered on this server. Choose one from the list.", "FOLDER-NOT-LISTED")
    return folders[name]


def take_labels(folder: Path) -> list[str]:
    """The labels of an import's files, in the order of its report; the first reader takes them, then they are gone."""
    path = folder / LABELS
    if not path.exists():
        return []
    labels: list[str] = read_json(path)
    path.unlink(missing_ok=True)
    return labels


def discard_forgotten(workspace: Workspace) -> None:
    """Remove uploads that nobody imported, and labels that nobody read, for a day: they may name patients."""
    forgotten = (*workspace.uploads.glob("upload-*"), *workspace.uploads.glob("look-*"))
    for path in (*forgotten, *workspace.jobs.glob(f"*/{LABELS}")):
        if time.time() - path.stat().st_mtime < FORGOTTEN_AFTER_S:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def looks(workspace: Workspace, upload: str) -> Path:
    """Where the table and the held-back pictures of an upload wait for a person; gone with the upload."""
    return workspace.uploads / f"look-{safe_name(upload)}"


def discard(workspace: Workspace, upload: str) -> None:
    """Remove an upload's files, and what was drawn of them."""
    shutil.rmtree(workspace.uploads / safe_name(upload), ignore_errors=True)
    shutil.rmtree(looks(workspace, upload), ignore_errors=True)


def _place(folder: Path, name: str) -> Path:
    """Where a file of that name goes: never outside the folder, never over another file."""
    parts = [_HARMLESS.sub("_", part)[-80:].lstrip(".") for part in name.replace("\\", "/").split("/")]
    target = folder.joinpath(*([part for part in parts if part.strip(" _")][-6:] or ["file"]))
    n = 1
    while target.exists():
        n += 1
        target = target.with_name(f"{n}-{target.name}")
    return target
