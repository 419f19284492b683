"""Side-by-side measurements: `python -m benchmarks --list`, `python -m benchmarks NAME --json`.

Every comparison is a ratio of two things timed alternately in one process, the median of several.
"""

from __future__ import annotations

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
    """

    summary: str
    measure: Callable[[], Figures]
    targets: Targets = field(default_factory=dict)
    is_quick: bool = True


def meets(value: float, target: tuple[str, float]) -> bool:
    """Whether a figure reaches its target."""
    relation, limit = target
    return value >= limit if relation == ">=" else value <= limit
