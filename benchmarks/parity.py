"""Our multimodal VAEs beside those of the library `multivae` 1.0.3, on the same arrays, networks and weights.

First the values of losses and their gradients (`parity_losses`), then what is learnt on small digits, five seeds
(`parity_training`). A model is level where the 90 % interval of the difference lies within 2 points of coherence and
3 % of the error. `PARITY_PARTS` (losses,trainings) leaves one of the parts out; `--quick` is a small try.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import torch

from benchmarks import Figures, Targets, meets
from benchmarks.parity_losses import ROWS, compare_losses
from benchmarks.parity_training import MATCHES, compare_trainings

SAME = 1e-5  # relative
POINTS, PERCENT = 2.0, 3.0
BY_CHANCE = 3.0  # standard errors
PARTS = {"losses": compare_losses, "trainings": compare_trainings}


def chosen_parts() -> list[str]:
    return [part for part in PARTS if part in os.environ.get("PARITY_PARTS", "losses,trainings").split(",")]


def _targets() -> Targets:
    targets: Targets = {}
    if "losses" in chosen_parts():
        for name, row in ROWS.items():
            keys = {"rest_in_standard_errors": BY_CHANCE} if row.n_draws > 1 else {"rest": SAME, "gradient_rest": SAME}
            targets |= {f"loss.{name}.{key}": ("<=", limit) for key, limit in keys.items()}
    if "trainings" in chosen_parts():
        for name in MATCHES:
            for measure, limit in (("coherence", POINTS), ("error", PERCENT)):
                targets |= {f"{name}.{measure}_low": (">=", -limit), f"{name}.{measure}_high": ("<=", limit)}
    return targets


TARGETS = _targets()


def measure_parity() -> Figures:
    """loss.ROW.*, MODEL.*; see the two parts."""
    torch.set_num_threads(1)
    figures: Figures = {}
    for part in chosen_parts():
        with tempfile.TemporaryDirectory() as place:
            figures |= PARTS[part](Path(place))
    return figures


def table(figures: Figures) -> str:
    """Markdown: one table of losses, one of trainings."""
    lines: list[str] = []
    if any(key.startswith("loss.") for key in figures):
        lines += ["| loss | ours | multivae | relative difference | left when what differs is taken out | why |"]
        lines += ["|---|---|---|---|---|---|", *(_loss_line(name, figures) for name in ROWS), ""]
    if any(key.endswith("_coherence") for key in figures):
        columns = (
            "model",
            "coherence, ours",
            "multivae",
            "ours - multivae",
            "error, ours",
            "multivae",
            "ours - multivae",
        )
        lines += [f"| {' | '.join(columns)} | level |"]
        lines += ["|---|---|---|---|---|---|---|---|", *(_training_line(name, figures) for name in MATCHES), ""]
    return "\n".join(lines) + "\n"


def _loss_line(name: str, figures: Figures) -> str:
    f = {key.removeprefix(f"loss.{name}."): value for key, value in figures.items() if key.startswith(f"loss.{name}.")}
    rest = f"{f['rest']:.0e}; gradient {f.get('gradient_rest', 0):.0e}"
    if "rest_in_standard_errors" in f:
        rest = f"{f['rest_in_standard_errors']:.1f} standard errors"
    title = name.replace("_", " ")
    return f"| {title} | {f['ours']:.6f} | {f['theirs']:.6f} | {f['difference']:.0e} | {rest} | {ROWS[name].why} |"


def _training_line(name: str, figures: Figures) -> str:
    f = {key.removeprefix(f"{name}."): value for key, value in figures.items() if key.startswith(f"{name}.")}
    level = all(meets(figures[key], target) for key, target in TARGETS.items() if key.startswith(f"{name}."))
    cells = [
        name.replace("_", " "),
        f"{f['ours_coherence']:.1f} %",
        f"{f[f'{MATCHES[name].against}_coherence']:.1f} %",
        _interval(f, "coherence", ""),
        f"{f['ours_error']:.5f}",
        f"{f[f'{MATCHES[name].against}_error']:.5f}",
        _interval(f, "error", " %"),
        "yes" if level else "no",
    ]
    return f"| {' | '.join(cells)} |"


def _interval(f: Figures, key: str, unit: str) -> str:
    return f"{f[key]:+.2f}{unit} ({f[f'{key}_low']:+.2f} to {f[f'{key}_high']:+.2f})"
