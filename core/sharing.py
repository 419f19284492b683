"""Equal trainings of visitors are computed once: thirty people who press Start on the demo train one model.

shared/results/KEY/ in the machine's own workspace holds what a finished training made. Only trainings on generated
data are shared: that somebody else has trained on one's own images is nothing to be told.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from core.dataset import Dataset
from core.guests import share
from core.runs import Run
from core.versions import TRAINING
from core.workspace import Workspace, new_id

FOLDER = "shared/results"
KEPT = ("weights.safetensors", "weights.sha256", "history.jsonl", "previews")
BROUGHT_IN = ".brought-in"  # in a dataset that came in a file: nobody here has worked out its fingerprint
TAKEN_OVER = "Exactly this was trained here before; its result was taken over."
AHEAD = "Another visitor is training exactly this; you get its result when it is there."


def can_share(run: Run, workspace: Workspace) -> bool:
    """Whether a run is a guest's, on data that were generated here, and decided by its settings alone."""
    if not workspace.owner or run.config.train.init_from:
        return False
    path = workspace.datasets / run.config.dataset / "index.json"
    is_from_here = path.exists() and not path.with_name(BROUGHT_IN).exists()
    return is_from_here and Dataset(path.parent).is_simulated


def key_of(run: Run) -> str:
    """Equal for runs that compute the same: data, model, settings, split, seed, device."""
    facts = [TRAINING, run.config.model_dump(mode="json"), run.params.get("device", "auto")]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def offer(run: Run, workspace: Workspace) -> None:
    """Keep what a finished training made for whoever asks for the same."""
    target = _place(run, workspace)
    draft = target.with_name(f".{new_id('draft')}")
    draft.mkdir(parents=True)
    try:
        for name in KEPT:
            _copy(run.folder / name, draft / name)
        if not target.exists():
            draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def take_over(run: Run, workspace: Workspace) -> bool:
    """Give a run the result of an equal one; False where there is none."""
    source = _place(run, workspace)
    if not (source / KEPT[0]).exists():
        return False
    for name in KEPT:
        _remove(run.folder / name)
        _copy(source / name, run.folder / name)
    run.update(note=TAKEN_OVER)
    return True


def discard_unused(base: Workspace) -> None:
    """Forget results that no run has any more."""
    for folder in (base.root / FOLDER).glob("[0-9a-f]*"):
        weights = folder / KEPT[0]
        if not weights.exists() or weights.stat().st_nlink == 1:
            shutil.rmtree(folder, ignore_errors=True)


def _place(run: Run, workspace: Workspace) -> Path:
    return workspace.base / FOLDER / key_of(run)


def _copy(source: Path, target: Path) -> None:
    if source.exists():
        share(source, target)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
