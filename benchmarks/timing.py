"""Timing two things fairly: alternately, in one process, as the median of ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@dataclass(frozen=True)
class Duel:
    """Seconds of two things in the same rounds; other work on the machine falls on both alike."""

    ours: tuple[float, ...]
    theirs: tuple[float, ...]

    def figures(self, name: str, rival: str) -> dict[str, float]:
        """Medians of seconds; the median, the least and the greatest ratio of a round."""
        ratios = [a / b for a, b in zip(self.ours, self.theirs, strict=True)]
        over = f"{name}_over_{rival}"
        return {
            f"{name}_s": statistics.median(self.ours),
            f"{name}_{rival}_s": statistics.median(self.theirs),
            over: statistics.median(ratios),
            f"{over}_least": min(ratios),
            f"{over}_most": max(ratios),
        }


def duel(
    ours: Callable[[], object],
    theirs: Callable[[], object],
    rounds: int,
    before: Callable[[], object] = lambda: None,
) -> Duel:
    """Both in turn, after one warm-up each; who begins a round changes.

    Args:
        before: what is done before each round, and not timed.
    """
    before(), ours(), theirs()
    times: list[tuple[float, float]] = []
    for n in range(rounds):
        before()
        if n % 2:
            second = seconds(theirs)
            times.append((seconds(ours), second))
        else:
            first = seconds(ours)
            times.append((first, seconds(theirs)))
    return Duel(tuple(a for a, _ in times), tuple(b for _, b in times))
