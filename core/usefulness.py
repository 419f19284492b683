"""Is a synthesis of use? A segmenter that knows real images alone is run on real and on synthesised held-out images.

Its Dice with the truth on the synthesis, in per cent of its Dice on the real image of the same case: what is kept. The
segmenter is trained once on the real training images and frozen (`core.frozen`), the same for every rival.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from core.config import Task
from core.errors import InvalidConfigError
from core.frozen import Segmenter, inside, segmenter
from core.judging import judged_mask
from core.made import syntheses
from core.progress import Progress, part, silent
from core.regions import LEAST_VOXELS
from core.statistics import mean_interval
from core.synthesis import LoadedRun
from core.task_scores import dice
from core.tasks import CLASS_NAMES, find_tasks
from core.types import Array

Row = dict[str, Any]
LEAST_DICE = 0.1  # where the segmenter does worse on the real image, nothing can be kept
TRAINING = 0.4  # of the time


def measure_usefulness(loaded: LoadedRun, progress: Progress = silent) -> dict[str, Any]:
    """Rows per held-out case, what is made of what, and class; their means over cases with intervals.

    Raises:
        InvalidConfigError: No training case has a label map of known classes (NO-MAP).
    """
    dataset, split = loaded.dataset, loaded.split
    having = {name for case_id in split.train for name in dataset.record(case_id)["label_maps"]}
    names = [name for name in CLASS_NAMES if name in having]
    if not names:
        raise InvalidConfigError(
            "Usefulness needs a map of tissues or lesions in the training cases. Label tissues when preparing, or "
            "import lesion masks.",
            "NO-MAP",
        )
    tasks = find_tasks(dataset, names, split.train)
    share = TRAINING / len(tasks)
    judges = [
        segmenter(dataset, split.train, task, part(progress, n * share, (n + 1) * share))
        for n, task in enumerate(tasks)
    ]
    rows: list[Row] = []
    for n, case_id in enumerate(split.test):
        progress(TRAINING + (1 - TRAINING) * n / len(split.test), 1, f"Segmenting {case_id}")
        rows += _case_rows(loaded, case_id, judges)
    return {"rows": rows, "summary": summarise(rows), "least_dice": LEAST_DICE}


def summarise(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Mean over cases of what is kept and of both Dice; a case counts where its real image could be segmented."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((tuple(row["given"]), row["target"], row["map"], row["class"]), []).append(row)
    lines = []
    for (given, target, name, said), members in groups.items():
        kept = [row["kept"] for row in members if row["kept"] is not None]
        line = {"given": list(given), "target": target, "map": name, "class": said, "cases": len(members)}
        for key in ("dice_real", "dice_made"):
            line[key] = float(np.mean([row[key] for row in members]))
        interval = vars(mean_interval(kept)) if kept else {"mean": None, "low": None, "high": None, "n": 0}
        lines.append({**line, **interval})
    return lines


@torch.inference_mode()
def _case_rows(loaded: LoadedRun, case_id: str, judges: Sequence[Segmenter]) -> list[Row]:
    """Every class of every map; of what is made from single modalities and from all others together."""
    maps = loaded.dataset.record(case_id)["label_maps"]
    able = [judge for judge in judges if judge.task.name in maps]
    rows: list[Row] = []
    found: dict[tuple[str, str], dict[str, float]] = {}  # (map, target) -> Dice on the real image
    for given, target, image in syntheses(loaded, case_id) if able else ():
        for judge in able:
            key = judge.task.name, target
            if key not in found:
                real = np.array(loaded.dataset.volume(case_id, target))
                found[key] = dice_of(loaded, case_id, judge, real, target)
            made = dice_of(loaded, case_id, judge, image, target)
            rows += [_row(case_id, given, key, said, (found[key][said], made[said])) for said in found[key]]
    return rows


def _row(case_id: str, given: Sequence[str], key: tuple[str, str], said: str, found: tuple[float, float]) -> Row:
    real, made = found
    kept = 100 * made / real if real >= LEAST_DICE else None
    label = {"case": case_id, "given": list(given), "target": key[1], "map": key[0], "class": said}
    return {**label, "dice_real": real, "dice_made": made, "kept": kept}


def dice_of(loaded: LoadedRun, case_id: str, judge: Segmenter, image: Array, target: str) -> dict[str, float]:
    """Dice of each class that the case has, over the judged voxels; what lies outside plays no part in the image."""
    mask = judged_mask(loaded.dataset, case_id, target)
    truth = np.asarray(loaded.dataset.label_map(case_id, judge.task.name))
    guess = judge.classes(inside(loaded.dataset, case_id, image), target)
    return {said: dice(truth[mask] == n, guess[mask] == n) for n, said in _classes(judge.task, truth[mask])}


def _classes(task: Task, truth: Any) -> list[tuple[int, str]]:
    """Those with enough voxels to say something of."""
    return [(n, said) for n, said in enumerate(task.classes) if n and (truth == n).sum() >= LEAST_VOXELS]
