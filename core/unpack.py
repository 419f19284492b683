"""Zip archives, opened with suspicion: every entry is checked before one is inflated, every inflate is counted."""

from __future__ import annotations

import re
import secrets
import stat
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from core.errors import RefusedError, UnreadableImageError, UserError

MAX_FILES = 5_000
MAX_BYTES = 4 * 1024**3
MAX_DIRECTORY_BYTES = 8 * 1024**2
MAX_NESTING = 1  # one zip inside another
BOMB_BYTES, BOMB_RATIO = 1024**3, 200  # honest masks compress 500:1, but never from this much
DOCUMENTS = (".docx", ".xlsx", ".pptx", ".odt", ".ods", ".jar", ".war", ".apk")  # zips that are none to a person
CHUNK = 1 << 20
DAMAGE = (  # what zipfile raises on a damaged archive; IndexError where an entry has no name
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, IndexError, ValueError, NotImplementedError, OSError,
)  # fmt: skip


@dataclass(frozen=True)
class Member:
    """One file of an archive, under a name of ours; or why it was left out."""

    path: Path
    parts: tuple[str, ...]
    problem: UserError | None = None


@dataclass
class _Budget:
    files: int = MAX_FILES
    size: int = MAX_BYTES


def is_archive(path: Path) -> bool:
    """Whether the file is a zip of files, by its first bytes; a NumPy archive (.npz) is not, it is an image."""
    with path.open("rb") as stream:
        start = stream.read(4)
    return start in (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08") and not _is_numpy(path)


def _is_numpy(path: Path) -> bool:
    try:
        _check_directory(path)
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (UserError, *DAMAGE):
        return False
    return bool(names) and all(name.endswith(".npy") and "/" not in name for name in names)


def is_document(name: str) -> bool:
    """Whether a file that looks like a zip is an office document or a program by its name."""
    return name.lower().endswith(DOCUMENTS)


def unpack(path: Path, folder: Path) -> list[Member]:
    """Inflate every file of a zip into `folder`, under names of ours; a zip inside is opened too, once.

    Raises:
        RefusedError: Encrypted, hostile (links, absolute or climbing names, overlaps, duplicates) or over the limits.
        UnreadableImageError: Damaged.
    """
    folder.mkdir(parents=True)
    return _unpack(path, folder, _Budget(), MAX_NESTING)


def _unpack(path: Path, folder: Path, budget: _Budget, nesting: int) -> list[Member]:
    try:
        _check_directory(path)
        with zipfile.ZipFile(path) as archive, path.open("rb") as raw:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if not entries:
                raise UnreadableImageError("The archive is empty.", "ZIP-EMPTY")
            check_entries(archive.infolist(), raw, archive.start_dir)
            _spend(entries, budget, path.stat().st_size)
            members = [_inflate(archive, entry, folder) for entry in entries]
    except DAMAGE as error:
        raise UnreadableImageError("The zip archive is damaged; pack it again.", "ZIP-DAMAGED") from error
    return [inner for member in members for inner in _opened(member, folder, budget, nesting)]


def _opened(member: Member, folder: Path, budget: _Budget, nesting: int) -> list[Member]:
    if member.problem is not None or is_document(member.parts[-1]) or not is_archive(member.path):
        return [member]
    try:
        if nesting == 0:
            raise RefusedError("A zip in a zip in a zip is not opened; unpack it first.", "ZIP-NESTED")
        inner = _unpack(member.path, folder, budget, nesting - 1)
    except UserError as error:
        return [Member(member.path, member.parts, error)]
    container = Path(member.parts[-1]).stem
    return [Member(m.path, (*member.parts[:-1], container, *m.parts), m.problem) for m in inner]


def _check_directory(path: Path) -> None:
    """Refuse a table of contents that is too long, before anything parses it."""
    with path.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - 66_000))
        tail = stream.read()
        place = tail.rfind(b"PK\x05\x06")
        if place < 0:
            raise UnreadableImageError("The zip archive is cut off; pack it again.", "ZIP-DAMAGED")
        n_entries, directory_bytes = struct.unpack("<HI", tail[place + 10 : place + 16])
        locator = tail[max(0, place - 20) : place]
        if locator[:4] == b"PK\x06\x07":
            stream.seek(struct.unpack("<Q", locator[8:16])[0])
            n_entries, directory_bytes = struct.unpack("<QQ", stream.read(48)[32:48])
    if n_entries > 2 * MAX_FILES or directory_bytes > MAX_DIRECTORY_BYTES:
        raise RefusedError(f"The archive lists more than {MAX_FILES:,} files; split it.", "ZIP-TOO-MANY")


def check_entries(entries: list[zipfile.ZipInfo], raw: BinaryIO, end: int) -> None:
    """Refuse an archive with any entry that an honest packer does not write.

    Args:
        raw: the archive's bytes.
        end: where its table of contents begins.
    """
    seen: set[str] = set()
    for entry in entries:
        _check_name(entry)
        name = entry.filename.casefold().rstrip("/")
        if name in seen:
            raise RefusedError("Two files in the archive have the same name; pack it again.", "ZIP-DUPLICATE")
        seen.add(name)
        if entry.flag_bits & 0x1:
            raise RefusedError("The archive is encrypted; unpack it with its password first.", "ZIP-ENCRYPTED")
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise RefusedError("The archive holds a link or a device; pack plain files only.", "ZIP-LINK")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise RefusedError("The archive uses a rare compression; pack it again as a plain zip.", "ZIP-METHOD")
    _check_overlaps(entries, raw, end)


def _check_name(entry: zipfile.ZipInfo) -> None:
    names = (entry.filename, str(entry.orig_filename))
    for name in names:
        pieces = re.split(r"[\\/]", name)
        if name.startswith(("/", "\\")) or ".." in pieces or re.match(r"[A-Za-z]:", name) or "\0" in name:
            raise RefusedError("A name in the archive points outside of it; pack it again.", "ZIP-PATH")


def _check_overlaps(entries: list[zipfile.ZipInfo], raw: BinaryIO, end: int) -> None:
    reached = 0
    for entry in sorted(entries, key=lambda e: e.header_offset):
        if entry.header_offset < reached:
            raise RefusedError("Files in the archive overlap: it is made to swell when unpacked.", "ZIP-OVERLAP")
        raw.seek(entry.header_offset + 26)
        name_length, extra_length = struct.unpack("<HH", raw.read(4))
        reached = entry.header_offset + 30 + name_length + extra_length + entry.compress_size
    if reached > end:
        raise RefusedError("Files in the archive overlap: it is made to swell when unpacked.", "ZIP-OVERLAP")


def _spend(entries: list[zipfile.ZipInfo], budget: _Budget, packed: int) -> None:
    budget.files -= len(entries)
    if budget.files < 0:
        raise RefusedError(f"The archive holds more than {MAX_FILES:,} files; split it.", "ZIP-TOO-MANY")
    size = sum(entry.file_size for entry in entries)
    budget.size -= size
    if budget.size < 0:
        raise RefusedError("The archive takes more than 4 GB when unpacked; split it.", "ZIP-TOO-LARGE")
    check_swelling(size, packed)


def check_swelling(size: int, packed: int) -> None:
    """Refuse what is both large and almost nothing; neither alone is suspicious."""
    if size > BOMB_BYTES and size > BOMB_RATIO * packed:
        raise RefusedError("The file swells to more than 1 GB of almost nothing; it looks like a trap.", "ZIP-BOMB")


def _inflate(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> Member:
    """Write one entry, never more bytes than it declared."""
    parts = tuple(part for part in re.split(r"[\\/]", entry.filename) if part not in ("", "."))
    path = folder / secrets.token_hex(8)
    written = 0
    try:
        with archive.open(entry) as source, path.open("xb") as target:
            while piece := source.read(min(CHUNK, entry.file_size + 1 - written)):
                written += len(piece)
                target.write(piece)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        problem = UnreadableImageError("The file is damaged inside its archive; pack it again.", "ZIP-DAMAGED")
        problem.__cause__ = error
        return Member(path, parts, problem)
    if written != entry.file_size:
        return Member(path, parts, UnreadableImageError("The archive contradicts itself on its size.", "ZIP-LIES"))
    return Member(path, parts)
