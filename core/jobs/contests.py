"""Kinds of jobs that set models or settings against each other or look at one more closely: search, arena, audit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from core.cluster import is_aboard
from core.jobs.cores import share_cores
from core.progress import Progress
from core.runs import Job, Run
from core.workspace import Workspace

if TYPE_CHECKING:
    from core.dataset import Dataset
    from core.search.settings import SearchConfig


def search(job: Job, workspace: Workspace, progress: Progress) -> Any:
    """params: config (all settings of the search), device. Its trainings lie in the job's folder."""
    from core.config import build
    from core.dataset import Dataset
    from core.search.search import Search
    from core.search.settings import SearchConfig
    from core.synthesis import pick_device

    config = build(SearchConfig, job.params["config"])
    dataset, device = Dataset.open(workspace, config.dataset), job.params.get("device", "auto")
    if is_aboard():
        return _search_together(job, config, dataset, device, progress)
    share_cores()
    chosen = pick_device(device)
    job.update(device=str(chosen))
    return Search(job, config, dataset, chosen, progress).run()


def _search_together(job: Job, config: SearchConfig, dataset: Dataset, device: str, progress: Progress) -> Any:
    """On a cluster this process only says what is trained, and draws up the table."""
    from core.search.crew import RayCrew
    from core.search.search import Search
    from core.synthesis import pick_device

    crew = RayCrew(job, config, device)
    job.update(device="cluster")
    try:
        return Search(job, config, dataset, pick_device("cpu"), progress, crew).run()
    finally:
        crew.leave()


def arena(job: Job, workspace: Workspace, progress: Progress) -> Any:
    """params: config (all settings of the arena), device. Its trainings lie in the job's folder."""
    from core.arena.arena import Arena
    from core.arena.settings import ArenaConfig
    from core.config import build
    from core.dataset import Dataset
    from core.synthesis import pick_device

    share_cores()
    config = build(ArenaConfig, job.params["config"])
    device = pick_device(job.params.get("device", "auto"))
    job.update(device=str(device))
    return Arena(job, config, Dataset.open(workspace, config.dataset), device, progress).run()


def audit(job: Job, workspace: Workspace, progress: Progress) -> Any:
    """params: run, names (of the checks), device. What is found lies with the run."""
    from core.audit import audit as run_audit
    from core.synthesis import load_run

    share_cores()
    run = Run.open(workspace, job.params["run"])
    found = run_audit(load_run(workspace, run, job.params.get("device", "auto")), job.params["names"], progress)
    return {"run": run.id, "audits": found}
