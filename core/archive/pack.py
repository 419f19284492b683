"""Writing an archive."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import BinaryIO

from core.archive.layout import FORMAT, MANIFEST, MAX_BYTES, MAX_FILES, VERSION, kind_of
from core.cohort import list_cohorts
from core.dataset import list_datasets
from core.errors import RefusedError
from core.progress import Progress, silent
from core.runs import Run, list_runs
from core.workspace import Workspace

PACKED = (".nii", ".json", ".jsonl", ".npz")  # of the others nothing is gained
GENERATED = "demo"  # whoever has the program has these images: a click makes them


def pack_run(run: Run, out: BinaryIO, progress: Progress = silent) -> None:
    """One run with its weights, curves, pictures and results. The images that it learnt from are not in it."""
    _write(run.folder.parent.parent, "run", [run.folder], out, progress)


def pack_workspace(workspace: Workspace, out: BinaryIO, progress: Progress = silent) -> None:
    """All cohorts, datasets and ended runs, without the generated demo's images.

    Raises:
        RefusedError: They are more than one file may hold (code EXPORT-TOO-LARGE), or there is nothing (EXPORT-EMPTY).
    """
    cohorts = [cohort.folder for cohort in list_cohorts(workspace) if not _is_demo(cohort.name, cohort.info)]
    datasets = [found.folder for found in list_datasets(workspace) if not _is_demo(found.name, found.index)]
    runs = [run.folder for run in list_runs(workspace) if run.state not in ("queued", "running")]
    _write(workspace.root, "workspace", [*cohorts, *datasets, *runs], out, progress)


def _is_demo(name: str, facts: dict[str, object]) -> bool:
    return name == GENERATED and bool(facts.get("simulated"))


def _write(root: Path, kind: str, folders: Sequence[Path], out: BinaryIO, progress: Progress) -> None:
    paths = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    names = {path.relative_to(root).as_posix(): path for path in paths if not path.is_symlink()}
    names = {name: path for name, path in names.items() if kind_of(name)}
    _check_size(names.values())
    files = {}
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for n, (name, path) in enumerate(names.items()):
            progress(n, len(names), "Packing")
            method = zipfile.ZIP_DEFLATED if path.suffix in PACKED else zipfile.ZIP_STORED
            files[name] = _add(archive, name, path, method)
        manifest = {"format": FORMAT, "version": VERSION, "kind": kind, "files": files}
        archive.writestr(MANIFEST, json.dumps(manifest, indent=1), zipfile.ZIP_DEFLATED)
    progress(len(names), len(names), "Packed")


def _check_size(paths: Collection[Path]) -> None:
    sizes = [path.stat().st_size for path in paths]
    if not sizes:
        raise RefusedError("There is nothing to export yet but the demo, which is a click away.", "EXPORT-EMPTY")
    if sum(sizes) > MAX_BYTES or len(sizes) > MAX_FILES:
        raise RefusedError(
            f"This is {sum(sizes) / 1e9:.1f} GB in {len(sizes):,} files; one export holds 4 GB and {MAX_FILES:,} at "
            "most. Delete what you do not need, or export single runs.",
            "EXPORT-TOO-LARGE",
        )


def _add(archive: zipfile.ZipFile, name: str, path: Path, method: int) -> dict[str, object]:
    """Copy a file in pieces, hashing what is written."""
    entry = undated(name, method)
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as source, archive.open(entry, "w", force_zip64=True) as target:
        while piece := source.read(1 << 20):
            digest.update(piece)
            size += len(piece)
            target.write(piece)
    return {"bytes": size, "sha256": digest.hexdigest()}


def undated(name: str, method: int) -> zipfile.ZipInfo:
    """An entry of no known date, so that equal contents give equal files."""
    entry = zipfile.ZipInfo(name)
    entry.compress_type, entry.external_attr = method, 0o644 << 16
    return entry
