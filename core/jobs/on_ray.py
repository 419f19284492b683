"""The backend whose trainings and searches run on a Ray cluster; everything else runs on the app's machine."""

from __future__ import annotations

from dataclasses import replace

from core.cluster import trainings_at_once
from core.jobs.local import LocalBackend
from core.jobs.order import TRAINS, Limits
from core.jobs.ray_api import check_cluster
from core.runs import Job


class RayBackend(LocalBackend):
    """One queue for both: owners take turns, a dead worker's job starts again from its newest checkpoint."""

    def limits(self) -> Limits:
        return replace(super().limits(), cluster=trainings_at_once())

    def start(self, job: Job) -> None:
        """Raises:
        RefusedError: As on one machine.
        UserError: The cluster does not answer, or refuses.
        """
        if job.kind in TRAINS:
            check_cluster()
        super().start(job)
