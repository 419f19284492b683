"""What a synthesis costs: time for one whole volume, memory of the whole process, size of the model."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.synthesis import LoadedRun

if sys.platform != "win32":
    import resource


Row = dict[str, Any]


def cost_of(loaded: LoadedRun, cases: list[Row]) -> dict[str, Any]:
    """Measured in this process, up to now; `cases` are those of `measure`."""
    return {
        "seconds_per_case": float(np.median([case["seconds"] for case in cases])) if cases else None,
        "cases": cases,
        "peak_memory_mb": _peak_memory_mb(),
        "parameters": sum(parameter.numel() for parameter in loaded.model.parameters()),
        "weights_mb": loaded.run.weights_path.stat().st_size / 2**20,
        "device": str(loaded.device),
        "threads": torch.get_num_threads(),
    }


def measure(loaded: LoadedRun, case_id: str, work: Callable[[], object]) -> Row:
    """Seconds of some work on a case, and the most memory that this process (or its GPU) held in that time.

    Where the system cannot begin anew to look for the most, as outside Linux, the memory is None.
    """
    is_gpu = loaded.device.type == "cuda"
    if is_gpu:
        torch.cuda.reset_peak_memory_stats(loaded.device)
    is_anew = is_gpu or _forget_peak()
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    peak = None
    if is_anew:
        peak = torch.cuda.max_memory_allocated(loaded.device) / 2**20 if is_gpu else _peak_since_mb()
    return {"case": case_id, "seconds": seconds, "peak_memory_mb": peak}


def _forget_peak() -> bool:
    """Whether Linux now counts this process's peak from here on."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _peak_since_mb() -> float | None:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 2**10
    return None


def _peak_memory_mb() -> float | None:
    if sys.platform == "win32":
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
