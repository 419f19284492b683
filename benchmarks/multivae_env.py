"""The environment of the library `multivae`, which cannot be loaded beside the torch that is pinned here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
VARIABLE = "MULTIVAE_PYTHON"  # another python that has the library
MISSING = "The library that is compared with is not there: `make multivae-env` builds its environment."


def find_python() -> Path | None:
    """The python that can load the library, or None."""
    python = Path(os.environ.get(VARIABLE) or REPOSITORY / ".venv-multivae" / "bin" / "python")
    return python if python.exists() else None


def run_there(module: str, task: str, folder: Path, jobs: Any = None) -> Any:
    """Run `python -m MODULE TASK FOLDER` in that environment, which reads jobs.json there and writes answers.json."""
    python = find_python()
    if python is None:
        sys.exit(MISSING)
    (folder / "jobs.json").write_text(json.dumps(jobs))
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [python, "-m", module, task, folder], env=environment, cwd=folder, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"The library's side broke off:\n{done.stderr[-3000:]}")
    return json.loads((folder / "answers.json").read_text())
