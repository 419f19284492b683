"""The process that works through one job on a cluster: `python -m core.jobs.far FOLDER SUBMISSION`.

All it needs is the job's folder on storage that the app's machine sees too.
"""

from __future__ import annotations

import sys
from pathlib import Path

from core.jobs.handed import handed
from core.jobs.ticket import FarTicket
from core.jobs.worker import log_discreetly, serve
from core.runs import Job
from core.workspace import Workspace


def main(folder: Path, submission: str) -> int:
    """Exit codes as of a worker on the app's machine."""
    log_discreetly()
    mine = handed(folder)
    if mine is None or mine.submission != submission:
        return 0
    return serve(Job(folder), Workspace(folder.parent.parent), FarTicket(folder, mine))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
