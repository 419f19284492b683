"""The table between the files and the import: which images were found, of which case and modality they seem to be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from core.deidentify import clean_label, clean_path_label
from core.errors import RefusedError, UserError
from core.progress import Progress
from core.readers.copies import told_apart
from core.readers.decoder import Decoder
from core.readers.files import Source, document
from core.readers.item import MAX_FRAMES, Item
from core.readers.naming import is_label_name, known_modality
from core.readers.nifti import HALF
from core.readers.pairing import Place, pair_up
from core.readers.series import arrange
from core.readers.values import explain
from core.types import LABEL_UNIT

Found = tuple[int, Item]  # index of the file, what is in it
DUPLICATE = "DUPLICATE-MODALITY"
TWICE = "Another image here has the same case and modality; only the first is kept. Rename one of them."
SIDECARS = (".json", ".tsv", ".bval", ".bvec")  # as BIDS puts them beside an image
DOCUMENTS = (  # what stands beside images in an export: no fault of anybody's
    ".pdf", ".txt", ".md", ".rtf", ".doc", ".xls", ".csv", ".html", ".htm", ".xml", ".xsl", ".css",
    ".js", "readme", "changes", "license", ".inf", ".ini", ".log", ".exe", ".dll", ".bat", ".sh", ".py", ".ico", ".svg",
)  # fmt: skip
IMAGES = ("accepted", "quarantined")  # fates of an item that can be read
USABLE = ("accepted", "warned")  # fates of a row that is imported unless a person says otherwise
CaseId = Callable[[str], str]  # a case's name -> its id in the cohort


@dataclass(frozen=True)
class Proposal:
    """One image that was found: a row of the table that a person may correct before the import.

    Attributes:
        key: stable within this scan.
        case: rows with the same text become one case.
        orientation: as found ("LPS"); everything is stored RAS.
        fate: "accepted", "warned", "quarantined", "rejected" or "ignored".
        frames: how many the file holds without saying where they lie.
        slices: how many pictures of it were drawn for somebody to look at.
        codes: all that is doubtful or wrong; the first is `code`.
        files: the labels of its files.
    """

    key: str
    label: str
    n_files: int
    case: str = ""
    modality: str = ""
    shape: tuple[int, ...] = ()
    spacing_mm: tuple[float, ...] = ()
    orientation: str = ""
    unit: str = ""
    fate: str = "accepted"
    code: str = ""
    message: str = ""
    include: bool = True
    frames: int = 1
    reader: str = ""
    slices: int = 0
    codes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """A proposal with what it is made of.

    Attributes:
        sources: indexes of its files.
        parts: what is read, in order; empty when there is nothing to read.
        case_id: of the case it will be stored in; "" where none is known.
    """

    proposal: Proposal
    sources: tuple[int, ...]
    parts: tuple[Found, ...] = ()
    case_id: str = ""


def propose(sources: Sequence[Source], decoder: Decoder, layout: str, case_id: CaseId, progress: Progress) -> list[Row]:
    """Scan every file, and sort what is found into rows, in the order of the files."""
    found: list[Found] = []
    rows: list[Row] = []

    def looked(done: float, total: float, message: str = "") -> None:
        progress(done, 2 * total, message)  # the other half is the import

    fit = [n for n, source in enumerate(sources) if source.problem is None]
    answer_of = dict(zip(fit, decoder.scan_all([sources[n].path for n in fit], looked), strict=True))
    for n, source in enumerate(sources):
        answer = source.problem or answer_of[n]
        if isinstance(answer, UserError):
            rows.append(failed(n, source, answer))
        else:
            found += [(n, item) for item in answer]
    found, rows, halves = _joined(found, rows, sources)
    rows += _series_rows([f for f in found if f[1].series], sources)
    rows += [
        _with_half(row, halves) for row in _named_rows([f for f in found if not f[1].series], sources, layout, case_id)
    ]
    rows.sort(key=lambda row: row.sources)
    return [_listed(n, row, sources) for n, row in enumerate(_doubled(rows))]


def _listed(n: int, row: Row, sources: Sequence[Source]) -> Row:
    """The row under its number, with the labels of its files and all its codes."""
    proposal = row.proposal
    codes = row.parts[0][1].warnings if row.parts and proposal.fate in USABLE else ()
    codes = tuple(dict.fromkeys(filter(None, [proposal.code, *codes])))
    files = tuple(sources[source].label for source in row.sources)
    return replace(row, proposal=replace(proposal, key=f"{n:04d}", codes=codes, files=files))


def _joined(
    found: list[Found], rows: list[Row], sources: Sequence[Source]
) -> tuple[list[Found], list[Row], dict[int, int]]:
    """Headers with their images beside them: file of the header -> file of the image, which is no row of its own."""
    by_place = {(*s.parts[:-1], s.parts[-1].lower().removesuffix(".gz")): n for n, s in enumerate(sources)}
    halves = {}
    for n, item in found:
        name = sources[n].parts[-1].lower().removesuffix(".gz")
        other = by_place.get((*sources[n].parts[:-1], f"{name.removesuffix('.hdr')}.img"))
        if item.code == HALF and other is not None and other != n:
            halves[n] = other
    whole = [(n, replace(i, fate="accepted", code="", message="") if n in halves else i) for n, i in found]
    images = set(halves.values())
    return [f for f in whole if f[0] not in images], [r for r in rows if r.sources[0] not in images], halves


def _with_half(row: Row, halves: dict[int, int]) -> Row:
    if not row.parts or row.sources[0] not in halves:
        return row
    n, item = row.parts[0]
    both = replace(row.proposal, n_files=2)
    return replace(row, proposal=both, sources=(n, halves[n]), parts=((n, item), (halves[n], item)))


def _doubled(rows: list[Row]) -> list[Row]:
    """Say which rows name a case and modality that an earlier row has: only the first would be stored."""
    seen: set[tuple[str, str]] = set()
    result = []
    for row in rows:
        name = (row.case_id, row.proposal.modality)
        is_stored = bool(row.parts) and row.proposal.fate in USABLE
        if is_stored and name in seen:
            doubled = replace(row.proposal, fate="warned", code=DUPLICATE, message=TWICE, include=False)
            row = replace(row, proposal=doubled)
        seen |= {name} if is_stored else set()
        result.append(row)
    return result


def failed(n: int, source: Source, error: UserError) -> Row:
    """The row of a file that goes no further."""
    if error.code == "NOT-AN-IMAGE":
        name = source.parts[-1].lower()
        if name.endswith(SIDECARS):
            text = "A file that describes images beside it; it is not needed and was not kept."
            error = RefusedError(text, "SIDECAR")
        elif name.endswith(DOCUMENTS):
            error = document()
    fate = "ignored" if source.ignored or error.code in ("SIDECAR", "DOCUMENT") else "rejected"
    return Row(Proposal("", source.label, 1, fate=fate, code=error.code, message=str(error), include=False), (n,))


def _series_rows(found: list[Found], sources: Sequence[Source]) -> list[Row]:
    rows = []
    taken: Counter[tuple[str, str]] = Counter()
    for series in arrange(told_apart(found, [source.path for source in sources])):
        item = _told_by_folder(series.item, sources[series.members[0][0]])
        if item.fate in IMAGES:
            taken[item.patient, item.modality] += 1
            if taken[item.patient, item.modality] > 1:
                name = f"{item.modality}-{taken[item.patient, item.modality]}"
                item = replace(item, modality=name, warnings=(*item.warnings, "SAME-NAME"))
        members = tuple(sorted({n for n, _ in series.members}))
        proposal = Proposal(
            "", _series_label(sources, members), len(members), f"case-{item.patient}", item.modality, item.shape,
            item.spacing_mm, item.orientation, item.unit, *_fate(item), include=item.fate == "accepted",
            frames=item.frames, reader=item.reader,
        )  # fmt: skip
        parts = tuple((n, replace(part, warnings=item.warnings, unit=item.unit)) for n, part in series.parts)
        rows.append(Row(proposal, members, parts if item.fate in IMAGES else (), proposal.case))
    return rows


def _told_by_folder(item: Item, source: Source) -> Item:
    """An MR series whose header does not say its weighting, in a folder whose name does."""
    told = known_modality(source.parts[-2]) if len(source.parts) > 1 else ""
    return replace(item, modality=told) if item.modality == "MR" and told else item


def _series_label(sources: Sequence[Source], members: Sequence[int]) -> str:
    """By the folder of its first file; by the file where it is alone, or in no folder."""
    first = sources[members[0]]
    folders = first.parts[1:-1]
    return clean_path_label(folders) if folders and len(members) > 1 else first.label


def _named_rows(found: list[Found], sources: Sequence[Source], layout: str, case_id: CaseId) -> list[Row]:
    """Images without a series: cases and modalities by the names of files and folders."""
    good = [(n, item) for n, item in found if item.fate == "accepted"]
    pairs = pair_up([Place(sources[n].parts, item.name) for n, item in good])
    rows = [Row(_left_out(item, sources[n]), (n,)) for n, item in found if item.fate != "accepted"]
    for (n, item), pair in zip(good, pairs, strict=True):
        if layout == "images" and item.reader == "array":
            item = _as_images(item)
        if item.fate != "accepted":
            rows.append(Row(_left_out(item, sources[n]), (n,)))
            continue
        unit = LABEL_UNIT if is_label_name(pair.modality) else item.unit
        proposal = Proposal(
            "", _label(item, sources[n]), 1, clean_label(pair.case), pair.modality, item.shape, item.spacing_mm,
            item.orientation, unit, *_fate(item), frames=item.frames, reader=item.reader,
        )  # fmt: skip
        rows.append(Row(proposal, (n,), ((n, item),), case_id(pair.case)))
    return rows


def _label(item: Item, source: Source) -> str:
    return clean_label(f"{source.label} [{item.name}]") if item.name else source.label


def _left_out(item: Item, source: Source) -> Proposal:
    proposal = Proposal("", _label(item, source), 1, shape=item.shape, include=False)
    return replace(proposal, fate=item.fate, code=item.code, message=item.message)


def _as_images(item: Item) -> Item:
    """An array whose first axis counts pictures."""
    try:
        if len(item.shape) < 2:
            raise RefusedError("The array is a list of numbers; pictures along its first axis are needed.", "SHAPE")
        if item.shape[0] > MAX_FRAMES:
            raise RefusedError(
                f"The array holds {item.shape[0]:,} pictures; import at most {MAX_FRAMES:,} at a time.",
                "TOO-MANY-FILES",
            )
    except RefusedError as error:
        return replace(item, fate="rejected", code=error.code, message=str(error))
    return replace(item, stack="images")


def _fate(item: Item) -> tuple[str, str, str]:
    """Fate, code and message as the table shows them."""
    if item.fate != "accepted":
        return item.fate, item.code, item.message
    return ("warned", item.warnings[0], explain(item.warnings)) if item.warnings else ("accepted", "", "")
