"""What a worker takes of the machine at the moment."""

from __future__ import annotations

import os
import sys


def memory_bytes() -> int:
    """Resident memory of this process; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm") as stream:
            return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def gpu_bytes() -> int:
    """GPU memory that torch holds; 0 where it was never asked for. Does not import torch."""
    torch = sys.modules.get("torch")
    return int(torch.cuda.memory_reserved()) if torch and torch.cuda.is_initialized() else 0
