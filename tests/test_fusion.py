"""The measurement of what fusion is worth, on answers that are known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks.fusion import _claim, _found_again, _slices, table
from core.dataset import Dataset
from core.models.base import Batch
from core.models.formulas import Point
from tests.tiny_run import LoadedRun, tiny

__all__ = ["tiny"]


def test_a_claim_holds_where_its_difference_is_surely_above_nothing() -> None:
    theirs = {f"c{n}": 0.5 + n / 100 for n in range(8)}
    better = _claim(
        "more", {case: value + 0.1 + (n % 3) / 100 for n, (case, value) in enumerate(theirs.items())}, theirs
    )
    worse = _claim("less", {case: value - 0.05 for case, value in theirs.items()}, theirs)
    few = _claim("few", dict(list(theirs.items())[:3]), theirs)
    assert better["more"] == pytest.approx(0.1 + 7 / 800)
    lines = {line.split()[0]: line.split()[-1] for line in table({**better, **worse, **few}).splitlines()}
    assert (lines["more"], lines["less"], lines["few"]) == ("yes", "no", "unclear")


class Coder(torch.nn.Module):
    """A slice's code in T1 is a direction of its own; in T2 the same, or that of the next slice."""

    def __init__(self, shapes: Any, shift: int) -> None:
        super().__init__()
        self.shapes, self.shift = shapes, shift

    def embed(self, batch: Batch) -> torch.Tensor:
        codes = torch.eye(batch.size)
        return Point(codes.roll(self.shift, 0) if "T2" in batch.x else codes).mean


@pytest.mark.parametrize(("shift", "share"), [(0, 1.0), (1, 0.0)])
def test_a_slice_is_found_again_by_its_own_code_alone(tiny: LoadedRun, shift: int, share: float) -> None:
    loaded: Any = SimpleNamespace(
        dataset=tiny.dataset, model=Coder(tiny.model.shapes, shift), split=SimpleNamespace(test=("case-0", "case-1")),
        device=torch.device("cpu"),
    )  # fmt: skip
    assert _found_again(loaded) == {"case-0": share, "case-1": share}


def test_a_case_gives_two_slices_that_are_apart(dataset: Dataset) -> None:
    first, second = _slices(dataset, dataset.case_ids[0])
    assert 0 < first < second < dataset.shape[2] - 1
