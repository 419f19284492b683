"""Which files an archive may hold, by their names; whatever is not listed here neither leaves nor enters."""

from __future__ import annotations

import re

from core.workspace import NAME

MANIFEST = "manifest.json"
FORMAT, VERSION = "crossmodal-studio", 1
MAX_BYTES = 4 * 1024**3
MAX_FILES = 4_999  # and the manifest
PATTERNS = {  # kind of file -> name; the groups are the thing it belongs to
    "cohort": rf"(cohorts/{NAME})/cohort\.json",
    "case": rf"(cohorts/{NAME})/({NAME})/case\.json",
    "image": rf"(cohorts/{NAME})/({NAME})/({NAME})\.nii",
    "index": rf"(datasets/{NAME})/index\.json",
    "array": rf"(datasets/{NAME})/({NAME})/({NAME})\.npy",
    "config": rf"(runs/{NAME})/config\.json",
    "state": rf"(runs/{NAME})/state\.json",
    "history": rf"(runs/{NAME})/history\.jsonl",
    "weights": rf"(runs/{NAME})/weights\.safetensors",
    "sum": rf"(runs/{NAME})/weights\.sha256",
    "results": rf"(runs/{NAME})/results\.json",
    "regions": rf"(runs/{NAME})/regions\.json",
    "uncertainty": rf"(runs/{NAME})/uncertainty\.json",
    "arrays": rf"(runs/{NAME})/(?:embedding|(?:previews|projections)/{NAME})\.npz",
}
_COMPILED = {kind: re.compile(pattern) for kind, pattern in PATTERNS.items()}
MAIN = {"cohorts": "case", "datasets": "index", "runs": "config"}  # what makes a folder that thing


def kind_of(name: str) -> str:
    """What a file is, by its name; "" where it has no place in an archive."""
    return next((kind for kind, pattern in _COMPILED.items() if pattern.fullmatch(name)), "")


def thing_of(name: str) -> str:
    """The folder that a file belongs to, such as runs/run-1f."""
    return "/".join(name.split("/")[:2])
