"""Memory that runs out, on a device or on the machine: noticed without importing torch, and said in a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import UserError

CODE = "OUT-OF-MEMORY"
NAME = "OutOfMemoryError"  # of torch, and of what Ray makes of it
SIGNS = ("out of memory", "alloc_failed", "defaultcpuallocator")  # of CUDA, cuBLAS, cuDNN, Apple's GPUs; of a CPU


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory is what was lacking, for torch (on any device) or for Python and NumPy."""
    if isinstance(error, MemoryError) or any(NAME in kind.__name__ for kind in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in SIGNS)


def out_of_memory(detail: str = "") -> UserError:
    """What a person is told."""
    words = ["There is too little memory for this", *([detail] if detail else [])]
    remedy = "Use smaller images or a narrower model, or free memory."
    return UserError(f"{', '.join(words)}. {remedy}", CODE)


@contextmanager
def told_of_memory() -> Iterator[None]:
    """Within, memory that runs out is a UserError, so that other work goes on.

    Raises:
        UserError: Memory ran out (OUT-OF-MEMORY).
    """
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise out_of_memory() from error
        raise
