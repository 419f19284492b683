"""Side-by-side measurements: `python -m benchmarks --list`, `python -m benchmarks NAME --json`.

Every comparison is a ratio of two things timed alternately in one process, the median of several.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

Figures = dict[str, float]
Targets = dict[str, tuple[str, float]]  # figure -> (">=" or "<=", limit)


@dataclass(frozen=True)
class Benchmark:
    """One measurement.

    Attributes:
        measure: Returns the figures.
        targets: What the figures should reach.
        is_quick: Under about a minute; `make bench` runs these.
        table: The figures in a form of their own; by default a line each.
    """

    summary: str
    measure: Callable[[], Figures]
    targets: Targets = field(default_factory=dict)
    is_quick: bool = True
    table: Callable[[Figures], str] | None = None


def is_quick_try() -> bool:
    """Whether `--quick` asks for a small try of what takes long; its figures mean little."""
    return bool(os.environ.get("BENCHMARKS_QUICK"))


def meets(value: float, target: tuple[str, float]) -> bool:
    """Whether a figure reaches its target."""
    relation, limit = target
    return value >= limit if relation == ">=" else value <= limit
