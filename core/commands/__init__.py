"""The verbs of the command line, and what they share: the options that many take, work as a job in this process."""

from __future__ import annotations

import logging
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import InvalidConfigError, UserError
from core.workspace import Workspace

if TYPE_CHECKING:
    from core.runs import Job

WorkspaceOption = Annotated[
    Path | None,
    typer.Option("--workspace", help="Folder of all that is made; default $CROSSMODAL_WORKSPACE, else ./workspace"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else")]
SetOption = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting; may be repeated")]
STOP_S = 60.0  # for work on another machine, until it has heard that it should stop
DeviceOption = Annotated[str, typer.Option(help="auto, cpu or cuda")]


def workspace_of(folder: Path | None) -> Workspace:
    return Workspace(folder.absolute()) if folder else Workspace.default()


def training_settings(pairs: list[str] | None) -> dict[str, Any]:
    """What --set says of a training: "model" and "train" -> their settings."""
    from core.config import parse_overrides

    values = parse_overrides(pairs or [])
    if set(values) - {"model", "train"} or not all(isinstance(group, dict) for group in values.values()):
        raise InvalidConfigError("Settings of a training start with model. or train., as in train.epochs=20.")
    return values


def job_of(workspace: Workspace, name: str) -> Job:
    """The run, the search or the arena of that id."""
    from core.runs import Run, list_jobs

    found = [job for job in list_jobs(workspace) if job.id == name and job.kind in ("search", "arena")]
    return found[0] if found else Run.open(workspace, name)


def check_device(device: str) -> None:
    """Refuse a device that this machine lacks; a cluster's machines are asked when they get the work."""
    from core.cluster import chosen
    from core.synthesis import pick_device

    if chosen() == "local":
        pick_device(device)


def start_in_background(job: Job, name: str) -> dict[str, Any]:
    """Its id, under that name, and its state."""
    from core.jobs import backend

    backend().start(job)
    return {name: job.id, "state": job.state}


def tell_how_to_go_on(job: Job) -> None:
    logging.getLogger("core").info("%s. To go on after a stop: python -m core resume %s", job.id, job.id)


def log_progress(done: float, total: float, message: str = "") -> None:
    share = f"{100 * done / total:3.0f} % " if total else ""
    sys.stderr.write(f"\r\033[K{share}{message}" if sys.stderr.isatty() else "")
    sys.stderr.flush()


def work(workspace: Workspace, kind: str, params: dict[str, Any]) -> dict[str, Any]:
    """Run a job in this process; its folder stays, as a record."""
    from core.runs import new_job

    return work_on(new_job(workspace, kind, params), workspace)


def work_on(job: Job, workspace: Workspace) -> dict[str, Any]:
    """Work through this job in this process."""
    from core.jobs.worker import execute, heed_signals
    from core.progress import Cancelled

    try:
        if runs_elsewhere(job):
            return dict(await_end(job))
        heed_signals(job)
        return dict(execute(job, workspace))
    except Cancelled as stop:
        raise UserError("Stopped, as asked. Start again when you like.", "CANCELLED") from stop


def runs_elsewhere(job: Job) -> bool:
    """Whether the chosen backend does this kind of work on other machines."""
    from core.cluster import chosen
    from core.jobs.order import TRAINS

    return chosen() != "local" and job.kind in TRAINS


def await_end(job: Job) -> Any:
    """Start a job by the chosen backend and wait for its end; Ctrl-C stops it. Returns what it found.

    Raises:
        UserError: What the user can mend ended it.
        Cancelled: It was stopped or paused.
    """
    from core.jobs import backend
    from core.progress import Cancelled

    def has_ended() -> bool:
        status = job.status
        log_progress(status.done, status.total, status.message)
        return status.state not in ("queued", "running")

    backend().start(job)
    try:
        backend().wait_for(job, has_ended, math.inf)
    except KeyboardInterrupt:
        backend().cancel(job)
        backend().wait(job, STOP_S)
    status = job.status
    if status.state in ("failed", "lost"):
        raise UserError(status.error, status.code)
    if status.state != "finished":
        raise Cancelled
    return job.result or {}
