"""Images a second of our training loop beside the library's, both in one process: that of the library's environment.

The same convolutional networks (our MVAE's), the same arrays (two modalities, 64 x 64 pixels), batches of 32, Adam, the
objective as published. Each round trains for the same epochs with all in turn, from the first step to the weights on
disk. Our loop's own comforts (averaged weights, watched gradients, history) stay on; augmentation, which the library
has not, is off.

Both sides have PyTorch's usual memory format, which is ours for learning from slices on a CPU, so none of the gain
comes from it. `step_alone` is one loss and its gradient, without either loop. `multivae_loops` is the other half.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks import Figures, Targets, is_quick_try
from benchmarks.multivae_env import run_there

TARGETS: Targets = {"ours_over_theirs": (">=", 1.5), "ours_over_theirs_processor": (">=", 1.5)}


def measure_multivae() -> Figures:
    """Images a second of each, medians of the ratios of rounds, by the clock and by the processor's time."""
    with tempfile.TemporaryDirectory() as place:
        found: Figures = run_there("benchmarks.multivae_loops", "speed", Path(place), {"quick": is_quick_try()})
    return found
