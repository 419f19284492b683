"""How far can a voxel be trusted? Error bars, calibrated on some held-out cases and tested on others.

Held-out cases are divided by patient into those that calibrate and those that test; the protocol's fingerprint holds
that division. What a bar is made of is in core.error_bars, what it promises in core.conformal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from core.bar_scores import BarScores, calibrated, summarised
from core.config import Settings
from core.conformal import LEVEL, split_for_calibration
from core.dataset import Dataset
from core.error_bars import Lesson, Looked, draws_for, look
from core.errors import InvalidConfigError
from core.evidence import KnownCodes
from core.invented import Inventions, Watcher
from core.leaks import find_leaks, refuse_leaks, twins_in
from core.measured_doubt import read_doubt, write_doubt
from core.progress import Progress, part, silent
from core.protocol import fingerprint_of, protocol_of
from core.synthesis import LoadedRun, check_request, supported_targets
from core.types import PHYSICAL_UNITS
from core.workspace import plain

VERSION = 1  # raised when the same settings lead to other numbers
Pair = tuple[tuple[str, ...], str]


class UncertaintyConfig(Settings):
    """How error bars are measured."""

    draws: int = Field(4, ge=2, le=64, description="Images drawn from the posterior of a model that has one")
    learn_from: int = Field(8, ge=1, le=1000, description="Cases that were not held out, to learn expected errors from")


@dataclass(frozen=True)
class Plan:
    """Who learns, who calibrates, who tests: no case has two parts."""

    learn: tuple[str, ...]
    calibrate: tuple[str, ...]
    test: tuple[str, ...]

    def having(self, dataset: Dataset, modalities: Iterable[str]) -> Plan:
        """Those that have all of these."""
        wanted = set(modalities)
        parts = ([c for c in part if wanted <= set(dataset.record(c)["modalities"])] for part in vars(self).values())
        return Plan(*(tuple(part) for part in parts))


def plan_of(loaded: LoadedRun, config: UncertaintyConfig) -> Plan:
    """Cases watched in training are learnt from first: their errors are more like those of new cases."""
    same = [(twin.first, twin.second) for twin in twins_in(loaded.dataset)]
    calibrate, test = split_for_calibration(loaded.split.test, loaded.run.config.seed, same)
    known = (*loaded.split.val, *loaded.split.train)
    return Plan(known[: config.learn_from], calibrate, test)


def measure(
    loaded: LoadedRun,
    config: UncertaintyConfig | None = None,
    pairs: Sequence[Pair] | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Measure pairs and keep them in the run's folder; what was measured under the same protocol stays.

    Args:
        pairs: by default each modality alone and all others together -> every target.

    Raises:
        InvalidConfigError: No images (NO-IMAGES), too few held-out cases (FEW-HELD-OUT), leaks (LEAK), or a pair that
            the model does not make.
    """
    config = config or UncertaintyConfig()
    if not loaded.model.makes_images:
        raise InvalidConfigError("This model makes no images, so there is nothing to put error bars on.", "NO-IMAGES")
    plan = plan_of(loaded, config)
    wanted = pairs_to_measure(loaded, plan, pairs)
    progress(0, 1, "Looking for leaks")
    refuse_leaks(find_leaks(loaded.dataset, loaded.split, loaded.split.test, loaded.run.config.tasks))
    protocol = protocol_with(loaded, plan, config)
    old = read_doubt(loaded.run)
    kept = old["pairs"] if old and old["protocol"]["fingerprint"] == protocol["fingerprint"] else []
    done = {(tuple(pair["given"]), pair["target"]) for pair in kept}
    tasks = _by_given([pair for pair in wanted if pair not in done])
    record: dict[str, Any] = {"run": loaded.run.id, "protocol": protocol, "pairs": list(kept)}
    for n, (given, targets) in enumerate(tasks.items()):
        own = part(progress, n / len(tasks), (n + 1) / len(tasks))
        walk = _Walk(loaded, given, draws_for(loaded, given, config.draws), own)
        task = _Task(loaded, plan, given, targets, walk)
        record["pairs"] += [task.to_json(target) for target in targets]
        write_doubt(loaded.run, record)
    return dict(plain(record))


def usual_pairs(loaded: LoadedRun) -> list[Pair]:
    """Each learnt modality alone and all others together -> every target that is not given."""
    known = loaded.learnt
    subsets: list[tuple[str, ...]] = [(m,) for m in known]
    subsets += [tuple(m for m in known if m != t) for t in known if len(known) > 2]
    return [(given, t) for given in subsets for t in supported_targets(loaded, given) if t not in given]


def protocol_with(loaded: LoadedRun, plan: Plan, config: UncertaintyConfig) -> dict[str, Any]:
    """The protocol of the test cases, and all that the error bars depend on besides."""
    told = protocol_of(loaded.dataset, loaded.split, plan.test) | {
        "calibration": list(plan.calibrate),
        "learnt_from": list(plan.learn),
        "level": LEVEL,
        "draws": config.draws,
        "weights": loaded.run.weights_sum,
        "uncertainty_version": VERSION,
    }
    return {**told, "fingerprint": fingerprint_of(told)}


def pairs_to_measure(loaded: LoadedRun, plan: Plan, pairs: Sequence[Pair] | None) -> list[Pair]:
    """The given modalities in one order; of the usual pairs those that enough cases have, if there is one."""
    wanted = [(tuple(sorted(given)), target) for given, target in pairs or usual_pairs(loaded)]
    if pairs is None:
        able = [pair for pair in wanted if all(vars(plan.having(loaded.dataset, (*pair[0], pair[1]))).values())]
        wanted = able or wanted
    for given, target in wanted:
        _check_pair(loaded, plan, given, target)
    return wanted


def _check_pair(loaded: LoadedRun, plan: Plan, given: Sequence[str], target: str) -> None:
    fitting = plan.having(loaded.dataset, (*given, target))
    if not all(vars(fitting).values()):
        raise InvalidConfigError(
            f"Too few cases have {' + '.join(given)} and {target}: error bars need some that were learnt from, and 2 "
            "held-out ones. Choose another pair.",
            "FEW-HELD-OUT",
        )
    check_request(loaded, fitting.test[0], given, (target,))


def _by_given(pairs: Sequence[Pair]) -> dict[tuple[str, ...], list[str]]:
    """What is made in one pass."""
    tasks: dict[tuple[str, ...], list[str]] = {}
    for given, target in pairs:
        tasks.setdefault(given, []).append(target)
    return tasks


class _Task:
    """All targets of one subset: four passes over cases, one case in memory at a time."""

    def __init__(
        self, loaded: LoadedRun, plan: Plan, given: tuple[str, ...], targets: Sequence[str], walk: _Walk
    ) -> None:
        self.loaded, self.given, self.targets, self.walk = loaded, given, targets, walk
        self.plans = {t: plan.having(loaded.dataset, (*given, t)) for t in targets}
        walk.total = _n_looks(self.plans)
        self._learn(plan.having(loaded.dataset, given).learn)
        self._judge()

    def _learn(self, cases: Sequence[str]) -> None:
        """Expected errors and tissues first; then, with these, what speaks for an invention."""
        codes = KnownCodes()
        for case_id in cases:
            codes.add(self.loaded, case_id, self.given)
        lessons = {t: Lesson(self.loaded, t, self.plans[t].learn) for t in self.targets}
        for target, looked in self._over("learn"):
            lessons[target].add(looked)
        self.map_names = {t: lesson.map_name for t, lesson in lessons.items()}
        self.learnt = {t: lesson.learn() for t, lesson in lessons.items()}
        watchers = {t: Watcher(self.loaded, self.given, t, self.learnt[t], codes.range) for t in self.targets}
        self.inventions = {t: Inventions(watcher) for t, watcher in watchers.items()}
        for target, looked in self._over("learn"):
            self.inventions[target].teach(looked)
        for one in self.inventions.values():
            one.learn()

    def _judge(self) -> None:
        """Bars are calibrated before they are tested; what is flagged learns nothing more, so all cases judge it."""
        self.scores = {t: BarScores(self.loaded, t, self.learnt[t]) for t in self.targets}
        for target, looked in self._over("calibrate"):
            self.scores[target].calibrate(looked)
            self.inventions[target].judge(looked)
        self.settled = {t: calibrated(self.scores[t]) for t in self.targets}
        for target, looked in self._over("test"):
            self.scores[target].test(looked, self.settled[target].bounds)
            self.inventions[target].judge(looked)

    def _over(self, role: str) -> Iterable[tuple[str, Looked]]:
        return self.walk.over({t: getattr(plan, role) for t, plan in self.plans.items()})

    def to_json(self, target: str) -> dict[str, Any]:
        """An entry of `uncertainty.json`."""
        learnt = self.learnt[target]
        return {
            "given": list(self.given),
            "target": target,
            "unit": _unit(self.loaded, target),
            "draws": self.walk.draws,
            "tissue_map": self.map_names[target],
            "learnt": learnt.to_json(),
            "invented": self.inventions[target].to_json(),
            **self.settled[target].to_json(),
            **summarised(self.scores[target].rows, learnt.tissues.names),
        }


def _n_looks(plans: Mapping[str, Plan]) -> int:
    """How many cases the passes go over; those that are learnt from twice."""
    parts = ("learn", "learn", "calibrate", "test")
    return sum(len({case for plan in plans.values() for case in getattr(plan, name)}) for name in parts)


@dataclass
class _Walk:
    """Goes over cases, each looked at once for all targets that want it."""

    loaded: LoadedRun
    given: tuple[str, ...]
    draws: int
    progress: Progress
    total: int = 1
    done: int = 0

    def over(self, cases: Mapping[str, Sequence[str]]) -> Iterable[tuple[str, Looked]]:
        for case_id in sorted({case for wanted in cases.values() for case in wanted}):
            targets = [target for target, wanted in cases.items() if case_id in wanted]
            yield from look(self.loaded, case_id, self.given, targets, self.draws).items()
            self.done += 1
            self.progress(self.done, self.total, f"{case_id} from {' + '.join(self.given)}")


def _unit(loaded: LoadedRun, target: str) -> str:
    unit = loaded.dataset.unit(target)
    return unit if unit in PHYSICAL_UNITS else ""
