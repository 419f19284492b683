"""Verbs about models and runs: models, train, evaluate, compare, report, embed, runs, synthesise, cancel, pause ..."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import typer

from core.commands import (
    DeviceOption,
    JsonOption,
    SetOption,
    WorkspaceOption,
    await_end,
    check_device,
    job_of,
    runs_elsewhere,
    start_in_background,
    training_settings,
    work,
    workspace_of,
)
from core.errors import InvalidConfigError
from core.workspace import Workspace

verbs = typer.Typer()
CHECKS = "usefulness, misalignment, memorisation, realism, with commas between; or all"


@verbs.command()
def models(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> Any:
    """List the models and their settings."""
    from core.models import MODELS

    return {
        "models": [
            {"name": name, "title": model.title, "summary": model.summary, "settings": _settings(model.Config)}
            for name, model in MODELS.items()
        ]
    }


def _settings(kind: Any) -> dict[str, Any]:
    fields = kind.model_json_schema()["properties"]
    return {name: {key: value for key, value in field.items() if key != "title"} for name, field in fields.items()}


@verbs.command()
def train(
    dataset: Annotated[str, typer.Argument(help="Name of the dataset")],
    model: Annotated[str, typer.Option(help="A name from `models`")],
    settings: SetOption = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the split, the weights and the batches")] = 0,
    fold: Annotated[int | None, typer.Option(help="The fold that is held out, counted from 0")] = None,
    folds: Annotated[int | None, typer.Option(help="Number of folds")] = None,
    device: DeviceOption = "auto",
    detach: Annotated[bool, typer.Option("--detach", help="Start in the background and return at once")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> Any:
    """Train a model on a dataset. Without --fold a seeded fifth of the cases is held out."""
    from core.dataset import Dataset
    from core.runs import Run
    from core.train import make_config

    place = workspace_of(workspace)
    values = training_settings(settings)
    check_device(device)
    data = Dataset.open(place, dataset)
    data.split(seed, fold, folds)
    config = make_config(data, model, values.get("model", {}), values.get("train", {}), seed, fold, folds)
    run = Run.new(place, config, device)
    if detach:
        return {**start_in_background(run, "run"), "seconds": 0.0, "history": []}
    return _train_here(run, place)


def _train_here(run: Any, workspace: Workspace) -> dict[str, Any]:
    from core.jobs.worker import execute, heed_signals
    from core.progress import Cancelled

    seconds = 0.0
    try:
        if runs_elsewhere(run):
            await_end(run)
            seconds = round(run.status.ended - run.status.started, 3)
        else:
            heed_signals(run)
            seconds = execute(run, workspace)["seconds"]
    except Cancelled:
        logging.getLogger("core").info("Stopped; what was learnt is kept")
        seconds = round(run.status.ended - run.status.started, 3)
    return {"run": run.id, "state": run.state, "seconds": seconds, "history": run.history()}


@verbs.command()
def evaluate(
    run: Annotated[str, typer.Argument(help="Id of the run")],
    checks: Annotated[str, typer.Option(help=f"Also do further checks: {CHECKS}")] = "",
    device: DeviceOption = "auto",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> Any:
    """Judge a run on its held-out cases, beside the baselines."""
    params = {"run": run, "device": device, "checks": _checks(checks)}
    return work(workspace_of(workspace), "evaluate", params)


def _checks(text: str) -> list[str]:
    from core.audit import AUDITS

    return list(AUDITS) if text == "all" else [name.strip() for name in text.split(",") if name.strip()]


@verbs.command()
def audit(
    run: Annotated[str, typer.Argument(help="Id of the run")],
    checks: Annotated[str, typer.Option(help=CHECKS)] = "all",
    device: DeviceOption = "auto",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> Any:
    """Check a run further: of use to a segmenter? misaligned? copies of training images? real as a whole?"""
    return work(workspace_of(workspace), "audit", {"run": run, "names": _checks(checks), "device": device})


@verbs.command()
def compare(
    first: Annotated[str, typer.Argument(help="Id of the run that the claim is about")],
    others: Annotated[list[str], typer.Argument(help="Ids of the runs to compare it with")],
    given: Annotated[str, typer.Option(help="Modalities that were given, separated by commas")],
    target: Annotated[str, typer.Option(help="Modality that was made")],
    metric: Annotated[str, typer.Option(help="mae, psnr, ssim ..., or of a region, as in mae@lesion")] = "mae",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> Any:
    """Compare judged runs case by case; refused where they were judged under other conditions."""
    from core.claims import compare_runs
    from core.runs import Run

    place = workspace_of(workspace)
    runs = [Run.open(place, run) for run in (first, *others)]
    modalities = tuple(part.strip() for part in given.split(","))
    return compare_runs(runs[0], runs[1:], (modalities, target), metric)


@verbs.command()
def report(
    run: Annotated[str, typer.Argument(help="Id of the run")],
    out: Annotated[Path, typer.Option(help="Where the .html goes")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> Any:
    """Write all of a judged run into one HTML file: results, conditions, dataset and model card, versions, seeds."""
    from core.report import report_html
    from core.runs import Run

    if out.suffix.lower() != ".html":
        raise InvalidConfigError("A report is saved as HTML: end the file's name in .html.", "REPORT-NAME")
    place = workspace_of(workspace)
    text = report_html(place, Run.open(place, run))
    out.write_text(text, encoding="utf-8")
    return {"run": run, "bytes": len(text.encode())}


@verbs.command()
def embed(
    run: Annotated[str, typer.Argument(help="Id of the run")],
    device: DeviceOption = "auto",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> Any:
    """Write embedding.npz into the run's folder: z, case, modality, slice."""
    return work(workspace_of(workspace), "embed", {"run": run, "device": device})


@verbs.command()
def runs(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> Any:
    """List the runs, newest first."""
    from core.runs import list_runs

    return {
        "runs": [
            {
                "run": run.id,
                "title": run.title,
                "state": run.state,
                "model": run.config.model,
                "dataset": run.config.dataset,
                "seed": run.config.seed,
                "fold": run.config.fold,
                "folds": run.config.n_folds,
            }
            for run in list_runs(workspace_of(workspace))
        ]
    }


@verbs.command()
def synthesise(
    run: Annotated[str, typer.Argument(help="Id of the run")],
    case: Annotated[str, typer.Option(help="Id of the case")],
    given: Annotated[str, typer.Option(help="Modalities that are given, separated by commas")],
    target: Annotated[str, typer.Option(help="Modality to make")],
    out: Annotated[Path, typer.Option(help="Where the .nii or .nii.gz goes")],
    device: DeviceOption = "auto",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> Any:
    """Make one modality of a case from others and save it as NIfTI."""
    from core.export import save_synthesis
    from core.runs import Run
    from core.synthesis import load_run

    place = workspace_of(workspace)
    sources = [name.strip() for name in given.split(",") if name.strip()]
    loaded = load_run(place, Run.open(place, run), device)
    save_synthesis(loaded, case, sources, target, out)
    return {"run": run, "case": case, "given": sources, "target": target, "file": out.name}


@verbs.command()
def cancel(
    run: Annotated[str, typer.Argument(help="Id of the run or search")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> Any:
    """Stop a run or a search; what it learnt so far is kept."""
    from core.jobs import backend

    job = job_of(workspace_of(workspace), run)
    backend().cancel(job)
    backend().wait(job, timeout_s=30)
    return {"run": run, "state": job.state}


@verbs.command()
def pause(
    run: Annotated[str, typer.Argument(help="Id of the run or search")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> Any:
    """Let a run or a search rest; `resume` goes on exactly where it was."""
    from core.jobs import backend

    job = job_of(workspace_of(workspace), run)
    backend().pause(job)
    backend().wait_for(job, lambda: job.state not in ("queued", "running"), timeout_s=60)
    return {"run": run, "state": job.state}


@verbs.command()
def resume(
    run: Annotated[str, typer.Argument(help="Id of the run or search")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> Any:
    """Go on with a run or a search that was paused, stopped or broke off; it queues up and runs in the background."""
    from core.jobs import backend

    job = job_of(workspace_of(workspace), run)
    backend().resume(job)
    return {"run": run, "state": job.state}
