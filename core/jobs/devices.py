"""Which GPUs this machine has, asked without importing torch, and which a job asks for."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import time

from core.runs import Job
from core.workspace import read_json

ASK_EVERY_S = 5.0
VISIBLE = "CUDA_VISIBLE_DEVICES"


def gpus_by_free_memory() -> list[int]:
    """Numbers of the NVIDIA GPUs, the one with most free memory first; none where there is no driver."""
    return list(_asked(int(time.monotonic() / ASK_EVERY_S)))


@functools.lru_cache(maxsize=1)
def _asked(_: int) -> tuple[int, ...]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    command = [program, "--query-gpu=index,memory.free", "--format=csv,noheader,nounits"]
    try:
        text = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(number for number in by_free_memory(text) if is_allowed(number, os.environ.get(VISIBLE)))


def is_allowed(number: int, visible: str | None) -> bool:
    """Whether CUDA_VISIBLE_DEVICES leaves this GPU to the app; unset, it leaves all."""
    return visible is None or str(number) in [part.strip() for part in visible.split(",")]


def by_free_memory(text: str) -> tuple[int, ...]:
    """ "0, 1000\\n1, 7000" -> (1, 0); lines that are not two numbers are left out."""
    rows = [line.split(",") for line in text.splitlines()]
    pairs = [
        (int(row[0]), int(row[1])) for row in rows if len(row) == 2 and all(cell.strip().isdigit() for cell in row)
    ]
    return tuple(index for index, _ in sorted(pairs, key=lambda pair: (-pair[1], pair[0])))


def asked_by(job: Job) -> str:
    """auto, cpu or cuda; for a training on several GPUs with their number, as in "auto*2"."""
    device = str(job.params.get("device", "auto"))
    config = job.folder / "config.json"
    if job.kind == "search":
        n = int(job.params["config"]["train"].get("devices", 1))
    elif job.kind == "train" and config.exists():
        n = int(read_json(config)["train"].get("devices", 1))
    else:
        return device
    return device if n == 1 else f"{device}*{n}"
