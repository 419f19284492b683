"""Timing two things fairly: alternately, in one process, as the median of ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def median_seconds(work: Callable[[], object], repeats: int = 7) -> float:
    """Median wall time, after one call to warm up."""
    work()
    return statistics.median(seconds(work) for _ in range(repeats))


def ratio(ours: Callable[[], object], other: Callable[[], object], repeats: int = 5) -> float:
    """Median of ours / other, timed in turn after one warm-up each."""
    ours(), other()
    return statistics.median(seconds(ours) / seconds(other) for _ in range(repeats))
