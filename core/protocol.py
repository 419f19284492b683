"""Under which conditions a number was measured, and at which cost. Numbers of two protocols are never compared."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from typing import Any

import torch

from core.metrics import DATA_RANGE, METRICS_VERSION
from core.synthesis import LoadedRun
from core.types import PHYSICAL_UNITS
from core.workspace import plain

if sys.platform != "win32":
    import resource


def protocol_of(loaded: LoadedRun, cases: Sequence[str]) -> dict[str, Any]:
    """Data, split, mask, normaliser, range, crop and grid, with one `fingerprint` over all of them."""
    dataset, split = loaded.dataset, loaded.split
    protocol = {
        "dataset": dataset.name,
        "dataset_fingerprint": dataset.fingerprint,
        "simulated": dataset.is_simulated,
        "cases": list(cases),
        "held_out": not set(cases) & {*split.train, *split.val},
        "n_train": len(split.train),
        "split": _digest([split.train, split.val, split.test]),
        "mask": "the dataset's foreground mask, within the target's field of view where one is known",
        "normaliser": dataset.index["recipe"],
        "data_range": DATA_RANGE,
        "mae_units": {m: _mae_unit(dataset.unit(m)) for m in dataset.modalities},
        "crop": list(dataset.shape),
        "spacing_mm": list(dataset.spacing_mm),
        "metrics_version": METRICS_VERSION,
    }
    return {**protocol, "fingerprint": _digest(protocol)}


def _mae_unit(unit: str) -> str:
    return unit if unit in PHYSICAL_UNITS else "0-1 scale"


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(plain(value), sort_keys=True).encode()).hexdigest()[:16]


def cost_of(loaded: LoadedRun, seconds_per_case: float | None) -> dict[str, Any]:
    """What a synthesis costs: time for one whole volume, memory of the whole process, size of the model."""
    return {
        "seconds_per_case": seconds_per_case,
        "peak_memory_mb": _peak_memory_mb(),
        "parameters": sum(parameter.numel() for parameter in loaded.model.parameters()),
        "weights_mb": loaded.run.weights_path.stat().st_size / 2**20,
        "device": str(loaded.device),
        "threads": torch.get_num_threads(),
    }


def _peak_memory_mb() -> float | None:
    if sys.platform == "win32":
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
