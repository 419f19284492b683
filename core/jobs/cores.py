"""How many cores a process takes that is not alone."""

from __future__ import annotations

import os


def share_cores() -> None:
    """Half of the cores, unless OMP_NUM_THREADS says otherwise.

    OpenMP's threads wait for each other by spinning: two trainings, or a training and busy pages, on the same cores
    were ten times slower with all cores each than with half.
    """
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))
