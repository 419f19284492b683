"""A process that trains beside the one that leads: `python -m core.follower RUN DATASET DEVICE NUMBER OF PORT`."""

from __future__ import annotations

import logging
import os
import sys
import threading
from pathlib import Path

import torch

from core.dataset import Dataset
from core.discreet import DiscreetFormatter
from core.runs import Run
from core.team import Seat
from core.train import follow


def end_with_the_leader() -> None:
    """The leader holds the other end of standard input: it ends when the leader does, however that came about."""
    sys.stdin.buffer.read()
    os._exit(0)


def main(run: str, dataset: str, device: str, *seat: str) -> int:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(DiscreetFormatter("%(asctime)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    threading.Thread(target=end_with_the_leader, daemon=True).start()
    follow(Run(Path(run)), Dataset(Path(dataset)), torch.device(device), Seat(*(int(text) for text in seat)), ready)
    return 0


def ready() -> None:
    """Tell the leader, who waits for one line."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
