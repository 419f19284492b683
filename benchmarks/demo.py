"""How long the demo cohort takes to generate: 24 people, six modalities."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks import Figures
from benchmarks.timing import seconds
from core.demo import make_cohort
from core.workspace import Workspace


def measure_demo() -> Figures:
    """Seconds for 24 cases, written to disk."""
    with tempfile.TemporaryDirectory() as folder:
        return {"seconds_24_cases": seconds(lambda: make_cohort(Workspace(Path(folder)), 24))}


TARGETS = {"seconds_24_cases": ("<=", 60.0)}
