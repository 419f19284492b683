"""What a synthesis costs: time for one whole volume, memory of the whole process, size of the model."""

from __future__ import annotations

import sys
from typing import Any

import torch

from core.synthesis import LoadedRun

if sys.platform != "win32":
    import resource


def cost_of(loaded: LoadedRun, seconds_per_case: float | None) -> dict[str, Any]:
    """Measured in this process, up to now."""
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
