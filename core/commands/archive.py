"""Verbs about what leaves and enters as one file: export, restore, generate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from core.commands import DeviceOption, JsonOption, WorkspaceOption, log_progress, workspace_of
from core.errors import InvalidConfigError
from core.workspace import drafted

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
    with drafted(out) as stream:
        pack_run(found, stream, log_progress) if found else pack_workspace(place, stream, log_progress)
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


@verbs.command()
def generate(
    run: Annotated[str, typer.Argument(help="Id of the run")],
    given: Annotated[str, typer.Option(help="Modalities that are given, separated by commas")],
    targets: Annotated[str, typer.Option(help="Modalities to make, separated by commas")],
    out: Annotated[Path, typer.Option(help="Where the .zip goes")],
    cases: Annotated[str, typer.Option(help="held-out, or lacking: all cases that lack what is made")] = "held-out",
    device: DeviceOption = "auto",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> Any:
    """Write what a run makes of many cases into one .zip; the run's check for copies must be done before."""
    from core.cohort_plan import GenerateConfig
    from core.config import build
    from core.generate import generate as run_generate
    from core.runs import Run
    from core.synthesis import load_run

    if out.suffix.lower() != ".zip":
        raise InvalidConfigError("A generated cohort is saved as one .zip: end the file's name so.", "ARCHIVE-NAME")
    place = workspace_of(workspace)
    config = build(GenerateConfig, {"given": given, "targets": targets, "cases": cases})
    loaded = load_run(place, Run.open(place, run), device)
    with drafted(out) as stream:
        found = run_generate(loaded, config, stream, log_progress)
    return {"run": run, "file": out.name, **found, "bytes": out.stat().st_size}
