"""Trained runs held in memory for all sessions, and their syntheses. torch is imported with the first one only.

Visitors' demos are the machine's, as long as they changed nothing in them: those are held, and worked with, once.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from core.jobs.cores import share_cores
from core.measured_doubt import FILE as DOUBT_FILE
from core.remembered import file_stamp
from core.runs import Run
from core.types import Array
from core.workspace import Workspace

if TYPE_CHECKING:
    from core.compare import CompareResult
    from core.synthesis import LoadedRun

INFERENCE = threading.Lock()  # one model works at a time: two would only share the same cores


def loaded_run(place: Workspace, run: Run) -> LoadedRun:
    """The run with its weights; raises `UserError` where weights or dataset are missing, damaged or changed."""
    home = home_of(place, run)
    return _load(str(home.root), run.id, _stamps(home, run))


def comparison(place: Workspace, run: Run, case_id: str, given: tuple[str, ...], target: str) -> CompareResult:
    """One case's synthesis beside the truth, computed once."""
    home = home_of(place, run)
    return _compare(str(home.root), run.id, _stamps(home, run), case_id, given, target)


def doubt_of(place: Workspace, run: Run, case_id: str, pair: dict[str, Any], rule: str) -> Array:
    """Half the width of each voxel's bar by a rule, or "flags", computed once; `pair` is what calibration found."""
    home = home_of(place, run)
    shown = (doubt_stamp(run), *pair["given"], pair["target"], rule)
    return _doubt(str(home.root), run.id, _stamps(home, run), case_id, shown, pair)


def doubt_stamp(run: Run) -> str:
    """Which measurement of error bars the run has."""
    return file_stamp(run.folder / DOUBT_FILE)


def home_of(place: Workspace, run: Run) -> Workspace:
    """The machine's own workspace, where a guest's run and its dataset are still the very files that lie there."""
    machine = Workspace(place.base)
    pairs = zip(_files(place, run), _files(machine, run), strict=True)
    is_shared = bool(place.owner) and all(a.exists() and b.exists() and a.samefile(b) for a, b in pairs)
    return machine if is_shared else place


def _files(place: Workspace, run: Run) -> tuple[Path, ...]:
    folder = place.runs / run.id
    return (
        folder / "config.json",
        folder / run.weights_path.name,
        place.datasets / run.config.dataset / "index.json",
    )


def _stamps(place: Workspace, run: Run) -> tuple[str, ...]:
    """Changes when the weights or the dataset are written anew."""
    return tuple(file_stamp(file) if file.exists() else "" for file in _files(place, run))


@st.cache_resource(max_entries=2, show_spinner="Loading the model")
def _load(root: str, run_id: str, stamps: tuple[str, ...]) -> Any:
    from core.synthesis import load_run

    share_cores()
    place = Workspace(Path(root))
    return load_run(place, Run.open(place, run_id))


@st.cache_resource(max_entries=16, show_spinner="Synthesising")
def _compare(root: str, run_id: str, stamps: tuple[str, ...], case_id: str, given: tuple[str, ...], target: str) -> Any:
    from core.compare import compare_case

    loaded = _load(root, run_id, stamps)
    with INFERENCE:
        return compare_case(loaded, case_id, given, target)


@st.cache_resource(max_entries=16, show_spinner="Looking for doubt")
def _doubt(
    root: str, run_id: str, stamps: tuple[str, ...], case_id: str, shown: tuple[str, ...], _pair: dict[str, Any]
) -> Any:
    from core.error_bars import half_width
    from core.invented import flags

    loaded = _load(root, run_id, stamps)
    with INFERENCE:
        return flags(loaded, case_id, _pair) if shown[-1] == "flags" else half_width(loaded, case_id, _pair, shown[-1])
