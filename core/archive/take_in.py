"""Reading an archive, which may come from anybody: nothing of it is in the workspace before all of it was checked."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from core.archive import checks
from core.archive.layout import FORMAT, MAIN, MANIFEST, VERSION, kind_of, thing_of
from core.archive.records import Hash
from core.cohort import Cohort
from core.config import Settings
from core.dataset import Dataset
from core.errors import InvalidConfigError, RefusedError
from core.progress import Progress, silent
from core.runs import Status
from core.sharing import BROUGHT_IN
from core.unpack import Member, unpack
from core.workspace import Workspace, new_id, write_json


class Listed(Settings):
    """One file in the manifest."""

    bytes: int = Field(ge=0)
    sha256: Hash


class Manifest(Settings):
    """What an archive says that it is."""

    format: Literal["crossmodal-studio"]
    version: int
    kind: Literal["run", "workspace"]
    files: Annotated[dict[str, Listed], Field(min_length=1)]


def take_in(workspace: Workspace, path: Path, progress: Progress = silent) -> dict[str, list[str]]:
    """Check an archive and add what is in it; returns what was `added` and what was there `already`.

    Raises:
        RefusedError: It is no archive of this program, is damaged or hostile, or of a later version.
        UnreadableImageError: The zip itself is damaged.
        InvalidConfigError: A cohort or dataset of the same name holds something else (code NAME-TAKEN).
    """
    place = workspace.root / f".{new_id('import')}"
    place.mkdir(parents=True)
    try:
        progress(0, 3, "Unpacking")
        members = unpack(path, place / "packed")
        progress(1, 3, "Checking")
        things = _check(_arrange(members, place / "whole"))
        already = [thing for thing in things if _is_there(workspace, place / "whole", thing)]
        added = [thing for thing in things if thing not in already]
        progress(2, 3, "Adding")
        for thing in added:
            _add(workspace, place / "whole", thing)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    progress(3, 3, "Taken in")
    return {"added": added, "already": already}


def _arrange(members: Sequence[Member], whole: Path) -> dict[str, Path]:
    """Put the files under their names, those and only those that the manifest lists, each the one that it lists."""
    problem = next((member.problem for member in members if member.problem is not None), None)
    if problem is not None:
        raise problem
    found = {"/".join(member.parts): member.path for member in members}
    manifest = _manifest(found.pop(MANIFEST, None))
    if len(found) + 1 < len(members) or found.keys() != manifest.files.keys():
        raise RefusedError("The export and its list of files do not agree. Export again.", "ARCHIVE-LIST")
    arranged = {}
    for name, path in found.items():
        if not kind_of(name):
            raise RefusedError("The file holds something that is no part of an export.", "ARCHIVE-NAME")
        listed = manifest.files[name]
        if path.stat().st_size != listed.bytes or _sha256(path) != listed.sha256:
            raise RefusedError("A file in this export was changed or damaged on the way. Export again.", "ARCHIVE-SUM")
        arranged[name] = whole / name
        arranged[name].parent.mkdir(parents=True, exist_ok=True)
        path.rename(arranged[name])
    return arranged


def _manifest(path: Path | None) -> Manifest:
    if path is None:
        raise RefusedError(
            "This is no export of Crossmodal Studio. Images are imported on the Data page.", "ARCHIVE-FOREIGN"
        )
    values = checks.read_json(path)
    if isinstance(values, dict) and values.get("format") == FORMAT and values.get("version") != VERSION:
        raise RefusedError("This export is of another version of the program. Update it here.", "ARCHIVE-VERSION")
    try:
        return Manifest.model_validate(values)
    except ValidationError as error:
        raise RefusedError("The export's list of files cannot be read. Export again.", "ARCHIVE-LIST") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check(files: Mapping[str, Path]) -> list[str]:
    """Look into every file; returns the cohorts, datasets and runs, each of them whole."""
    kinds = {name: kind_of(name) for name in files}
    for kind, check in checks.CHECKS.items():  # arrays before the index that counts on them
        for name in (name for name in files if kinds[name] == kind):
            check(files[name])
    things = sorted({thing_of(name) for name in files})
    for thing in things:
        main = MAIN[thing.split("/")[0]]
        if not any(kinds[name] == main for name in files if thing_of(name) == thing):
            raise checks.refused("an incomplete cohort, dataset or run")
    return things


def _is_there(workspace: Workspace, whole: Path, thing: str) -> bool:
    """Whether the workspace has the very same already.

    Raises:
        InvalidConfigError: It has another one of that name.
    """
    old, new = workspace.root / thing, whole / thing
    if not old.exists():
        return False
    kind, _, name = thing.partition("/")
    if kind == "runs":  # ids are random: the same id is the same run
        return True
    same = _images(old) == _images(new) if kind == "cohorts" else Dataset(old).fingerprint == Dataset(new).fingerprint
    if not same:
        what = "cohort" if kind == "cohorts" else "dataset"
        raise InvalidConfigError(
            f"There is another {what} named {name} here. Delete it, or export it first; nothing was taken in.",
            "NAME-TAKEN",
        )
    return True


def _images(folder: Path) -> dict[str, Any]:
    cohort = Cohort(folder)
    return {case_id: cohort.describe(case_id)["volumes"] for case_id in cohort.case_ids}


def _add(workspace: Workspace, whole: Path, thing: str) -> None:
    folder, target = whole / thing, workspace.root / thing
    if thing.startswith("runs/"):
        _settle(folder)
    if thing.startswith("datasets/"):
        (folder / BROUGHT_IN).touch()
    target.parent.mkdir(parents=True, exist_ok=True)
    os.rename(folder, target)


def _settle(folder: Path) -> None:
    """A run that rests: no process, no place in a queue, no sentence that somebody else wrote."""
    path = folder / "state.json"
    ended = checks.state(path) if path.exists() else None
    is_whole = ended is not None and ended.state == "finished" and (folder / "weights.safetensors").exists()
    facts = ended.model_dump(exclude={"state"}) if ended else {"created": time.time()}
    message = "Finished" if is_whole else "Stopped"
    status = Status(state="finished" if is_whole else "cancelled", message=message, note="Imported.", **facts)
    write_json(path, asdict(status))
    write_json(folder / "job.json", {"kind": "train", "params": {"device": "auto"}})
