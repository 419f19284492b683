"""Gradients of a batch that does not fit: in halves, added up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from core.batches import take
from core.models.base import Batch
from core.shortage import out_of_memory

MAX_PIECES = 8  # three halvings
Losses = dict[str, Tensor]


class Together(Protocol):
    """Who computes gradients at the same time."""

    def in_any(self, is_so: bool) -> bool: ...


def backward(
    batch: Batch, loss_of: Callable[[Batch], Losses], clear: Callable[[], None], team: Together, n_pieces: int
) -> tuple[Losses, int]:
    """Gradients of `loss_of(batch)["total"]` and the losses; in more pieces where memory runs out.

    In one piece this is a plain backward pass. In several, each piece weighs as many rows as it has: the same mean,
    but for terms that compare rows with each other, which see fewer of them.

    Args:
        clear: Forgets the gradients of a try that failed.
        team: Its processes take their batches in equally many pieces.

    Returns:
        The losses, and in how many pieces it went.

    Raises:
        UserError: Even single rows or eighths are too large (code OUT-OF-MEMORY).
    """
    while True:
        losses = _tried(batch, loss_of, clear, n_pieces)
        if not team.in_any(losses is None) and losses is not None:
            return losses, n_pieces
        del losses
        clear()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if team.in_any(2 * n_pieces > min(MAX_PIECES, batch.size)):
            break
        n_pieces *= 2
    raise out_of_memory("even with a batch in pieces")


def _tried(batch: Batch, loss_of: Callable[[Batch], Losses], clear: Callable[[], None], n_pieces: int) -> Losses | None:
    """None where memory ran out; left by returning, so that nothing of the failed try stays referenced."""
    try:
        if n_pieces == 1:
            return _whole(batch, loss_of, clear)
        clear()
        return _in_pieces(batch, loss_of, n_pieces)
    except torch.OutOfMemoryError:
        return None


def _whole(batch: Batch, loss_of: Callable[[Batch], Losses], clear: Callable[[], None]) -> Losses:
    losses = loss_of(batch)
    clear()  # not before: the allocator then gives and takes fewer pages
    losses["total"].backward()  # type: ignore[no-untyped-call]
    return losses


def _in_pieces(batch: Batch, loss_of: Callable[[Batch], Losses], n_pieces: int) -> Losses:
    summed: Losses = {}
    for rows in torch.arange(batch.size, device=batch.position.device).tensor_split(min(n_pieces, batch.size)):
        share = len(rows) / batch.size
        losses = loss_of(take(batch, rows))
        (losses["total"] * share).backward()  # type: ignore[no-untyped-call]
        for name, value in losses.items():
            summed[name] = summed.get(name, torch.zeros_like(value)) + share * value.detach()
    return summed
