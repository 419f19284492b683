"""The demo cohort: generated people with known truth, written as an ordinary cohort that says `simulated`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from core.cohort import Cohort
from core.errors import InvalidConfigError
from core.phantom import LEVEL_SETTINGS, build_head, draw_person, labels_of, volumes_of
from core.progress import Progress, silent
from core.types import Case
from core.workspace import Workspace, new_id, safe_name, write_json

LEVELS = tuple(LEVEL_SETTINGS)  # easy, medium, hard
MAX_CASES = 999
SOURCE = (
    "Simulated; no patient is shown. Generated from the ICBM 152 non-linear atlas 2009a, Copyright (C) 1993-2004 Louis "
    "Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill University; see "
    "assets/anatomy/NOTICE.md."
)


def make_case(number: int, seed: int = 0, level: str = "medium") -> Case:
    """Case `number` (from 1) of the cohort `seed`: the same whoever asks, and however many there are."""
    head = build_head(draw_person(seed, number - 1, level))
    return Case(case_id(number), volumes_of(head), labels_of(head))


def case_id(number: int) -> str:
    """`demo-01`, `demo-02`, ... `demo-100`."""
    return f"demo-{number:02d}"


def make_cohort(
    workspace: Workspace,
    n_cases: int = 24,
    seed: int = 0,
    level: str = "medium",
    name: str = "demo",
    progress: Progress = silent,
) -> Cohort:
    """Generate a cohort; it appears when it is whole. A simulated one of the same name is replaced.

    Raises:
        InvalidConfigError: An unknown level, an unfit number of cases, or a cohort of that name with imported images.
    """
    final = workspace.cohorts / safe_name(name)
    _check(Cohort(final), n_cases, seed, level)
    draft = Cohort(workspace.cohorts / f".{new_id('draft')}")
    draft.folder.mkdir(parents=True)
    try:
        _fill(draft, n_cases, seed, level, progress)
        write_json(draft.folder / "cohort.json", {"simulated": True, "level": level, "seed": seed, "source": SOURCE})
        if final.exists():
            shutil.rmtree(final)
        draft.folder.rename(final)
    finally:
        draft.delete()
    return Cohort(final)


def _check(old: Cohort, n_cases: int, seed: int, level: str) -> None:
    if level not in LEVELS:
        raise InvalidConfigError(f"The level is one of {', '.join(LEVELS)}.")
    if not 1 <= n_cases <= MAX_CASES:
        raise InvalidConfigError(f"A demo cohort has 1 to {MAX_CASES} cases.")
    if not 0 <= seed < 2**31:
        raise InvalidConfigError("The seed is a whole number from 0 to 2147483647.")
    if old.folder.exists() and not old.info.get("simulated"):
        raise InvalidConfigError(
            "A cohort of that name holds imported images. Choose another name for the demo.", "NAME"
        )


def _fill(draft: Cohort, n_cases: int, seed: int, level: str, progress: Progress) -> None:
    """Cases 1, 3, 5, ... here and 2, 4, 6, ... in a second process, where there is a core for it."""
    helpers = min(2, os.cpu_count() or 1, n_cases)
    second = _start(draft, n_cases, seed, level, helpers) if helpers > 1 else None
    try:
        for number in range(1, n_cases + 1, helpers):
            progress(len(draft.case_ids), n_cases, "Generating people")
            draft.write(make_case(number, seed, level))
        while second is not None and second.poll() is None:
            progress(len(draft.case_ids), n_cases, "Generating people")
            time.sleep(0.2)
    finally:
        if second is not None:
            second.kill()
            second.wait()
    for number in range(1, n_cases + 1):  # what the second process could not do, it if failed
        if not (draft.folder / case_id(number)).exists():
            draft.write(make_case(number, seed, level))
    progress(n_cases, n_cases, "Generated")


def _start(draft: Cohort, n_cases: int, seed: int, level: str, step: int) -> subprocess.Popen[bytes]:
    """A plain subprocess: it never imports the caller's main module, which may be a page or a test runner."""
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-m", "core.demo", str(draft.folder), str(n_cases), str(seed), level, str(step)]
    return subprocess.Popen(
        command, cwd=root, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _second(folder: str, n_cases: str, seed: str, level: str, step: str) -> None:
    for number in range(2, int(n_cases) + 1, int(step)):
        Cohort(Path(folder)).write(make_case(number, int(seed), level))


if __name__ == "__main__":
    _second(*sys.argv[1:])
