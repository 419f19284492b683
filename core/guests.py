"""Visitors' own workspaces on a shared server: folders that nobody can guess, with a quota, kept while they are used.

What several visitors have in common (the demo, equal results) is stored once: their folders hold hard links to it, and
since all files are written beside and renamed, a change stays with who makes it.
"""

from __future__ import annotations

import hashlib
import json
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
SIGN_IN = "CROSSMODAL_SIGN_IN"  # "required": pages open for nobody else; "offered" wherever a provider is set up
QUOTA = "CROSSMODAL_GUEST_QUOTA_GB"
KEEP = "CROSSMODAL_GUEST_DAYS"  # without a visit
USUAL_QUOTA_GB, USUAL_DAYS = 10.0, 30.0
DAY_S = 24 * 3600.0
VISIT = ".visited"
VISIT_EVERY_S = 60.0
REMOVED = ".removed"
PERSON = ".person"  # lies in the workspace of somebody who signs in: no link opens it
KEY_BYTES = 32
GROWING = (".jsonl", ".txt")  # lines are added to these in place: they are copied
_TOKEN = re.compile(r"[0-9a-f]{32}")


def are_apart() -> bool:
    """Whether each visitor gets a workspace of their own."""
    return os.environ.get(VISITORS, "") == "apart" or must_sign_in()


def must_sign_in() -> bool:
    """Whether pages open only for who has signed in. A word that is not known counts as yes."""
    return os.environ.get(SIGN_IN, "") not in ("", "offered")


def new_token() -> str:
    """The name of a new workspace: 128 random bits."""
    return secrets.token_hex(16)


def is_token(text: str) -> bool:
    return _TOKEN.fullmatch(text) is not None


def guest(name: str) -> Workspace:
    """The workspace of that name inside the machine's own."""
    return Workspace(Workspace.default().root / GUESTS / name)


def person_token(key: bytes, issuer: str, subject: str) -> str:
    """The name of the workspace of somebody who has signed in: always the same, and no way back to who it is.

    128 bits of a keyed BLAKE2b. Issuer and subject together are the only identifier that stays and is nobody else's
    (OpenID Connect Core 1.0, 5.7); as JSON no two pairs make the same text.

    Raises:
        RefusedError: One of the two is missing (code SIGN-IN-NOBODY).
    """
    if len(key) < KEY_BYTES:
        raise ValueError(f"The server's secret has {len(key)} bytes, {KEY_BYTES} are needed.")
    if not issuer.strip() or not subject.strip():
        raise RefusedError(
            "The sign-in does not say who you are, so no workspace can be opened. Sign out, then use another account.",
            "SIGN-IN-NOBODY",
        )
    pair = json.dumps([issuer, subject]).encode()
    return hashlib.blake2b(pair, key=key, digest_size=16, person=b"sign-in").hexdigest()


def workspace_of_person(issuer: str, subject: str) -> Workspace:
    """The workspace of somebody who has signed in, under the secret of this server.

    Raises:
        RefusedError: As `person_token`.
    """
    return guest(person_token(Workspace.default().secret(), issuer, subject))


def close_to_links(workspace: Workspace) -> None:
    """From now on only its person opens it, and nobody who has come to know the folder's name."""
    if workspace.owner and workspace.root.is_dir():
        with suppress(OSError):  # a full disk: the name is still one that nobody can guess
            (workspace.root / PERSON).touch()


def opens_by_link(name: str) -> bool:
    """Whether `?ws=` may name this workspace on a server that keeps visitors apart."""
    return is_token(name) and not (guest(name).root / PERSON).exists()


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
