"""Verbs about exports: export, restore."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from core.commands import JsonOption, WorkspaceOption, log_progress, workspace_of
from core.errors import InvalidConfigError

verbs = typer.Typer()


@verbs.command()
def export(
    out: Annotated[Path, typer.Option(help="Where the .zip goes")],
    run: Annotated[str, typer.Option(help="Id of a run; without one the whole workspace")] = "",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> Any:
    """Write a run, or all that was made but the demo's images, into one file."""
    from core.archive import pack_run, pack_workspace
    from core.runs import Run

    place = workspace_of(workspace)
    found = Run.open(place, run) if run else None
    draft = out.with_name(f".{out.name}.draft")
    try:
        with draft.open("wb") as stream:
            pack_run(found, stream, log_progress) if found else pack_workspace(place, stream, log_progress)
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)
    return {"file": out.name, "bytes": out.stat().st_size}


@verbs.command()
def restore(
    file: Annotated[Path, typer.Argument(help="An export")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> Any:
    """Check an export as any file of a stranger, and add what is in it."""
    from core.archive import take_in

    if not file.is_file():
        raise InvalidConfigError("The export is not there. Check the spelling.", "ARCHIVE-FILE")
    return take_in(workspace_of(workspace), file, log_progress)
