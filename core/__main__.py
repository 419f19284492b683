"""The command line: `python -m core VERB`. One JSON object on stdout with --json, everything else on stderr.

Exit codes: 0 done; 2 the user can mend it (with {"error": {"code", "message"}}); 1 a bug.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from core.errors import InvalidConfigError, UserError
from core.workspace import Workspace, plain

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)

NO_ROOM = {errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR}

WorkspaceOption = Annotated[
    Path | None,
    typer.Option("--workspace", help="Folder of all that is made; default $CROSSMODAL_WORKSPACE, else ./workspace"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else")]
SetOption = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting; may be repeated")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu or cuda")]


def _workspace(folder: Path | None) -> Workspace:
    return Workspace(folder.absolute()) if folder else Workspace.default()


def _log_progress(done: float, total: float, message: str = "") -> None:
    share = f"{100 * done / total:3.0f} % " if total else ""
    sys.stderr.write(f"\r\033[K{share}{message}" if sys.stderr.isatty() else "")
    sys.stderr.flush()


def _work(workspace: Workspace, kind: str, params: dict[str, Any]) -> dict[str, Any]:
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


@app.command()
def demo(
    cases: Annotated[int, typer.Option(min=1, max=500, help="How many synthetic people")] = 24,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other people")] = 0,
    level: Annotated[str, typer.Option(help="easy, medium or hard")] = "medium",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> Any:
    """Make the demo: a generated cohort, its dataset and (for the default cohort) the trained demo run."""
    from core.demo import LEVELS

    if level not in LEVELS:
        raise InvalidConfigError(f"There is no level {level}. Levels: {', '.join(LEVELS)}.")
    return _work(_workspace(workspace), "demo", {"cases": cases, "seed": seed, "level": level})


@app.command()
def ingest(
    paths: Annotated[list[Path], typer.Argument(help="Files, folders or zips")],
    cohort: Annotated[str, typer.Option(help="Name of the cohort that the cases join")],
    layout: Annotated[str, typer.Option(help="auto, or images: an array's first axis counts pictures")] = "auto",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> Any:
    """Read images, drop all identity, and store them as cases of a cohort."""
    from core.ingest import LAYOUTS
    from core.ingest import ingest as run_ingest

    if layout not in LAYOUTS:
        raise InvalidConfigError(f"There is no layout {layout}. Layouts: {', '.join(LAYOUTS)}.")
    return run_ingest(_workspace(workspace), paths, cohort, layout, progress=_log_progress)


@app.command()
def prepare(
    cohort: Annotated[str, typer.Argument(help="Name of the cohort")],
    dataset: Annotated[str, typer.Option(help="Name of the dataset to make")],
    recipe: Annotated[str, typer.Option(help="brain-mr, brain-mr-ct, generic or pictures-255")] = "generic",
    settings: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> Any:
    """Bring every case of a cohort onto one grid and one scale."""
    from core.config import parse_overrides
    from core.recipes import make_recipe

    config = make_recipe(recipe, parse_overrides(settings or []))
    params = {"cohort": cohort, "dataset": dataset, "recipe": config.model_dump()}
    return _work(_workspace(workspace), "prepare", params)


@app.command()
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


@app.command()
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
    from core.config import parse_overrides
    from core.dataset import Dataset
    from core.runs import Run
    from core.synthesis import pick_device
    from core.train import make_config

    place = _workspace(workspace)
    values = parse_overrides(settings or [])
    if set(values) - {"model", "train"} or not all(isinstance(group, dict) for group in values.values()):
        raise InvalidConfigError("Settings of a training start with model. or train., as in train.epochs=20.")
    pick_device(device)
    data = Dataset.open(place, dataset)
    data.split(seed, fold, folds)
    config = make_config(data, model, values.get("model", {}), values.get("train", {}), seed, fold, folds)
    run = Run.new(place, config, device)
    return _start(run) if detach else _train_here(run, place)


def _start(run: Any) -> dict[str, Any]:
    from core.jobs import BACKENDS

    BACKENDS["local"].start(run)
    return {"run": run.id, "state": run.state, "seconds": 0.0, "history": []}


def _train_here(run: Any, workspace: Workspace) -> dict[str, Any]:
    from core.jobs.worker import execute, heed_signals
    from core.progress import Cancelled

    heed_signals(run)
    seconds = 0.0
    try:
        seconds = execute(run, workspace)["seconds"]
    except Cancelled:
        logging.getLogger("core").info("Stopped; what was learnt is kept")
        seconds = round(run.status.ended - run.status.started, 3)
    return {"run": run.id, "state": run.state, "seconds": seconds, "history": run.history()}


@app.command()
def evaluate(
    run: Annotated[str, typer.Argument(help="Id of the run")],
    device: DeviceOption = "auto",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> Any:
    """Judge a run on its held-out cases, beside the baselines."""
    return _work(_workspace(workspace), "evaluate", {"run": run, "device": device})


@app.command()
def embed(
    run: Annotated[str, typer.Argument(help="Id of the run")],
    device: DeviceOption = "auto",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> Any:
    """Write embedding.npz into the run's folder: z, case, modality, slice."""
    return _work(_workspace(workspace), "embed", {"run": run, "device": device})


@app.command()
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
            for run in list_runs(_workspace(workspace))
        ]
    }


@app.command()
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

    place = _workspace(workspace)
    sources = [name.strip() for name in given.split(",") if name.strip()]
    loaded = load_run(place, Run.open(place, run), device)
    save_synthesis(loaded, case, sources, target, out)
    return {"run": run, "case": case, "given": sources, "target": target, "file": out.name}


@app.command()
def cancel(
    run: Annotated[str, typer.Argument(help="Id of the run")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> Any:
    """Stop a run; what it learnt so far is kept."""
    from core.jobs import BACKENDS
    from core.runs import Run

    job = Run.open(_workspace(workspace), run)
    BACKENDS["local"].cancel(job)
    BACKENDS["local"].wait(job, timeout_s=30)
    return {"run": run, "state": job.state}


def main(arguments: Sequence[str]) -> int:
    """Run one verb; see the top of this file for what is printed where."""
    as_json = "--json" in arguments
    stdout = os.dup(1)
    if arguments and "--help" not in arguments:
        os.dup2(2, 1)  # whatever a library prints cannot reach stdout
    code, answer = _answer(arguments or ["--help"])
    sys.stdout.flush()
    if answer is not None and (as_json or code == 0):
        indent = None if as_json else 2
        os.write(stdout, (json.dumps(plain(answer), indent=indent, allow_nan=False) + "\n").encode())
    if code == 2 and not as_json and answer is not None:
        sys.stderr.write(f"{answer['error']['message']} ({answer['error']['code']})\n")
    return code


def _answer(arguments: Sequence[str]) -> tuple[int, Any]:
    """The exit code and the object to print, if any."""
    try:
        result = app(list(arguments), prog_name="python -m core", standalone_mode=False)
    except UserError as error:
        return 2, {"error": {"code": error.code, "message": str(error)}}
    except TyperException as error:
        return 2, {"error": {"code": "USAGE", "message": error.format_message()}}
    except Exception as bug:
        if isinstance(bug, OSError) and bug.errno in NO_ROOM:
            message = f"The workspace or output cannot be written: {os.strerror(bug.errno)}. Choose another place."
            return 2, {"error": {"code": "STORAGE", "message": message}}
        logging.getLogger("core").exception("This is a bug")
        return 1, {"error": {"code": "BUG", "message": "Something went wrong inside the program; see the log above."}}
    return (result, None) if isinstance(result, int) else (0, result)  # --help: 0, Ctrl-C: 130


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    sys.exit(main(sys.argv[1:]))
