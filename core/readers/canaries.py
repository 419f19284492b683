"""What an import leaves behind: the identity in each file, by kind; and whether any of it is in what would be stored.

Runs in the process that decodes. The strings never leave it, only counts do.
"""

from __future__ import annotations

import gzip
import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.multival import MultiValue
from pydicom.valuerep import VR

from core.errors import UnreadableImageError
from core.readers.dicom_raw import Encoding, converted, is_alone, read_header
from core.readers.naming import GENERIC_WORDS, MODALITIES, words

MIN_WORD = 4  # a shorter word stands in any text by chance
KINDS: dict[str, str] = {  # DICOM's kind of value -> what a report calls it
    "PN": "names", "DA": "dates and times", "TM": "dates and times", "DT": "dates and times", "UI": "identifiers",
    "SH": "short texts", "LO": "short texts", "AS": "ages", "LT": "free texts", "ST": "free texts", "UT": "free texts",
    "UC": "free texts", "UR": "free texts", "AE": "devices",
}  # fmt: skip
DESCRIPTIVE = frozenset(  # texts about the picture: a person may name a modality with one of their words
    {"SeriesDescription", "ProtocolName", "SequenceName", "BodyPartExamined", "Manufacturer", "ManufacturerModelName"}
    | {"ImageComments", "StudyDescription", "RequestedProcedureDescription", "PerformedProcedureStepDescription"}
)
NIFTI_TEXTS = ((4, 14), (14, 32), (148, 228), (228, 252), (328, 344))  # data_type, db_name, descrip, aux_file, intent
OVERLAYS, CURVES = range(0x6000, 0x6100), range(0x5000, 0x5100)


class Sign(NamedTuple):
    """One value that is left behind, and what it says; "" where only its kind is counted."""

    kind: str
    text: str = ""
    is_identity: bool = True


@dataclass
class Canaries:
    """Identity that was found.

    Attributes:
        texts: whole values, of which none may be stored.
        identities: those of which no word may be stored either.
        dropped: how many values of each kind were left behind.
    """

    texts: set[str] = field(default_factory=set)
    identities: set[str] = field(default_factory=set)
    dropped: Counter[str] = field(default_factory=Counter)

    def take(self, sign: Sign) -> None:
        self.dropped[sign.kind] += 1
        if sign.text:
            (self.identities if sign.is_identity else self.texts).add(sign.text)

    def add(self, kind: str, value: object, is_identity: bool = True) -> None:
        for sign in _said(kind, value, is_identity):
            self.take(sign)


def collect(paths: Iterable[Path]) -> Canaries:
    """The identity in these files; a file that cannot be taken apart has given none to a volume either."""
    found = Canaries()
    for path in paths:
        with path.open("rb") as stream:
            head = stream.read(132)
        if head[128:132] == b"DICM" or head[:2] in (b"\x08\x00", b"\x02\x00"):
            _of_dicom(path, head, found)
        elif head[:4] in (b"\x89PNG", b"\xff\xd8\xff\xe0", b"\xff\xd8\xff\xe1"):
            _of_picture(path, found)
        elif head[:4] == b"PK\x03\x04":
            _of_arrays(path, found)
        else:
            _of_nifti(path, head, found)
    return found


def leaks(canaries: Canaries, texts: Sequence[str]) -> int:
    """How many of `texts` are a canary, or hold a word of an identity: four letters at least, not our vocabulary."""
    whole = (canaries.texts | canaries.identities) - _VOCABULARY
    parts = {word for text in canaries.identities for word in _words(text)}
    stored = [text.casefold() for text in texts]
    return sum((len(text) >= MIN_WORD and text in whole) or bool(_words(text) & parts) for text in stored)


_VOCABULARY = frozenset(MODALITIES) | GENERIC_WORDS | frozenset(name.casefold() for name in MODALITIES.values())


def _words(text: str) -> set[str]:
    pieces = {word for part in words(text) for word in re.split(r"[^\w]+|_", part)}
    return {word for word in pieces if len(word) >= MIN_WORD and word not in _VOCABULARY and not _is_label(word)}


def _is_label(word: str) -> bool:
    return word.rstrip("0123456789") in {"mask", "lesion", "label", "segmentation", "dseg", "tissue", "case", "image"}


def _of_dicom(path: Path, head: bytes, found: Canaries) -> None:
    preamble = head[:128].strip(b"\0")
    if preamble and head[128:132] == b"DICM":
        found.add("preambles", preamble.decode("latin-1"))
    try:
        with path.open("rb") as stream:
            header = read_header(stream)
        dataset = header.dataset(header.elements)
        for tag, element in header.elements.items():
            known = _signs_alone(element, header.encoding) if is_alone(element) else None
            for sign in _signs(dataset[tag]) if known is None else known:
                found.take(sign)
        found.dropped["file meta"] += len(dataset.file_meta)
    except RecursionError as error:  # what is nested that deep cannot be searched, so it is not let in
        raise UnreadableImageError(
            "The DICOM header is nested too deep to be searched for names.", "DICOM-NESTED"
        ) from error
    except (ValueError, TypeError, KeyError, EOFError, struct.error, NotImplementedError):
        found.dropped["unreadable headers"] += 1


def _signs(element: DataElement) -> Iterator[Sign]:
    """What one element of a header, and those within it, leave behind."""
    if element.tag.group in OVERLAYS or element.tag.group in CURVES:
        yield Sign("overlays and curves")
    if element.VR == VR.SQ:
        yield Sign("sequences")
        yield from (sign for item in element.value for inner in item for sign in _signs(inner))
    elif element.VR in KINDS:
        kind = "private values" if element.tag.is_private else KINDS[element.VR]
        for value in element.value if isinstance(element.value, list | MultiValue) else [element.value]:
            yield from _said(kind, value, element.keyword not in DESCRIPTIVE)
    elif element.tag.is_private and isinstance(element.value, (bytes, str)):
        yield from _said("private values", _text(element.value))


@lru_cache(20_000)
def _signs_alone(raw: RawDataElement, encoding: Encoding) -> tuple[Sign, ...] | None:
    """The same for an element that many slices share; None where it takes the others to tell."""
    element = converted(raw, encoding)
    return None if element is None else tuple(_signs(element))


def _said(kind: str, value: object, is_identity: bool = True) -> Iterator[Sign]:
    text = str(value).strip("\0 ").casefold()
    if text:
        yield Sign(kind, text, is_identity)


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else re.sub(r"[^\x20-\x7e]+", " ", value[:4096].decode("latin-1"))


def _of_nifti(path: Path, head: bytes, found: Canaries) -> None:
    try:
        with gzip.open(path) if head[:2] == b"\x1f\x8b" else path.open("rb") as stream:
            content = stream.read(540)
    except (OSError, EOFError, zlib.error):
        return
    if content[:4] not in (b"\x5c\x01\x00\x00", b"\x00\x00\x01\x5c"):
        return
    for start, stop in NIFTI_TEXTS:
        found.add("texts of the header", content[start:stop].split(b"\0")[0].decode("latin-1"))


def _of_arrays(path: Path, found: Canaries) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                found.add("names of arrays", entry.filename.removesuffix(".npy"), is_identity=False)
            found.add("comments", archive.comment.decode("latin-1"))
    except (zipfile.BadZipFile, ValueError, OSError):
        return


def _of_picture(path: Path, found: Canaries) -> None:
    try:
        with Image.open(path) as picture:
            for value in picture.info.values():
                if isinstance(value, str):
                    found.add("texts of the picture", value)
            for value in picture.getexif().values():
                if isinstance(value, str):
                    found.add("texts of the picture", value)
    except (OSError, ValueError, SyntaxError):
        return
