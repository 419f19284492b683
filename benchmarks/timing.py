"""Timing two things fairly: alternately, in one process, as the median of ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Clock = Callable[[], float]


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    return _by(work, (time.perf_counter,))[0]


def _by(work: Callable[[], object], clocks: Sequence[Clock]) -> tuple[float, ...]:
    started = [clock() for clock in clocks]
    work()
    return tuple(clock() - start for clock, start in zip(clocks, started, strict=True))


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
    return duel_by((time.perf_counter,), ours, theirs, rounds, before)[0]


def duel_by(
    clocks: Sequence[Clock],
    ours: Callable[[], object],
    theirs: Callable[[], object],
    rounds: int,
    before: Callable[[], object] = lambda: None,
) -> list[Duel]:
    """The same rounds by several clocks, such as `time.perf_counter` and `time.process_time`; a duel for each."""
    before(), ours(), theirs()
    times: list[tuple[tuple[float, ...], tuple[float, ...]]] = []
    for n in range(rounds):
        before()
        if n % 2:
            second = _by(theirs, clocks)
            times.append((_by(ours, clocks), second))
        else:
            first = _by(ours, clocks)
            times.append((first, _by(theirs, clocks)))
    return [Duel(tuple(a[k] for a, _ in times), tuple(b[k] for _, b in times)) for k in range(len(clocks))]
