"""A run's weights on disk."""

from __future__ import annotations

import hashlib

from safetensors.torch import save as save_safetensors

from core.models.base import Model
from core.runs import Run
from core.workspace import atomic_write


def save_weights(run: Run, model: Model) -> None:
    """weights.safetensors, and its sha256 beside it."""
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    content = save_safetensors(state)
    atomic_write(run.weights_path, content)
    atomic_write(run.weights_path.with_suffix(".sha256"), hashlib.sha256(content).hexdigest().encode())
