"""Whether trainings go to a Ray cluster, and what each of them asks of it. The environment decides."""

from __future__ import annotations

import os
from dataclasses import dataclass

from core.errors import InvalidConfigError

BACKEND = "CROSSMODAL_BACKEND"  # local or ray
AT_ONCE = "CROSSMODAL_RAY_TRAININGS"  # handed to the cluster at once; it lets them wait until it has room
CPUS = "CROSSMODAL_RAY_CPUS"  # cores of one training
GPUS = "CROSSMODAL_RAY_GPUS"  # GPUs of one training: 0.5 puts two on one GPU, 0 is for a cluster without any
SAME_THERE = (CPUS, GPUS, "CROSSMODAL_CHECKPOINT_S")
ABOARD = "CROSSMODAL_ABOARD"  # set for what runs on the cluster
USUAL = {AT_ONCE: 16.0, CPUS: 1.0, GPUS: 1.0}
NAMES = ("local", "ray")


@dataclass(frozen=True)
class Share:
    """What one training gets of the cluster."""

    cpus: float
    gpus: float


def chosen() -> str:
    """The backend that the environment names.

    Raises:
        InvalidConfigError: There is no such backend.
    """
    name = os.environ.get(BACKEND, "") or NAMES[0]
    if name not in NAMES:
        raise InvalidConfigError(f"{BACKEND} is {' or '.join(NAMES)}. Mend it and start again.", "BACKEND")
    return name


def is_aboard() -> bool:
    """Whether this process runs on the cluster."""
    return os.environ.get(ABOARD, "") == "ray"


def trainings_at_once() -> int:
    return max(1, int(_number(AT_ONCE)))


def share_of(device: str, n_devices: int = 1) -> Share:
    """device: auto, cpu or cuda; several devices are whole GPUs of one node, each with cores of its own."""
    gpus = 0.0 if device.startswith("cpu") else _number(GPUS)
    return Share(n_devices * _number(CPUS), float(n_devices) if gpus and n_devices > 1 else gpus)


def settings() -> dict[str, str]:
    """Variables that mean the same on the cluster."""
    return {name: os.environ[name] for name in SAME_THERE if name in os.environ}


def _number(name: str) -> float:
    text = os.environ.get(name, "")
    try:
        number = float(text or USUAL[name])
    except ValueError:
        number = -1.0
    if not 0 <= number <= 10_000:
        raise InvalidConfigError(f"{name} is a number, such as {USUAL[name]:g}. Mend it and start again.", "BACKEND")
    return number
