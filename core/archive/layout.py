"""Which files an archive may hold, by their names; whatever is not listed here neither leaves nor enters."""

from __future__ import annotations

import re

MANIFEST = "manifest.json"
FORMAT, VERSION = "crossmodal-studio", 1
MAX_BYTES = 4 * 1024**3
MAX_FILES = 4_999  # and the manifest
_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
PATTERNS = {  # kind of file -> name; the groups are the thing it belongs to
    "cohort": rf"(cohorts/{_NAME})/cohort\.json",
    "case": rf"(cohorts/{_NAME})/({_NAME})/case\.json",
    "image": rf"(cohorts/{_NAME})/({_NAME})/({_NAME})\.nii",
    "index": rf"(datasets/{_NAME})/index\.json",
    "array": rf"(datasets/{_NAME})/({_NAME})/({_NAME})\.npy",
    "config": rf"(runs/{_NAME})/config\.json",
    "state": rf"(runs/{_NAME})/state\.json",
    "history": rf"(runs/{_NAME})/history\.jsonl",
    "weights": rf"(runs/{_NAME})/weights\.safetensors",
    "sum": rf"(runs/{_NAME})/weights\.sha256",
    "results": rf"(runs/{_NAME})/results\.json",
    "arrays": rf"(runs/{_NAME})/(?:embedding|(?:previews|projections)/{_NAME})\.npz",
}
_COMPILED = {kind: re.compile(pattern) for kind, pattern in PATTERNS.items()}
MAIN = {"cohorts": "case", "datasets": "index", "runs": "config"}  # what makes a folder that thing


def kind_of(name: str) -> str:
    """What a file is, by its name; "" where it has no place in an archive."""
    return next((kind for kind, pattern in _COMPILED.items() if pattern.fullmatch(name)), "")


def thing_of(name: str) -> str:
    """The folder that a file belongs to, such as runs/run-1f."""
    return "/".join(name.split("/")[:2])
