"""The verb about arenas: arena."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from core.commands import (
    DeviceOption,
    JsonOption,
    WorkspaceOption,
    check_device,
    start_in_background,
    tell_how_to_go_on,
    work_on,
    workspace_of,
)

verbs = typer.Typer()


@verbs.command()
def arena(
    dataset: Annotated[str, typer.Argument(help="Name of the dataset")],
    models: Annotated[str, typer.Option(help="Models that compete, with commas between")] = "mvae,hemis",
    folds: Annotated[
        int, typer.Option(help="Parts into which the cases are divided; as many as cases: leave one out")
    ] = 3,
    minutes: Annotated[float, typer.Option(help="Longest time of each training, the same for all")] = 8.0,
    modalities: Annotated[str, typer.Option(help="Modalities that all learn and make; empty: all there are")] = "",
    subsets: Annotated[str, typer.Option(help="small: single modalities and all others together; or all")] = "small",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the folds and of every training")] = 0,
    device: DeviceOption = "auto",
    detach: Annotated[bool, typer.Option("--detach", help="Start in the background and return at once")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> Any:
    """Let models compete with U-Net, pix2pix and simple baselines on the same folds: one table with claims."""
    from core.arena.settings import ArenaOptions, make_arena_config
    from core.config import build
    from core.dataset import Dataset
    from core.runs import new_job

    place = workspace_of(workspace)
    values = {
        "models": models,
        "n_folds": folds,
        "minutes": minutes,
        "modalities": modalities,
        "subsets": subsets,
        "seed": seed,
    }
    check_device(device)
    config = make_arena_config(Dataset.open(place, dataset), build(ArenaOptions, values))
    job = new_job(place, "arena", {"config": config.model_dump(mode="json"), "device": device})
    return start_in_background(job, "arena") if detach else _compete_here(job, place)


def _compete_here(job: Any, place: Any) -> dict[str, Any]:
    """The table of every pair by mean absolute error; single numbers of every case lie in the job's results."""
    from core.arena.table import pairs_of, standings

    tell_how_to_go_on(job)
    found = work_on(job, place)
    table = [
        {"given": list(given), "target": target, "mae": standings(found["rows"], (given, target), "mae")}
        for given, target in pairs_of(found["rows"])
    ]
    about = {name: found[name] for name in ("config", "protocol", "folds", "entrants")}
    return {"arena": job.id, **about, "table": table}
