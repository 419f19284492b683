"""Import: files -> Cases in a cohort. Every file has a fate, no identity gets in, a child process decodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from core.cohort import Cohort, volume_facts
from core.errors import InvalidConfigError, RefusedError, UserError
from core.intake import HELD_BACK, THERE_ALREADY, fate_of, read_image
from core.progress import Progress, silent
from core.readers.choice import Choice
from core.readers.decoder import Decoder
from core.readers.files import Source, collected
from core.readers.proposals import CaseId, Proposal, Row, propose
from core.readers.values import explain
from core.types import Case, Volume
from core.workspace import Workspace, locked, safe_name

__all__ = ["LAYOUTS", "Proposal", "ingest", "scan"]

LAYOUTS = ("auto", "images")  # "images": the first axis of an array counts pictures; each becomes a case
STORED_BEFORE = (THERE_ALREADY, "DUPLICATE-FILE")
RANK = ("rejected", "quarantined", "ignored", "accepted", "warned")  # of several images in a file, the last tells


def scan(
    workspace: Workspace, paths: Sequence[Path], layout: str = "auto", progress: Progress = silent
) -> list[Proposal]:
    """What an import of `paths` would make of them; nothing is stored.

    Raises:
        NotFoundError: A path does not exist.
        RefusedError: Too many files.
    """
    check_layout(layout)
    with collected(workspace, paths) as sources, Decoder(workspace) as decoder:
        return [row.proposal for row in propose(sources, decoder, layout, _case_ids(workspace, ""), progress)]


def ingest(
    workspace: Workspace,
    paths: Sequence[Path],
    cohort: str,
    layout: str = "auto",
    corrections: Mapping[str, Choice] | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Import `paths` into a cohort, made if it is not there yet.

    Args:
        corrections: a proposal's key -> what a person decided.

    Returns:
        {"files": one row for each file with its fate, "cases": the cases that were written to, with their volumes,
        "dropped": how many values of each kind were left behind}.

    Raises:
        InvalidConfigError: The cohort, the layout or a corrected modality has an impossible name.
        NotFoundError: A path does not exist.
        RefusedError: Too many files.
    """
    safe_name(cohort)
    check_layout(layout)
    case_id = _case_ids(workspace, cohort)
    with collected(workspace, paths) as sources, Decoder(workspace) as decoder:
        rows = propose(sources, decoder, layout, case_id, progress)
        rows = _corrected(rows, corrections or {}, _known(workspace, rows), case_id)
        importer = _Importer(workspace, cohort, decoder, sources)
        for n, row in enumerate(rows):
            progress(len(rows) + n, 2 * len(rows), f"Importing {n + 1} of {len(rows)}")
            importer.take(row)
        progress(1, 1, "Imported")
        return importer.report()


def check_layout(layout: str) -> None:
    """Raise InvalidConfigError for a layout that is none."""
    if layout not in LAYOUTS:
        raise InvalidConfigError(f"The layout is one of: {', '.join(LAYOUTS)}.")


def _case_ids(workspace: Workspace, cohort: str) -> CaseId:
    return lambda name: f"case-{workspace.pseudonym(f'{cohort}/{name}')}"


def case_token(workspace: Workspace, case: str) -> str:
    """Stands for a case's name in what is written down: a folder's name can be a person's."""
    return workspace.pseudonym(f"name/{case}")


def _known(workspace: Workspace, rows: Sequence[Row]) -> dict[str, str]:
    """The cases that were found, by their names and by what stands for these -> their ids."""
    cases = {row.proposal.case: row.case_id for row in rows if row.proposal.case}
    return cases | {case_token(workspace, case): case_id for case, case_id in cases.items()}


def _corrected(
    rows: list[Row], corrections: Mapping[str, Choice], known: Mapping[str, str], case_id: CaseId
) -> list[Row]:
    """The rows as a person wants them; what is held back and was not reviewed stays unread."""
    result = []
    for row in rows:
        choice = corrections.get(row.proposal.key, Choice(row.proposal.case, row.proposal.modality))
        is_held_back = row.proposal.fate == HELD_BACK and not choice.reviewed
        if not row.parts or (is_held_back and choice.include):
            result.append(replace(row, parts=()))
        elif not choice.include:
            left_out = replace(row.proposal, fate="ignored", code="LEFT-OUT", message="Left out, as you chose.")
            result.append(replace(row, proposal=left_out, parts=()))
        else:
            result.append(_chosen(row, choice, known.get(choice.case) or case_id(choice.case)))
    return result


def _chosen(row: Row, choice: Choice, case: str) -> Row:
    proposal = replace(row.proposal, case=choice.case, modality=safe_name(choice.modality))
    noted = ("REVIEWED",) if choice.reviewed else ()
    parts = [(n, choice.applied(item)) for n, item in row.parts]
    parts = [(n, replace(item, warnings=(*item.warnings, *noted))) for n, item in parts]
    return replace(row, proposal=proposal, case_id=case, parts=tuple(parts))


@dataclass
class _Importer:
    """Takes one row after the other, and keeps account of every file."""

    workspace: Workspace
    cohort: str
    decoder: Decoder
    sources: Sequence[Source]
    rows: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    written: dict[str, dict[str, Any]] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)

    def take(self, row: Row) -> None:
        """Read, check and store one image; whatever is wrong with it becomes its files' fate."""
        proposal = row.proposal
        outcome: dict[str, Any] = {
            "fate": proposal.fate,
            "code": proposal.code,
            "message": proposal.message,
            "case": row.case_id,
            "codes": [proposal.code] if proposal.code else [],
        }
        if row.parts:
            try:
                self._leave_behind(row)
                if row.parts[0][1].stack == "frames":
                    volume = self._store_frames(row)
                else:
                    volume = read_image(row, self.sources, self.decoder)
                    outcome["case"] = self._store(row, volume)
                codes = volume.warnings
                outcome |= {"fate": "warned" if codes else "accepted", "code": codes[0] if codes else ""}
                outcome |= {"codes": list(codes), "message": explain(codes)}
            except UserError as error:
                outcome |= {"fate": fate_of(error), "code": error.code, "codes": [error.code], "message": str(error)}
        if outcome["fate"] not in ("accepted", "warned") and outcome["code"] not in STORED_BEFORE:
            outcome["case"] = ""
        for n in row.sources:
            self.rows.setdefault(n, []).append({**outcome, "modality": proposal.modality})

    def _leave_behind(self, row: Row) -> None:
        """Count what is not taken along; nothing is read where a name would carry identity into the cohort."""
        paths = [self.sources[n].path for n in dict.fromkeys(n for n, _ in row.parts)]
        self.dropped.update(self.decoder.check(paths, [row.case_id, row.proposal.modality]))  # all else is ours

    def _store_frames(self, row: Row) -> Volume:
        """Every frame of a file as a case of its own; the last one is returned."""
        for n in range(row.proposal.frames):
            parts = tuple((file, replace(item, frame_index=n)) for file, item in row.parts)
            volume = read_image(replace(row, parts=parts), self.sources, self.decoder)
            self._write(f"case-{self.workspace.pseudonym(f'{row.case_id}/{n}')}", volume)
        return volume

    def _store(self, row: Row, volume: Volume) -> str:
        if row.parts[0][1].stack != "images":
            self._write(row.case_id, volume)
            return row.case_id
        ids = []
        for n in range(volume.data.shape[2]):
            picture = np.ascontiguousarray(volume.data[:, :, n : n + 1])
            name = self.workspace.pseudonym(f"{row.case_id}/{n}")
            ids.append(f"case-{name}")
            self._write(ids[-1], volume.with_data(picture))
        return ids[0]

    def _write(self, case_id: str, volume: Volume) -> None:
        cohort = Cohort.create(self.workspace, self.cohort)
        with locked(cohort.folder):  # another import may write to the same case
            self._write_alone(cohort, case_id, volume)

    def _write_alone(self, cohort: Cohort, case_id: str, volume: Volume) -> None:
        if case_id in cohort.case_ids and volume.modality in cohort.describe(case_id)["volumes"]:
            stored = cohort.read_volume(case_id, volume.modality)
            if np.array_equal(stored.data, volume.data) and np.allclose(stored.affine, volume.affine):
                raise RefusedError("This image is in the cohort already.", THERE_ALREADY)
            raise RefusedError(
                f"The case already has a {volume.modality}; the first one is kept. Give one of them another name.",
                "DUPLICATE-MODALITY",
            )
        cohort.write(Case(case_id, {volume.modality: volume}))
        self.written.setdefault(case_id, {})[volume.modality] = volume_facts(volume)

    def report(self) -> dict[str, Any]:
        """The outcome as JSON."""
        files = [{"label": source.label, **_together(self.rows[n])} for n, source in enumerate(self.sources)]
        cases = [{"id": case_id, "volumes": volumes} for case_id, volumes in sorted(self.written.items())]
        return {"files": files, "cases": cases, "dropped": dict(self.dropped)}


def _together(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """One row for a file of several images: the best fate, with all modalities that came in."""
    best = max(rows, key=lambda row: RANK.index(row["fate"]))
    names = [row["modality"] for row in rows if row["fate"] == best["fate"] and row["modality"]]
    return {**best, "modality": "+".join(dict.fromkeys(names))}
