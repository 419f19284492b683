"""How a training step is computed: in which precision, with which algorithms, compiled or not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn

from core.config import TrainConfig
from core.errors import DeviceError


def autocast(settings: TrainConfig, device: torch.device) -> AbstractContextManager[object]:
    """bfloat16 inside convolutions and matrix products where the settings, or a GPU that has it, say so.

    Raises:
        DeviceError: bfloat16 is asked for and the GPU has none.
    """
    has_bf16 = device.type != "cuda" or torch.cuda.is_bf16_supported()
    if settings.precision == "bf16" and not has_bf16:
        raise DeviceError("This GPU does not compute in bfloat16. Set train.precision to full.", "NO-BF16")
    is_half = settings.precision == "bf16" or (settings.precision == "auto" and device.type == "cuda" and has_bf16)
    return torch.autocast(device.type, torch.bfloat16) if is_half else nullcontext()


@contextmanager
def algorithms(settings: TrainConfig) -> Iterator[None]:
    """Within, only algorithms that give the same bits each time, where that is asked for."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(settings.deterministic or before, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def compile_networks(model: nn.Module, settings: TrainConfig) -> None:
    """Let PyTorch compile each network of a model in place; names of weights stay as they are."""
    if not settings.compile:
        return
    for child in model.children():
        for network in child.children() if isinstance(child, nn.ModuleDict) else (child,):
            network.compile()
