"""Memory that runs out, on a device or on the machine: noticed without importing torch, and said in a sentence."""

from __future__ import annotations

from core.errors import UserError

CODE = "OUT-OF-MEMORY"
OF_A_CPU = "DefaultCPUAllocator"  # torch raises a plain RuntimeError there


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory is what was lacking, for torch (on any device) or for Python and NumPy."""
    if isinstance(error, MemoryError):
        return True
    is_torch = type(error).__name__ == "OutOfMemoryError" or OF_A_CPU in str(error)
    return isinstance(error, RuntimeError) and is_torch


def out_of_memory(detail: str = "") -> UserError:
    """What a person is told."""
    words = ["There is too little memory for this", *([detail] if detail else [])]
    remedy = "Make the model narrower, the images smaller, or free the device."
    return UserError(f"{', '.join(words)}. {remedy}", CODE)
