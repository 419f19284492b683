"""Visitors' own workspaces on a shared server: folders that nobody can guess, with a quota, kept while they are used.

What several visitors have in common (the demo, equal results) is stored once: their folders hold hard links to it, and
since all files are written beside and renamed, a change stays with who makes it.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from contextlib import suppress
from pathlib import Path

from core.errors import RefusedError
from core.workspace import GUESTS, Workspace, new_id

VISITORS = "CROSSMODAL_VISITORS"  # "apart": each visitor gets a workspace; else all work in the machine's own
QUOTA = "CROSSMODAL_GUEST_QUOTA_GB"
KEEP = "CROSSMODAL_GUEST_DAYS"  # without a visit
USUAL_QUOTA_GB, USUAL_DAYS = 10.0, 30.0
DAY_S = 24 * 3600.0
VISIT = ".visited"
VISIT_EVERY_S = 60.0
REMOVED = ".removed"
GROWING = (".jsonl", ".txt")  # lines are added to these in place: they are copied
_TOKEN = re.compile(r"[0-9a-f]{32}")


def are_apart() -> bool:
    """Whether each visitor gets a workspace of their own."""
    return os.environ.get(VISITORS, "") == "apart"


def new_token() -> str:
    """The name of a new workspace: 128 random bits."""
    return secrets.token_hex(16)


def is_token(text: str) -> bool:
    return _TOKEN.fullmatch(text) is not None


def guest(name: str) -> Workspace:
    """The workspace of that name inside the machine's own."""
    return Workspace(Workspace.default().root / GUESTS / name)


def visit(workspace: Workspace) -> None:
    """Remember that somebody was here; a workspace in which nothing was made leaves no trace."""
    path = workspace.root / VISIT
    if workspace.owner and workspace.root.is_dir() and time.time() - last_visit(workspace) > VISIT_EVERY_S:
        with suppress(OSError):  # a full disk: the folder's own time stands for it
            path.touch()


def last_visit(workspace: Workspace) -> float:
    """When a page was last opened in it; 0 where none was."""
    with suppress(FileNotFoundError):
        return (workspace.root / VISIT).stat().st_mtime
    return 0.0


def keep_days() -> float:
    """How long a workspace is kept without a visit; 0: for ever."""
    return _number(KEEP, USUAL_DAYS)


def is_forgotten(workspace: Workspace) -> bool:
    """Whether nobody has been in it for longer than it is kept."""
    with suppress(FileNotFoundError):
        seen = last_visit(workspace) or workspace.root.stat().st_mtime
        return bool(keep_days()) and time.time() - seen > keep_days() * DAY_S
    return False


def quota_bytes() -> float:
    return _number(QUOTA, USUAL_QUOTA_GB) * 1e9


def own_bytes(workspace: Workspace) -> int:
    """What a workspace takes up; files that others share do not count."""
    total = 0
    for folder, _, names in os.walk(workspace.root):
        for name in names:
            with suppress(FileNotFoundError):
                facts = os.lstat(os.path.join(folder, name))
                total += facts.st_size if facts.st_nlink == 1 else 0
    return total


def check_quota(workspace: Workspace) -> None:
    """Refuse more work where a guest's workspace is full; the machine's own has no limit.

    Raises:
        RefusedError: It holds as much as it may (code WORKSPACE-FULL).
    """
    if not workspace.owner:
        return
    own, limit = own_bytes(workspace), quota_bytes()
    if own >= limit:
        raise RefusedError(
            f"Your workspace holds {own / 1e9:.1f} GB, and {limit / 1e9:g} GB is what it may. Delete runs, datasets "
            "or cohorts that you no longer need.",
            "WORKSPACE-FULL",
        )


def share(source: Path, target: Path) -> None:
    """A file, or a folder with the files of another one, which appears when it is whole. What is there already stays.

    Files are linked, so they take no room, and may be replaced or deleted on either side without the other's notice.
    """
    if target.exists():
        return
    if source.is_file():
        _link(source, target)
        return
    draft = target.with_name(f".{new_id('draft')}")
    try:
        for folder, _, names in os.walk(source, onerror=_raise):
            place = draft / Path(folder).relative_to(source)
            place.mkdir(parents=True, exist_ok=True)
            for name in names:
                if not name.startswith(".") and not name.endswith(".lock"):
                    _link(Path(folder) / name, place / name)
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _raise(error: OSError) -> None:
    raise error


def _link(source: Path, target: Path) -> None:
    if source.suffix not in GROWING:
        with suppress(OSError):  # a disk that knows no links
            os.link(source, target)
            return
    shutil.copy2(source, target)


def remove(workspace: Workspace) -> None:
    """Remove a guest's workspace with all that is in it: out of sight at once, then file by file."""
    if not workspace.owner:
        raise ValueError("The machine's own workspace is not removed.")
    grave = workspace.root.with_name(f"{REMOVED}-{new_id('ws')}")
    with suppress(FileNotFoundError):
        workspace.root.rename(grave)
    shutil.rmtree(grave, ignore_errors=True)


def _number(variable: str, usual: float) -> float:
    try:
        return max(0.0, float(os.environ.get(variable, usual)))
    except ValueError:
        return usual
