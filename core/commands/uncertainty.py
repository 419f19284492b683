"""The verb about error bars: uncertainty."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from core.commands import DeviceOption, JsonOption, SetOption, WorkspaceOption, work, workspace_of
from core.config import parse_overrides
from core.errors import InvalidConfigError

verbs = typer.Typer()


@verbs.command()
def uncertainty(
    run: Annotated[str, typer.Argument(help="Id of the run")],
    given: Annotated[str, typer.Option(help="Modalities that are given, separated by commas; with --target")] = "",
    target: Annotated[str, typer.Option(help="Modality that is made; without both, the usual pairs")] = "",
    settings: SetOption = None,
    device: DeviceOption = "auto",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> Any:
    """Put 90 % error bars on what a run makes: calibrated on some held-out cases, tested on the others."""
    if bool(given) != bool(target):
        raise InvalidConfigError("Say both what is given and the target, or neither for the usual pairs.", "PAIR")
    pairs = [[[name.strip() for name in given.split(",") if name.strip()], target]] if given else []
    params = {"run": run, "device": device, "pairs": pairs, "settings": parse_overrides(settings or [])}
    return work(workspace_of(workspace), "uncertainty", params)
