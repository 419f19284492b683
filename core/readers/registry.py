"""READERS: one entry per file format, and what a file is when none of them takes it."""

from __future__ import annotations

import zlib
from pathlib import Path

from core.deidentify import Pseudonym
from core.errors import RefusedError, UnreadableImageError, UserError
from core.readers import array, dicom, nifti, picture
from core.readers.item import Item, Reader

READERS: dict[str, Reader] = {  # to add one: a module with matches, scan and read, listed here
    "nifti": nifti,
    "dicom": dicom,
    "array": array,
    "picture": picture,
}

NIFTI_STARTS = (b"\x5c\x01\x00\x00", b"\x00\x00\x01\x5c", b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c")
KNOWN_KINDS: tuple[tuple[bytes, str], ...] = (  # refused by what they are
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a zip archive inside another one"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"GIF8", "a GIF picture"),
    (b"BM", "a BMP picture"),
    (b"II*\x00", "a TIFF picture"),
    (b"MM\x00*", "a TIFF picture"),
    (b"RIFF", "a WebP picture, a sound or a film"),
    (b"NRRD", "an NRRD image"),
    (b"ObjectType", "a MetaImage header"),
    (b"\x89HDF", "an HDF5 file"),
    (b"MATLAB", "a MATLAB file"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"#!", "a script"),
    (b"\x80\x04", "a Python pickle"),
    (b"\x80\x05", "a Python pickle"),
    (b"<?xml", "an XML text"),
    (b"<!DOCTYPE", "a web page"),
    (b"<html", "a web page"),
    (b"{", "a JSON text"),
)


def scan_file(path: Path, pseudonym: Pseudonym) -> list[Item]:
    """The images in a file, whatever its name says it is.

    Raises:
        UserError: Empty, of a kind that no reader takes, or refused by its reader.
    """
    head = first_bytes(path)
    for reader in READERS.values():
        if reader.matches(head):
            return reader.scan(path, pseudonym)
    raise _unknown(head)


def first_bytes(path: Path) -> bytes:
    """Up to 4096 bytes of the content; of a gzip, of what is inside.

    Raises:
        UnreadableImageError: The file is empty, or its gzip is damaged from the start.
    """
    with path.open("rb") as stream:
        head = stream.read(4096)
    if not head:
        raise UnreadableImageError("The file is empty.", "EMPTY")
    if not head.startswith(b"\x1f\x8b"):
        return head
    inflater = zlib.decompressobj(wbits=31)
    try:
        content = inflater.decompress(head, 4096)
    except zlib.error as error:
        raise UnreadableImageError("The gzip is damaged. Copy or export it again.", "NII-GZIP") from error
    if len(content) < 348 and not inflater.eof:
        raise UnreadableImageError("The gzip ends before its content does: it is cut off.", "NII-TRUNCATED")
    return content or b"\x1f\x8b"


def _unknown(head: bytes) -> UserError:
    if head[:4] in NIFTI_STARTS and len(head) < 348:
        return UnreadableImageError("The file ends before the image does: it is cut off.", "NII-TRUNCATED")
    if head[:4] in NIFTI_STARTS[:2]:
        return RefusedError("This is an Analyze header without geometry; convert the image to NIfTI.", "ANALYZE")
    for start, name in KNOWN_KINDS:
        if head.lstrip().startswith(start):
            return RefusedError(f"This is {name}, not an image that can be read here.", "NOT-AN-IMAGE")
    is_text = all(byte in b"\t\n\r\f\x1b" or byte >= 32 for byte in head[:512])
    what = "a text" if is_text else "of an unknown kind"
    return RefusedError(f"This file is {what}; DICOM, NIfTI, NumPy, PNG and JPEG images can be read.", "NOT-AN-IMAGE")
