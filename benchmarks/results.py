"""The arena on the demo cohort and on real patients: writes docs/results.md with its figures. `make results`.

A small budget, the same for every model, so that anyone can repeat it: RESULTS_MINUTES (default two) of one core
for each training. Real patients are the three of `brain_ms_2mm` in the folder CROSSMODAL_DATA; without it that part is
left out. RESULTS_FOLDER keeps datasets and trainings, so that a run that was broken off goes on.
"""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks import Figures
from benchmarks.generated import generated_dataset
from benchmarks.real import DATA
from core.arena.arena import Arena
from core.arena.settings import REFERENCE, ArenaOptions, make_arena_config
from core.arena.table import Pair, by_case, pairs_of, standings
from core.cohort import Cohort
from core.config import TrainConfig
from core.dataset import Dataset
from core.errors import NotFoundError
from core.ingest import ingest
from core.models import MODELS
from core.prepare import prepare
from core.recipes import make_recipe
from core.report_figures import side_by_side, strip
from core.runs import Job, list_jobs, new_job
from core.statistics import MIN_CASES, MIN_TEST_CASES
from core.types import PHYSICAL_UNITS
from core.workspace import Workspace

DOCS = Path(__file__).resolve().parents[1] / "docs"
MINUTES = float(os.environ.get("RESULTS_MINUTES", "2"))
CHOSEN = ("mvae", "hemis", "mm_synthesis")  # beside those that every arena has
DEMO_MODALITIES = ("T1", "T2", "CT", "PET")
N_DEMO, N_FOLDS = 12, 3
SPACING_MM = (3.0,)
DIGITS = {"HU": 1, "SUV": 3}  # after the point; the 0-1 scale has four
Row = Mapping[str, Any]
HEAD = """# Results
Made by one command, `make results`, which anyone can repeat; no number here is typed by hand. Models learn from the \
same folds for the same time and are judged on the same voxels of cases that they never saw. The budget is small on \
purpose: at most {seconds:.0f} s of one core for each training (`RESULTS_MINUTES`), where an arena's default is 8 \
minutes. So this ranks what learns quickly, not what is best in the end. No number is comparable with those of other \
papers or protocols.

{machine}
"""
COLUMNS = (
    "made from all others", "model", "MAE", "of the mean, 95 %", "PSNR, dB", "SSIM", f"MAE against {REFERENCE}",
    "p (Holm)", "so it is",
)  # fmt: skip


@dataclass(frozen=True)
class Part:
    """One cohort's arena: its name in files, what it is, what was found."""

    name: str
    said: str
    found: Mapping[str, Any]


def measure_results() -> Figures:
    """Both cohorts; the page and its figures are written, the mean errors returned."""
    torch.set_num_threads(1)
    parts = []
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(os.environ.get("RESULTS_FOLDER", folder)))
        parts.append(_part(workspace, "demo", _demo, "generated people (simulated)"))
        if (DATA / "brain_ms_2mm").is_dir():
            parts.append(_part(workspace, "ms", _patients, "patients with multiple sclerosis, each left out once"))
    for part in parts:
        (DOCS / f"results-{part.name}.svg").write_text(figure(part.found))
    (DOCS / "results.md").write_text(page(parts))
    return {f"{part.name}_{key}": value for part in parts for key, value in _means(part.found).items()}


def _part(workspace: Workspace, name: str, make: Any, said: str) -> Part:
    dataset: Dataset = make(workspace, name)
    n_folds = N_FOLDS if name == "demo" else len(dataset.case_ids)
    modalities = DEMO_MODALITIES if name == "demo" else dataset.modalities
    options = ArenaOptions(models=CHOSEN, n_folds=n_folds, minutes=MINUTES, modalities=tuple(modalities))
    config = make_arena_config(dataset, options)
    job = _job(workspace, {"config": config.model_dump(mode="json"), "device": "cpu"})
    found = Arena(job, config, dataset, torch.device("cpu")).run()
    spacing = " x ".join(f"{mm:g}" for mm in dataset.spacing_mm)
    words = f"{len(dataset.case_ids)} {said}; {', '.join(modalities)}; voxels of {spacing} mm"
    return Part(name, words, found)


def _job(workspace: Workspace, params: dict[str, Any]) -> Job:
    """The one that an earlier run left, else a new one."""
    old = (job for job in list_jobs(workspace) if job.kind == "arena" and job.params == params)
    return next(old, None) or new_job(workspace, "arena", params)


def _demo(workspace: Workspace, name: str) -> Dataset:
    return generated_dataset(workspace, name, N_DEMO, spacing_mm=SPACING_MM)


def _patients(workspace: Workspace, name: str) -> Dataset:
    with suppress(NotFoundError):
        return Dataset.open(workspace, name)
    ingest(workspace, [DATA / "brain_ms_2mm"], name)
    recipe = make_recipe("brain-mr", {"spacing_mm": SPACING_MM})
    return prepare(workspace, Cohort.open(workspace, name), name, recipe)


def _means(found: Mapping[str, Any]) -> Figures:
    return {
        f"{line['model']}_{pair[1]}_mae": float(line["mean"])
        for pair in headline(found)
        for line in standings(found["rows"], pair, "mae")
    }


def headline(found: Mapping[str, Any]) -> list[Pair]:
    """Each modality from all the others."""
    pairs = pairs_of(found["rows"])
    most = max(len(given) for given, _ in pairs)
    return [pair for pair in pairs if len(pair[0]) == most]


def page(parts: Sequence[Part]) -> str:
    """docs/results.md, whole."""
    machine = f"{platform.machine()}, Python {platform.python_version()}, torch {version('torch')}, seed 0."
    head = HEAD.format(seconds=60 * MINUTES, machine=machine)
    return head + "".join(_section(part) for part in parts)


def _section(part: Part) -> str:
    found, units = part.found, part.found["protocol"]["mae_units"]
    title = "Demo cohort" if part.name == "demo" else "Real patients"
    lines = [
        f"\n## {title}",
        f"{part.said}. Protocol `{found['protocol']['fingerprint']}`, {len(found['folds'])} folds, "
        f"{sum(one['seconds'] for one in found['entrants']) / 60:.0f} min on one core in all.\n",
        f"![Errors of every case, by model](results-{part.name}.svg)\n",
        _note(len({row["case"] for row in found["rows"]})) + "\n",
        f"| {' | '.join(COLUMNS)} |",
        "|" + "---|" * len(COLUMNS),
    ]
    for pair in headline(found):
        lines += _lines(found["rows"], pair, str(units.get(pair[1], "")))
    took = ", ".join(f"{one['model']} {one['seconds'] / max(1, one['folds']):.0f} s" for one in found["entrants"])
    learnt = _learnt(one["model"] for one in found["entrants"])
    return "\n".join([*lines, f"\nTraining and judging of a fold: {took}. {learnt}\n"])


def _learnt(models: Iterable[str]) -> str:
    """Which optimiser each model's own defaults name."""
    by_optimiser: dict[str, list[str]] = {}
    for model in models:
        if not MODELS[model].is_fitted:
            settings = TrainConfig(**MODELS[model].train_defaults)
            by_optimiser.setdefault(settings.optimiser, []).append(model)
    return "Optimisers: " + "; ".join(f"{name} for {', '.join(those)}" for name, those in by_optimiser.items()) + "."


def _note(n: int) -> str:
    if n < MIN_CASES:
        return f"{n} cases are too few for an interval or a test: every case is a dot, and the table gives the range."
    if n < MIN_TEST_CASES:
        return f"{n} cases are too few for a test."
    return (
        "Intervals: BCa bootstrap over cases. Tests: paired Wilcoxon, Holm's correction over the rivals of the U-Net."
    )


def _lines(rows: Sequence[Row], pair: Pair, unit: str) -> list[str]:
    others = {name: {s["model"]: s["mean"] for s in standings(rows, pair, name)} for name in ("psnr", "ssim")}
    values = by_case(rows, pair, "mae")
    lines = []
    for place, line in enumerate(standings(rows, pair, "mae")):
        model, own = line["model"], list(values[line["model"]].values())
        span = (line["low"], line["high"]) if line["low"] is not None else (min(own), max(own))
        difference = line.get("difference")
        cells = [
            _made(pair, unit) if not place else "",
            model,
            _number(line["mean"], unit),
            f"{_number(span[0], unit)} to {_number(span[1], unit)}",
            _score(others["psnr"].get(model), ".1f"),
            _score(others["ssim"].get(model), ".3f"),
            _difference(difference, unit) if difference else "",
            _p(line.get("p_holm")),
            line.get("claim", ""),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _score(value: float | None, form: str) -> str:
    """Nothing where there is none, as for the PSNR of equal images."""
    return "" if value is None else f"{value:{form}}"


def _made(pair: Pair, unit: str) -> str:
    return f"{pair[1]} ({unit})" if unit in PHYSICAL_UNITS else pair[1]


def _number(value: float, unit: str) -> str:
    return f"{value:.{DIGITS.get(unit, 4)}f}"


def _difference(mean: Mapping[str, Any], unit: str) -> str:
    said = f"{'+' if mean['mean'] >= 0 else ''}{_number(mean['mean'], unit)}"
    return said if mean["low"] is None else f"{said} ({_number(mean['low'], unit)} to {_number(mean['high'], unit)})"


def _p(value: float | None) -> str:
    return "" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def figure(found: Mapping[str, Any]) -> str:
    """A panel a target: a line a model, a dot a case, the mean and its interval."""
    panels = []
    for pair in headline(found):
        values = by_case(found["rows"], pair, "mae")
        lines = standings(found["rows"], pair, "mae")
        order = {line["model"]: list(values[line["model"]].values()) for line in lines}
        spans = {line["model"]: (line["low"], line["high"]) for line in lines if line["low"] is not None}
        unit = found["protocol"]["mae_units"].get(pair[1], "")
        panels.append(strip(order, f"MAE of {pair[1]} ({unit})", spans))
    return side_by_side(panels)
