"""The verbs of the command line, and what they share: the options that many take, work as a job in this process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from core.errors import UserError
from core.workspace import Workspace

WorkspaceOption = Annotated[
    Path | None,
    typer.Option("--workspace", help="Folder of all that is made; default $CROSSMODAL_WORKSPACE, else ./workspace"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else")]
SetOption = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting; may be repeated")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu or cuda")]


def workspace_of(folder: Path | None) -> Workspace:
    return Workspace(folder.absolute()) if folder else Workspace.default()


def log_progress(done: float, total: float, message: str = "") -> None:
    share = f"{100 * done / total:3.0f} % " if total else ""
    sys.stderr.write(f"\r\033[K{share}{message}" if sys.stderr.isatty() else "")
    sys.stderr.flush()


def work(workspace: Workspace, kind: str, params: dict[str, Any]) -> dict[str, Any]:
    """Run a job in this process; its folder stays, as a record."""
    from core.jobs.worker import execute, heed_signals
    from core.progress import Cancelled
    from core.runs import new_job

    job = new_job(workspace, kind, params)
    heed_signals(job)
    try:
        return dict(execute(job, workspace))
    except Cancelled as stop:
        raise UserError("Stopped, as asked. Start again when you like.", "CANCELLED") from stop
