"""The table between the files and the import: which images were found, of which case and modality they seem to be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from core.deidentify import clean_label
from core.errors import RefusedError, UserError
from core.progress import Progress
from core.readers.decoder import Decoder
from core.readers.files import Source
from core.readers.item import MAX_FRAMES, Item
from core.readers.naming import is_label_name
from core.readers.pairing import Place, pair_up
from core.readers.series import arrange
from core.readers.values import explain
from core.types import LABEL_UNIT

Found = tuple[int, Item]  # index of the file, what is in it
CaseId = Callable[[str], str]  # a case's name -> its id in the cohort


@dataclass(frozen=True)
class Proposal:
    """One image that was found: a row of the table that a person may correct before the import.

    Attributes:
        key: stable within this scan.
        case: rows with the same text become one case.
        orientation: as found ("LPS"); everything is stored RAS.
        fate: "accepted", "warned", "quarantined", "rejected" or "ignored".
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
    for n, source in enumerate(sources):
        progress(n, 2 * len(sources), f"Looking at file {n + 1} of {len(sources)}")
        try:
            if source.problem is not None:
                raise source.problem
            found += [(n, item) for item in decoder.scan(source.path)]
        except UserError as error:
            rows.append(failed(n, source, error))
    rows += _series_rows([f for f in found if f[1].series], sources)
    rows += _named_rows([f for f in found if not f[1].series], sources, layout, case_id)
    rows.sort(key=lambda row: row.sources)
    return [replace(row, proposal=replace(row.proposal, key=f"{n:04d}")) for n, row in enumerate(rows)]


def failed(n: int, source: Source, error: UserError) -> Row:
    """The row of a file that goes no further."""
    fate = "ignored" if source.ignored else "rejected"
    return Row(Proposal("", source.label, 1, fate=fate, code=error.code, message=str(error), include=False), (n,))


def _series_rows(found: list[Found], sources: Sequence[Source]) -> list[Row]:
    rows = []
    for series in arrange(found):
        first = series.members[0]
        item = series.item
        proposal = Proposal(
            "", _series_label(sources, series.members), len({n for n, _ in series.members}),
            f"case-{item.patient}" if item.patient else "", item.modality, item.shape,
            item.spacing_mm, item.orientation, item.unit, *_fate(item), include=item.fate == "accepted",
        )  # fmt: skip
        parts = series.parts if item.fate == "accepted" else ()
        members = tuple(sorted({n for n, _ in series.members}))
        rows.append(Row(proposal, members or (first[0],), parts, proposal.case))
    return rows


def _series_label(sources: Sequence[Source], members: Sequence[Found]) -> str:
    first = sources[members[0][0]]
    if len({n for n, _ in members}) == 1:
        return first.label
    return clean_label(first.parts[-2]) if len(first.parts) > 1 else first.label


def _named_rows(found: list[Found], sources: Sequence[Source], layout: str, case_id: CaseId) -> list[Row]:
    pairs = pair_up([Place(sources[n].parts, item.name) for n, item in found])
    rows = []
    for (n, item), pair in zip(found, pairs, strict=True):
        item = _as_images(item) if layout == "images" and item.reader == "array" else item
        label = sources[n].label + (f" [{item.name}]" if item.name else "")
        unit = LABEL_UNIT if is_label_name(pair.modality) else item.unit
        proposal = Proposal(
            "", clean_label(label), 1, clean_label(pair.case), pair.modality, item.shape, item.spacing_mm,
            item.orientation, unit, *_fate(item), include=item.fate == "accepted",
        )  # fmt: skip
        parts = ((n, item),) if item.fate == "accepted" else ()
        rows.append(Row(proposal, (n,), parts, case_id(pair.case)))
    return rows


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
