"""Who is next, and where: fair turns between owners, slots per device, limits per owner. Pure functions."""

from __future__ import annotations

import os
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

TRAININGS = "CROSSMODAL_TRAININGS"  # trainings at once on one device
WORKERS = "CROSSMODAL_WORKERS"  # other jobs at once
MAX_WAITING = "CROSSMODAL_MAX_WAITING"  # trainings that a guest may have waiting
RETRIES = "CROSSMODAL_RETRIES"  # deaths in a row, none having got further, before a job is given up
TRAINS = ("train", "search", "arena")  # kinds of jobs
# seconds, before any has been seen to end
USUAL_S = {
    "train": 300.0,
    "search": 3600.0,
    "arena": 3600.0,
    "demo": 60.0,
    "prepare": 60.0,
    "ingest": 30.0,
}
DEFAULT_S = 20.0
FAR = "ray"  # kind of the slots on a cluster


@dataclass(frozen=True)
class Entry:
    """One job in the queue.

    Attributes:
        key: The job's folder, relative to the folder of all workspaces.
        owner: The workspace it belongs to; "" is the machine's own.
        device: What was asked for: auto, cpu or cuda; "auto*2" for a training on two GPUs.
        slot: Where it runs, such as cpu, cuda:1 or, on two GPUs, cuda:1,3; ray:0 is on a cluster.
        attempt: Counts the starts; a worker of an earlier attempt may not write results any more.
        deaths: How often in a row a worker died of it without having got further.
        reached: The step of the newest checkpoint at the last death.
        beat: When the worker last gave a sign, on the clock that stands still while the machine sleeps.
    """

    seq: int
    key: str
    kind: str
    owner: str = ""
    device: str = "auto"
    state: str = "queued"
    slot: str = ""
    attempt: int = 0
    deaths: int = 0
    created: float = 0
    started: float = 0
    ended: float = 0
    pid: int = 0
    pid_start: int = 0
    beat: float = 0
    reached: int = 0

    @property
    def is_training(self) -> bool:
        """Whether it takes a device: a search trains too, one model after another."""
        return self.kind in TRAINS

    @property
    def n_gpus(self) -> int:
        return int(self.device.partition("*")[2] or 1)

    @property
    def is_far(self) -> bool:
        """Whether it was given a place on a cluster."""
        return self.slot.startswith(f"{FAR}:")


@dataclass(frozen=True)
class Limits:
    """How much may go on at once.

    cluster: Trainings that a cluster may have at once; 0: they run here.
    """

    trainings: int = 1
    workers: int = 2
    guest_running: int = 1
    guest_waiting: int = 3
    retries: int = 6
    cluster: int = 0

    @staticmethod
    def of_environment() -> Limits:
        usual = Limits()
        return Limits(
            trainings=_number(TRAININGS, usual.trainings),
            workers=_number(WORKERS, usual.workers),
            guest_waiting=_number(MAX_WAITING, usual.guest_waiting),
            retries=_number(RETRIES, usual.retries),
        )


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    return max(1, int(text)) if text.isdigit() else default


def fair_order(waiting: Sequence[Entry], served: Sequence[Entry]) -> list[Entry]:
    """The order of starts: owners take turns, each in the order of asking.

    served: what runs or ran; whoever runs less comes first, then who was served longest ago.
    """
    turns = Counter(entry.owner for entry in served if entry.state == "running")
    last: dict[str, float] = {}
    for entry in served:
        last[entry.owner] = max(last.get(entry.owner, 0.0), entry.started)
    left, order = sorted(waiting, key=lambda entry: entry.seq), []
    while left:
        chosen = min(left, key=lambda entry: (turns[entry.owner], last.get(entry.owner, 0.0), entry.seq))
        left.remove(chosen)
        order.append(chosen)
        turns[chosen.owner] += 1
    return order


def is_ripe(entry: Entry, now: float) -> bool:
    """Whether a job may start: at once after two deaths, after 1, 2, 4, ... seconds from the third on."""
    return entry.deaths < 3 or now >= entry.ended + 2.0 ** (entry.deaths - 3)


def free_slot(entry: Entry, running: Iterable[Entry], gpus: Sequence[int], limits: Limits) -> str:
    """Where the job may start now; "" where it has to wait.

    gpus: numbers of the GPUs, the one with most free memory first.
    """
    running = list(running)
    taken = {single for other in running for single in _singles(other.slot)}
    same = [other for other in running if other.is_training == entry.is_training and other.owner == entry.owner]
    if entry.owner and entry.is_training and len(same) >= limits.guest_running:
        return ""
    return next(iter(_free_slots(entry, taken, gpus, limits)), "")


def _free_slots(entry: Entry, taken: set[str], gpus: Sequence[int], limits: Limits) -> Iterator[str]:
    if not entry.is_training:
        yield from (slot for n in range(limits.workers) if (slot := f"work:{n}") not in taken)
        return
    if limits.cluster:
        yield from (slot for n in range(limits.cluster) if (slot := f"{FAR}:{n}") not in taken)
        return
    on_gpu = not entry.device.startswith("cpu") and bool(gpus)
    places = [f"cuda:{number}" for number in gpus] if on_gpu else ["cpu"]
    n = min(entry.n_gpus, len(places))  # where there are fewer, the worker says so
    for lane in ["", *(f"/{k}" for k in range(1, limits.trainings))]:
        free = [place for place in places if place + lane not in taken]
        if len(free) >= n:
            yield free[0] + "".join(f",{place.removeprefix('cuda:')}" for place in free[1:n]) + lane


def _singles(slot: str) -> list[str]:
    """ "cuda:0,2/1" -> cuda:0/1, cuda:2/1; any other slot is itself."""
    numbers, _, lane = slot.removeprefix("cuda:").partition("/")
    if not slot.startswith("cuda:"):
        return [slot]
    return [f"cuda:{number}" + (f"/{lane}" if lane else "") for number in numbers.split(",")]


def is_over_limit(owner: str, waiting: Sequence[Entry], limits: Limits) -> bool:
    """Whether a guest has as many trainings waiting as one may; the machine's own workspace has no limit."""
    mine = [entry for entry in waiting if entry.owner == owner and entry.is_training]
    return bool(owner) and len(mine) >= limits.guest_waiting


@dataclass(frozen=True)
class Place:
    """Where a waiting job stands: 1 is the next; the wait is an estimate in seconds."""

    position: int
    wait_s: float


def place_of(entry: Entry, entries: Sequence[Entry], left_s: Mapping[str, float], limits: Limits) -> Place:
    """The position among those who wait for the same slots, and about how long that takes.

    entries: all that wait, run and lately ended; left_s: key of a running job -> seconds left, where known.
    """
    pool = [other for other in entries if other.is_training == entry.is_training]
    running = [other for other in pool if other.state == "running"]
    served = [other for other in pool if other.state not in ("queued", "paused")]
    order = fair_order([other for other in pool if other.state == "queued"], served)
    position = 1 + next((n for n, other in enumerate(order) if other.key == entry.key), len(order))
    usual = usual_seconds(entry.kind, pool)
    lanes = sorted(left_s.get(other.key, usual) for other in running)
    n_lanes = (limits.cluster or limits.trainings) if entry.is_training else limits.workers
    lanes += [0.0] * max(0, n_lanes - len(lanes))
    for _ in range(position - 1):
        lanes.sort()
        lanes[0] += usual
    return Place(position, min(lanes, default=0.0))


def usual_seconds(kind: str, entries: Sequence[Entry]) -> float:
    """What the last ones of this kind took."""
    took = [entry.ended - entry.started for entry in entries if entry.kind == kind and entry.state == "finished"]
    return statistics.median(took[-20:]) if took else USUAL_S.get(kind, DEFAULT_S)
