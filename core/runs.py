"""A job is a folder; a run is the job that trains. Whoever holds the folder holds all that is known of it.

job.json        kind and parameters, written once        state.json   state, progress, eta, heartbeat, pid
history.jsonl   one line per logged step                  log.txt      what the worker printed
cancel, pause   present when that was asked for          worker.lock   held by the living worker
seen            present when somebody has looked at how it ended
A run has besides: config.json, previews/, weights.safetensors + .sha256, results.json, regions.json,
embedding.npz, and gist.npz made of the results
"""

from __future__ import annotations

import json
import shutil
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from core.config import RunConfig, build
from core.errors import NotFoundError
from core.gist import keep_gists
from core.processes import process_start
from core.remembered import remembered
from core.result_files import RESULTS, read_results, write_results
from core.workspace import Workspace, new_id, read_json, safe_name, write_json

State = Literal["queued", "running", "finished", "failed", "cancelled", "lost", "paused"]
ENDED: tuple[State, ...] = ("finished", "failed", "cancelled", "lost")
EXPORT = "export.zip"  # in the folder of a job that packed the workspace or a generated cohort
RECORDS = 8192  # of jobs of all visitors, a few kB each
START_GRACE_S = 60.0  # a worker that has not reported after this time never will
_read_spec = remembered(at_most=RECORDS)(read_json)


@dataclass(frozen=True)
class Status:
    """What state.json says.

    Attributes:
        done, total: units of work (steps, files, cases).
        eta_s: seconds left, negative where it is not known.
        pid, pid_start: the worker and its start time in clock ticks, so that a reused pid is not taken for it; 0 while
            it works on a cluster, whose life the keeper asks for.
        code, error: of the sentence that ended a failed job.
        in_queue: waits for its turn, however long that takes.
        attempt: which start of the job this is of; 1 for the first.
        memory_bytes, gpu_bytes: what the worker took when it last reported.
        note: what happened on the way that a person should know, such as a start again after a crash.
    """

    state: State = "queued"
    done: float = 0
    total: float = 0
    message: str = ""
    eta_s: float = -1
    created: float = 0
    started: float = 0
    heartbeat: float = 0
    ended: float = 0
    pid: int = 0
    pid_start: int = 0
    device: str = ""
    code: str = ""
    error: str = ""
    in_queue: bool = False
    attempt: int = 0
    note: str = ""
    memory_bytes: int = 0
    gpu_bytes: int = 0


class Job:
    """A folder of long work, of whatever kind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @staticmethod
    def create(folder: Path, kind: str, params: dict[str, Any]) -> Job:
        """Write a new job's folder; a backend then starts it."""
        job = Job(folder)
        write_json(folder / "job.json", {"kind": kind, "params": params})
        job.write_status(Status(created=time.time()))
        return job

    @property
    def id(self) -> str:
        return self.folder.name

    @cached_property
    def spec(self) -> dict[str, Any]:
        return dict(_read_spec(self.folder / "job.json"))

    @property
    def kind(self) -> str:
        return str(self.spec["kind"])

    @property
    def params(self) -> dict[str, Any]:
        return dict(self.spec["params"])

    @property
    def status(self) -> Status:
        """The state as it really is: a running job whose process is gone reads as lost."""
        path = self.folder / "state.json"
        status = _read_status(path) if path.exists() else Status()
        is_silent = status.state == "queued" and not status.in_queue and time.time() - status.created > START_GRACE_S
        is_dead = status.state == "running" and process_start(status.pid) != status.pid_start
        if is_silent or is_dead:
            return Status(
                **{**asdict(status), "state": "lost", "error": "The worker ended without a word.", "code": "LOST"}
            )
        return status

    @property
    def state(self) -> State:
        return self.status.state

    @property
    def is_cancel_requested(self) -> bool:
        return (self.folder / "cancel").exists()

    @property
    def is_pause_requested(self) -> bool:
        return (self.folder / "pause").exists()

    @property
    def is_seen(self) -> bool:
        """Whether somebody has looked at how it ended."""
        return (self.folder / "seen").exists()

    def mark_seen(self) -> None:
        with suppress(OSError):  # a full disk: it is told once more
            (self.folder / "seen").touch()

    def write_status(self, status: Status) -> None:
        write_json(self.folder / "state.json", asdict(status))

    def update(self, **changes: Any) -> None:
        """Change fields of state.json; for the worker, its only writer while it runs."""
        path = self.folder / "state.json"
        old = read_json(path) if path.exists() else {}
        self.write_status(Status(**{**old, **changes}))

    def append_history(self, line: dict[str, Any]) -> None:
        """Add one logged step; a line is written in one call, so a reader may only miss the last."""
        with (self.folder / "history.jsonl").open("a") as stream:
            stream.write(json.dumps(line) + "\n")

    def history(self) -> list[dict[str, Any]]:
        """All logged steps that are whole."""
        path = self.folder / "history.jsonl"
        if not path.exists():
            return []
        text = path.read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def log_tail(self, n_lines: int = 40) -> str:
        path = self.folder / "log.txt"
        return "\n".join(path.read_text(errors="replace").splitlines()[-n_lines:]) if path.exists() else ""

    def write_result(self, value: Any) -> None:
        """What the job found out, for whoever asked (results.json)."""
        write_json(self.folder / RESULTS, value)

    @property
    def has_result(self) -> bool:
        return (self.folder / RESULTS).exists()

    @property
    def result(self) -> Any:
        """What `write_result` wrote, or None before."""
        path = self.folder / RESULTS
        return read_json(path) if path.exists() else None

    def forget(self, *names: str) -> None:
        """Strike parameters that are no longer needed and could tell of whom the job is."""
        params = {name: value for name, value in self.params.items() if name not in names}
        write_json(self.folder / "job.json", {**self.spec, "params": params})

    def delete(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


class Run(Job):
    """The job that trains a model, and all that came of it."""

    def write_result(self, value: Any) -> None:
        """What judging found, and its gist for lists of runs."""
        write_results(self.folder, value)
        keep_gists(self.folder)

    @property
    def result(self) -> Any:
        """What `write_result` was given, scores of regions included; None before."""
        return read_results(self.folder)

    @staticmethod
    def new(workspace: Workspace, config: RunConfig, device: str = "auto") -> Run:
        """A new run's folder, with its config; the device ("auto", "cpu", "cuda") is the job's, not the run's."""
        return Run.make(workspace.runs / new_id("run"), config, device)

    @staticmethod
    def make(folder: Path, config: RunConfig, device: str = "auto") -> Run:
        """A run in this very folder; what a training left there serves it again."""
        write_json(folder / "config.json", config.model_dump())
        Job.create(folder, "train", {"device": device})
        return Run(folder)

    @staticmethod
    def open(workspace: Workspace, run_id: str) -> Run:
        """The run of that id.

        Raises:
            NotFoundError: There is none.
        """
        folder = workspace.runs / safe_name(run_id)
        if not (folder / "config.json").exists():
            raise NotFoundError(f"There is no run {run_id}. Train a model first.")
        return Run(folder)

    @cached_property
    def config(self) -> RunConfig:
        return _read_config(self.folder / "config.json")

    @property
    def title(self) -> str:
        """What a person reads in a list: model, dataset, fold, the id's first digits."""
        fold = "" if self.config.fold is None else f", fold {self.config.fold + 1} of {self.config.n_folds}"
        return f"{self.config.model} on {self.config.dataset}{fold} ({self.id.removeprefix('run-')[:6]})"

    @property
    def weights_path(self) -> Path:
        return self.folder / "weights.safetensors"

    @property
    def weights_sum(self) -> str:
        """The SHA-256 of the weights, as it was noted beside them; "" where there is no note."""
        note = self.weights_path.with_suffix(".sha256")
        return (note.read_text().split() or [""])[0] if note.exists() else ""

    @property
    def has_weights(self) -> bool:
        return self.weights_path.exists()

    @property
    def can_resume(self) -> bool:
        """Whether it rests or broke off, and there is a checkpoint to go on from."""
        is_resting = self.state in ("paused", "cancelled", "lost", "failed")
        return is_resting and any((self.folder / "checkpoints").glob("[0-9]*"))

    @property
    def embedding_path(self) -> Path:
        return self.folder / "embedding.npz"

    @property
    def previews(self) -> list[Path]:
        """Sample reconstructions, previews/STEP.npz, in the order of steps."""
        return sorted((self.folder / "previews").glob("*.npz"))


@remembered(at_most=RECORDS)
def _read_status(path: Path) -> Status:
    return Status(**read_json(path))


@remembered(at_most=RECORDS)
def _read_config(path: Path) -> RunConfig:
    return build(RunConfig, read_json(path))


def list_runs(workspace: Workspace) -> list[Run]:
    """Every run, newest first."""
    runs = [Run(path.parent) for path in workspace.runs.glob("*/config.json")]
    return sorted(runs, key=lambda run: (run.folder / "config.json").stat().st_mtime, reverse=True)


def new_job(workspace: Workspace, kind: str, params: dict[str, Any]) -> Job:
    """A new job's folder (any kind but train)."""
    return Job.create(workspace.jobs / new_id(kind), kind, params)


def list_jobs(workspace: Workspace) -> list[Job]:
    """Every other job, newest first."""
    jobs = [Job(path.parent) for path in workspace.jobs.glob("*/job.json")]
    return sorted(jobs, key=lambda job: (job.folder / "job.json").stat().st_mtime, reverse=True)
