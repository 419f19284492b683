"""From the words in a file's, folder's or series' name to a modality: by a fixed vocabulary, never free text."""

from __future__ import annotations

import re
from dataclasses import dataclass

MODALITIES: dict[str, str] = {  # a name in small letters without separators -> modality
    "t1": "T1", "t1w": "T1", "t1n": "T1", "t1pre": "T1", "mprage": "T1", "t1mprage": "T1",
    "t1post": "T1POST", "t1ce": "T1POST", "t1c": "T1POST", "t1gd": "T1POST", "t1km": "T1POST", "t1wks": "T1POST",
    "t2": "T2", "t2w": "T2", "t2star": "T2STAR", "t2starw": "T2STAR", "t2s": "T2STAR",
    "flair": "FLAIR", "t2flair": "FLAIR", "t2f": "FLAIR", "t2wflair": "FLAIR",
    "pd": "PD", "pdw": "PD", "pdt2": "PD", "adc": "ADC", "dwi": "DWI", "trace": "DWI", "tracew": "DWI", "hbv": "HBV",
    "epi": "EPI", "bold": "BOLD", "swi": "SWI", "mra": "MRA", "asl": "ASL", "cbf": "CBF", "fa": "FA", "md": "MD",
    "mr": "MR", "mri": "MR", "ct": "CT", "cta": "CTA", "cbct": "CBCT", "pet": "PET", "pt": "PET", "fdg": "PET",
    "spect": "SPECT", "nm": "NM", "us": "US", "ius": "US", "ultrasound": "US", "xa": "XA", "oct": "OCT",
}  # fmt: skip
EXACT = {"T1W": "T1W", "T2W": "T2W"}  # as prostate protocols write them
LABEL_WORDS = frozenset(
    {"mask", "masks", "seg", "segmentation", "dseg", "label", "labels", "lesion", "lesions", "tissue", "tissues"}
    | {"gt", "groundtruth", "roi"}
)
COMMON_WORDS = """
image images img scan volume vol source target input output fixed moving reference ref reg registered
brain head body pre post contrast baseline followup phase echo channel ch a b c d e x y z m n i j k u v w
arr data array view modality mod left right axial sagittal coronal prostate lung liver heart foo bar test
train photo sketch
"""
GENERIC_WORDS = frozenset(COMMON_WORDS.split())
_BIDS = re.compile(r"(sub-[A-Za-z0-9]+)(_[a-z]+-[A-Za-z0-9]+)*_([A-Za-z0-9]+)")
_SEPARATORS = re.compile(r"[\s_.\-+]+")


@dataclass(frozen=True)
class Name:
    """A file's name taken apart: whose, and of what kind; "" where the name does not say."""

    case: str
    modality: str


def words(text: str) -> list[str]:
    """The pieces of a name between separators."""
    return [word for word in _SEPARATORS.split(text) if word]


def safe_modality(text: str) -> str:
    """`text` as a modality's name: letters, digits, '-' and '_', 64 at most; "" when nothing is left."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-_")[:64]


def known_modality(text: str) -> str:
    """The modality that the whole of `text` names, or ""."""
    squeezed = "".join(words(text))
    if squeezed in EXACT or squeezed.lower() in MODALITIES:
        return EXACT.get(squeezed) or MODALITIES[squeezed.lower()]
    return safe_modality(text) if is_label_name(text) and _is_plain(text) else ""


def is_label_name(text: str) -> bool:
    """Whether the name says mask, segmentation or label map."""
    return any(word.lower().rstrip("0123456789") in LABEL_WORDS for word in words(text))


def _is_plain(text: str) -> bool:
    """Whether every word is of our vocabulary, so that the name can be kept without naming a person."""
    return all(_is_plain_word(word.lower()) for word in words(text))


def _is_plain_word(word: str) -> bool:
    stem = word.rstrip("0123456789")
    if len(word) - len(stem) > 3:
        return False  # long numbers are record numbers
    return word in MODALITIES or stem in LABEL_WORDS or stem in GENERIC_WORDS or stem == ""


def plain_name(text: str) -> str:
    """`text` as a modality where all its words are of the vocabulary, else ""."""
    return safe_modality(text) if words(text) and _is_plain(text) and not text[:1].isdigit() else ""


def take_apart(stem: str) -> Name:
    """A file's name without its extension: BIDS, `<modality>`, `<case>_<modality>` or `<modality>_<case>`."""
    bids = _BIDS.fullmatch(stem)
    if bids:
        return _bids(stem, bids)
    whole = known_modality(stem)
    if whole:
        return Name("", whole)
    pieces = words(stem)
    last = [(pieces[:-n], pieces[-n:]) for n in (3, 2, 1) if n < len(pieces)]
    first = [(pieces[n:], pieces[:n]) for n in (2, 1) if n < len(pieces)]
    for case, kind in last + first:
        modality = known_modality("_".join(kind))
        if modality:
            return Name("_".join(case), modality)
    return Name("", "")


def _bids(stem: str, found: re.Match[str]) -> Name:
    entities = dict(part.split("-", 1) for part in stem.split("_")[:-1] if "-" in part)
    case = "_".join(f"{key}-{entities[key]}" for key in ("sub", "ses") if key in entities)
    suffix = found.group(3)
    modality = known_modality(suffix) or plain_name(suffix)
    if modality == "T1" and "ce" in entities:
        modality = "T1POST"
    what = entities.get("label", entities.get("desc", ""))
    if is_label_name(suffix) and what:
        modality = plain_name(f"{what}_{suffix}") or modality
    return Name(case, modality)


def strip_extension(name: str) -> str:
    """A file's name without `.nii.gz`, `.dcm`, ... (whatever follows the last dot, and a `.nii` before it)."""
    stem = re.sub(r"\.[A-Za-z0-9]{1,8}$", "", name)
    return re.sub(r"\.nii$", "", stem, flags=re.IGNORECASE) or name
