"""How a training step is computed: on which device, in which precision, with which algorithms, compiled or not."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from core.config import TrainConfig
from core.errors import DeviceError

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import ClusterEnvironment

USUAL_COMPILER = {"darwin": "clang++", "win32": "cl"}  # as PyTorch has it; elsewhere g++
MAX_COMPILED = 256  # PyTorch counts all networks as one and would give up after eight


def precision_of(settings: TrainConfig, device: torch.device) -> Literal["32-true", "bf16-mixed"]:
    """bfloat16 inside convolutions and matrix products where the settings, or a GPU that has it, say so.

    Raises:
        DeviceError: bfloat16 is asked for and the GPU has none.
    """
    has_bf16 = device.type != "cuda" or torch.cuda.is_bf16_supported()
    if settings.precision == "bf16" and not has_bf16:
        raise DeviceError("This GPU does not compute in bfloat16. Set train.precision to full.", "NO-BF16")
    is_half = settings.precision == "bf16" or (settings.precision == "auto" and device.type == "cuda" and has_bf16)
    return "bf16-mixed" if is_half else "32-true"


def make_fabric(settings: TrainConfig, device: torch.device, environment: ClusterEnvironment) -> Fabric:
    """Precision, device and, for several devices, the strategy. Imported late: pages read this module too."""
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy, SingleDeviceStrategy, Strategy

    for name in ("lightning_fabric", "lightning_utilities"):
        logging.getLogger(name).setLevel(logging.WARNING)
    n, kind = settings.devices, device.type
    strategy: Strategy = SingleDeviceStrategy(device)
    if n > 1:
        strategy = DDPStrategy(parallel_devices=[torch.device(kind, k) if kind == "cuda" else device for k in range(n)])
    precision = precision_of(settings, device)
    return Fabric(accelerator=kind, strategy=strategy, precision=precision, plugins=[environment])


def check_devices(settings: TrainConfig, device: torch.device) -> None:
    """Raise DeviceError where a training on several GPUs finds fewer of them."""
    there = torch.cuda.device_count() if device.type == "cuda" else settings.devices
    if there < settings.devices:
        raise DeviceError(
            f"train.devices: {settings.devices} GPUs are asked for, and {there} can be had here. Set it to {there}.",
            "TOO-FEW-GPUS",
        )


@contextmanager
def algorithms(settings: TrainConfig) -> Iterator[None]:
    """Within, only algorithms that give the same bits each time, where that is asked for."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(settings.deterministic or before, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def compile_networks(model: nn.Module, settings: TrainConfig, device: torch.device) -> None:
    """Let PyTorch compile a model's networks in place, whole and in parts; names of weights stay as they are.

    Raises:
        DeviceError: Compiling for the CPU needs a compiler, and there is none.
    """
    if not settings.compile:
        return
    compiler = os.environ.get("CXX") or USUAL_COMPILER.get(sys.platform, "g++")
    if device.type == "cpu" and not shutil.which(compiler):
        raise DeviceError(
            f"train.compile needs the compiler {compiler}, and this machine has none. Install it, or turn it off.",
            "NO-COMPILER",
        )
    torch.compiler.reset()
    torch.compiler.config.recompile_limit = MAX_COMPILED
    for network in _networks(model):
        network.compile()


def _networks(module: nn.Module) -> Iterator[nn.Module]:
    """All below but containers and what a Sequential holds, since some models call a network's parts themselves."""
    for child in module.children():
        if not isinstance(child, nn.ModuleDict | nn.ModuleList):
            yield child
        if not isinstance(child, nn.Sequential):
            yield from _networks(child)
