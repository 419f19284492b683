"""Verbs about searches: search, searches."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from core.commands import (
    DeviceOption,
    JsonOption,
    SetOption,
    WorkspaceOption,
    check_device,
    start_in_background,
    tell_how_to_go_on,
    training_settings,
    work_on,
    workspace_of,
)
from core.errors import NotFoundError

verbs = typer.Typer()
GridOption = Annotated[
    list[str], typer.Option("--grid", metavar="KEY=VALUE,VALUE", help="A setting and its values; may be repeated")
]


@verbs.command()
def search(
    dataset: Annotated[str, typer.Argument(help="Name of the dataset")],
    model: Annotated[str, typer.Option(help="A name from `models`")],
    grid: GridOption,
    settings: SetOption = None,
    folds: Annotated[int, typer.Option(help="Parts into which the cases are divided")] = 5,
    metric: Annotated[str, typer.Option(help="A metric of `evaluate`, such as mae, psnr or ssim")] = "mae",
    target: Annotated[str, typer.Option(help="Modality whose synthesis is judged; empty: all")] = "",
    stratify: Annotated[str, typer.Option(help="A label that every fold gets its share of")] = "",
    halving: Annotated[bool, typer.Option("--halving", help="The better half goes on after 1, 2, 4 folds")] = False,
    nested: Annotated[bool, typer.Option("--nested", help="Tell how much the best score flatters")] = False,
    inner_folds: Annotated[int, typer.Option(help="Folds of each choice in a nested search")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Seed of test cases, folds and trainings")] = 0,
    device: DeviceOption = "auto",
    detach: Annotated[bool, typer.Option("--detach", help="Start in the background and return at once")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> Any:
    """Find good settings: every point of the grid on every fold. The test cases stay unseen."""
    from core.config import build
    from core.dataset import Dataset
    from core.runs import new_job
    from core.search.grid import parse_grid
    from core.search.plan import make_search_config
    from core.search.settings import SearchOptions

    place = workspace_of(workspace)
    options = build(
        SearchOptions,
        {
            "n_folds": folds,
            "metric": metric,
            "judged": target,
            "stratify": stratify,
            "halving": halving,
            "nested": nested,
            "inner_folds": inner_folds,
            "seed": seed,
        },
    )
    check_device(device)
    fixed = training_settings(settings)
    config = make_search_config(Dataset.open(place, dataset), model, fixed, parse_grid(grid), options)
    job = new_job(place, "search", {"config": config.model_dump(mode="json"), "device": device})
    return start_in_background(job, "search") if detach else _search_here(job, place)


@verbs.command()
def searches(
    search: Annotated[str, typer.Argument(help="Id of a search, for its table; empty lists all")] = "",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> Any:
    """List the searches, newest first, or show what one has found so far."""
    from core.runs import list_jobs

    jobs = [job for job in list_jobs(workspace_of(workspace)) if job.kind == "search"]
    if not search:
        return {"searches": [_line(job) for job in jobs]}
    job = next((job for job in jobs if job.id == search), None)
    if job is None:
        raise NotFoundError("There is no such search. List them with `searches`.")
    return {**_line(job), **(job.result or {})}


def _line(job: Any) -> dict[str, Any]:
    config = job.params["config"]
    return {"search": job.id, "state": job.state, "model": config["model"], "dataset": config["dataset"]}


def _search_here(job: Any, place: Any) -> dict[str, Any]:
    tell_how_to_go_on(job)
    return {"search": job.id, **work_on(job, place)}
