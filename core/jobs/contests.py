"""Kinds of jobs that set models against each other or look at one more closely: arena, audit."""

from __future__ import annotations

from typing import Any

from core.jobs.cores import share_cores
from core.progress import Progress
from core.runs import Job, Run
from core.workspace import Workspace


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
