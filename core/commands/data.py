"""Verbs about images: demo, ingest, look, prepare, recipe, quality, exclude, label."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from core.commands import JsonOption, SetOption, WorkspaceOption, log_progress, work, workspace_of
from core.errors import InvalidConfigError

verbs = typer.Typer()
LayoutOption = Annotated[str, typer.Option(help="auto, or images: an array's first axis counts pictures")]


@verbs.command()
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
    return work(workspace_of(workspace), "demo", {"cases": cases, "seed": seed, "level": level})


@verbs.command()
def ingest(
    paths: Annotated[list[Path], typer.Argument(help="Files, folders or zips")],
    cohort: Annotated[str, typer.Option(help="Name of the cohort that the cases join")],
    layout: LayoutOption = "auto",
    reviewed: Annotated[
        Path | None,
        typer.Option(
            help="A text file: the labels of held-back pictures that somebody has looked at, one a line; "
            "boxes to blacken may follow after two spaces: column,row,width,height;..."
        ),
    ] = None,
    frame: Annotated[
        str, typer.Option(help="Of films and series in time: which frame, counted from 0, or each as a case of its own")
    ] = "",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> Any:
    """Read images, drop all identity, and store them as cases of a cohort."""
    from core.ingest import ingest as run_ingest
    from core.ingest import scan
    from core.quarantine import read_list, released
    from core.readers.choice import with_frame

    place = workspace_of(workspace)
    choices = {}
    proposals = scan(place, paths, layout) if reviewed is not None or frame else []
    if reviewed is not None:
        if not reviewed.is_file():
            raise InvalidConfigError("The list of reviewed pictures is not there. Check the spelling.", "REVIEWED-LIST")
        looked = read_list(reviewed.read_text(errors="replace"))
        choices = released(proposals, looked)
    if frame:
        choices = with_frame(proposals, choices, frame)
    return run_ingest(place, paths, cohort, layout, choices, log_progress)


@verbs.command()
def look(
    paths: Annotated[list[Path], typer.Argument(help="Files, folders or zips")],
    out: Annotated[Path, typer.Option(help="Folder for the pictures")],
    layout: LayoutOption = "auto",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> Any:
    """Draw the pictures that an import would hold back, so that somebody can look at them; nothing is stored."""
    from core.ingest import check_layout
    from core.intake import HELD_BACK
    from core.survey import look as run_look

    check_layout(layout)
    found = run_look(workspace_of(workspace), paths, layout, out, log_progress)
    held_back = [proposal for proposal in found if proposal.fate == HELD_BACK]
    return {"pictures": [{"key": p.key, "label": p.label, "slices": p.slices} for p in held_back]}


@verbs.command()
def prepare(
    cohort: Annotated[str, typer.Argument(help="Name of the cohort")],
    dataset: Annotated[str, typer.Option(help="Name of the dataset to make")],
    recipe: Annotated[str, typer.Option(help="A name from `recipe`, or a recipe's .json file")] = "generic",
    settings: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> Any:
    """Bring every case of a cohort onto one grid and one scale."""
    config = _recipe(recipe, settings)
    params = {"cohort": cohort, "dataset": dataset, "recipe": config.model_dump()}
    return work(workspace_of(workspace), "prepare", params)


@verbs.command()
def quality(
    dataset: Annotated[str, typer.Argument(help="Name of the dataset")],
    again: Annotated[bool, typer.Option("--again", help="Check anew, also where a check is there")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> Any:
    """Tell what somebody should look at: missing modalities, odd cases, drift by site, cases that are too alike."""
    from core.dataset import Dataset
    from core.quality.report import read_report
    from core.quality.summary import summary

    place = workspace_of(workspace)
    found = Dataset.open(place, dataset)
    report = None if again else read_report(found)
    return summary(found, report) if report else work(place, "quality", {"dataset": dataset})


@verbs.command()
def recipe(
    name: Annotated[str, typer.Argument(help="A recipe's name or file; empty lists the names")] = "",
    settings: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> Any:
    """Print a recipe as it can be saved and loaded, or list the recipes."""
    from core.recipes import RECIPE_SUMMARIES, recipe_to_text

    if not name:
        return {"recipes": RECIPE_SUMMARIES}
    return json.loads(recipe_to_text(Path(name).stem, _recipe(name, settings)))


def _recipe(name: str, settings: list[str] | None) -> Any:
    """A named recipe or one from a file, with some settings changed."""
    from core.config import parse_overrides
    from core.recipes import changed, make_recipe, recipe_from_text

    overrides = parse_overrides(settings or [])
    path = Path(name)
    if path.suffix.lower() != ".json":
        return make_recipe(name, overrides)
    if not path.is_file():
        raise InvalidConfigError("The recipe's file is not there. Check the spelling.", "RECIPE")
    return changed(recipe_from_text(path.read_text(errors="replace"))[1], overrides)


@verbs.command()
def exclude(
    dataset: Annotated[str, typer.Argument(help="Name of the dataset")],
    case: Annotated[str, typer.Argument(help="Id of the case")],
    reason: Annotated[str, typer.Option(help="Why; without a reason a case that was left out is taken back")] = "",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> Any:
    """Leave a case out of a dataset, or take it back."""
    from core.dataset import Dataset

    found = Dataset.open(workspace_of(workspace), dataset)
    if reason:
        found.exclude(case, reason)
    else:
        found.include(case)
    return {"dataset": dataset, "cases": len(found.case_ids), "excluded": found.excluded}


@verbs.command()
def label(
    cohort: Annotated[str, typer.Argument(help="Name of the cohort")],
    table: Annotated[Path | None, typer.Option("--csv", help="A table of labels to give; --out writes one")] = None,
    out: Annotated[Path | None, typer.Option(help="Where to write the table, to fill it in")] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> Any:
    """Give labels such as site or diagnosis to the cases of a cohort, or show them."""
    from core.cohort import Cohort
    from core.labels import give_labels, labels_from_csv, labels_of, labels_to_csv

    place = workspace_of(workspace)
    found = Cohort.open(place, cohort)
    changed = 0
    if table is not None:
        if not table.is_file():
            raise InvalidConfigError("The table of labels is not there. Check the spelling.", "LABEL-TABLE")
        changed = give_labels(place, found, labels_from_csv(found, table.read_bytes()))
    if out is not None:
        out.write_text(labels_to_csv(found))
    return {"cohort": cohort, "changed": changed, "labels": labels_of(found)}
