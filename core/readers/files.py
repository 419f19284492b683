"""Which files lie behind the paths that were given: folders are walked, archives unpacked, names become labels."""

from __future__ import annotations

import os
import shutil
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from core.deidentify import clean_label, clean_path_label
from core.errors import NotFoundError, RefusedError, UserError
from core.unpack import MAX_BYTES, MAX_FILES, is_archive, is_document, unpack
from core.workspace import Workspace, new_id

HIDDEN = frozenset({"__macosx", "thumbs.db", "desktop.ini", "dicomdir.bak", "lost+found"})


@dataclass(frozen=True)
class Source:
    """One file that was handed in.

    Attributes:
        path: where it lies now; for an archive's member, under a name of ours.
        parts: its place by name, the folder or archive that holds it first. For pairing and labels only.
        label: what is shown.
        problem: why it is not even opened, if so; `ignored` when that is no fault.
    """

    path: Path
    parts: tuple[str, ...]
    label: str
    problem: UserError | None = None
    ignored: bool = False


@contextmanager
def collected(workspace: Workspace, paths: Sequence[Path]) -> Iterator[list[Source]]:
    """Every file behind `paths`; what had to be unpacked is gone afterwards, whatever happens.

    Raises:
        NotFoundError: A path does not exist.
        RefusedError: More than 5,000 files.
    """
    folder = workspace.uploads / new_id("import")
    try:
        names = _root_names(paths)
        sources = [source for path in paths for source in _behind(Path(path), names, folder)]
        if len(sources) > MAX_FILES:
            raise RefusedError(
                f"These are {len(sources):,} files; import at most {MAX_FILES:,} at a time.", "TOO-MANY-FILES"
            )
        yield _distinct(sources)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _root_names(paths: Sequence[Path]) -> dict[Path, tuple[str, ...]]:
    """What each given folder is called: by its name, or by as much of its path as tells two of one name apart."""
    roots = {_root(Path(path)) for path in paths}
    count = Counter(root.name for root in roots)
    inside = {root: root.relative_to(os.path.commonpath(roots)).parts for root in roots}
    return {root: (inside[root] if count[root.name] > 1 else ()) or (root.name,) for root in roots}


def _root(path: Path) -> Path:
    return path.resolve() if path.is_dir() else path.absolute().parent


def _behind(path: Path, names: dict[Path, tuple[str, ...]], folder: Path) -> Iterator[Source]:
    if not path.exists():
        raise NotFoundError("One of the paths to import does not exist. Check the spelling.")
    if not path.is_dir():
        yield from _file(path.resolve(), (*names[_root(path)], path.name), path.name, folder)
        return
    root = path.resolve()
    for place, folders, files in os.walk(root):
        folders.sort()
        for name in sorted([*files, *(link for link in folders if os.path.islink(os.path.join(place, link)))]):
            file = Path(place) / name
            inside = file.relative_to(root).parts
            yield from _file(file, (*names[root], *inside), clean_path_label(inside), folder)


def _file(path: Path, parts: tuple[str, ...], label: str, folder: Path) -> Iterator[Source]:
    source = Source(path, parts, clean_label(label))
    if _is_hidden(parts[1:]):
        yield replace(
            source, ignored=True, problem=RefusedError("A hidden file of the system; not an image.", "HIDDEN")
        )
    elif not stat.S_ISREG(os.lstat(path).st_mode):
        yield replace(source, problem=RefusedError("This is a link or a device, not a file.", "NOT-A-FILE"))
    elif path.stat().st_size > MAX_BYTES:
        yield replace(source, problem=RefusedError("The file is larger than 4 GB.", "TOO-LARGE"))
    elif is_document(path.name):
        yield replace(source, ignored=True, problem=document())
    elif is_archive(path):
        yield from _members(source, folder)
    else:
        yield source


def _members(archive: Source, folder: Path) -> Iterator[Source]:
    try:
        members = unpack(archive.path, folder / new_id("zip"))
    except UserError as error:
        yield replace(archive, problem=error)
        return
    container = Path(archive.parts[-1]).stem
    for member in members:
        source = Source(member.path, (container, *member.parts), clean_path_label(member.parts), member.problem)
        if _is_hidden(member.parts):
            hidden = RefusedError("A hidden file of the system; not an image.", "HIDDEN")
            source = replace(source, ignored=True, problem=hidden)
        elif is_document(member.parts[-1]):
            source = replace(source, ignored=True, problem=document())
        yield source


def document() -> RefusedError:
    """Why what stands beside images in an export is left out."""
    return RefusedError("A document or a program beside the images; it was not kept.", "DOCUMENT")


def _is_hidden(parts: Sequence[str]) -> bool:
    return any(part.startswith(".") or part.lower() in HIDDEN for part in parts)


def _distinct(sources: list[Source]) -> list[Source]:
    """Files of the same label are told apart by the folder that holds them."""
    count = Counter(source.label for source in sources)
    return [
        replace(source, label=clean_path_label(source.parts)) if count[source.label] > 1 else source
        for source in sources
    ]
