"""The measurement of kills, in small."""

from __future__ import annotations

import pytest

from benchmarks import meets
from benchmarks.kill import TARGETS, measure_kill


@pytest.mark.slow
def test_nothing_is_lost_stuck_or_done_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSMODAL_KILLS", "6")
    figures = measure_kill()
    assert figures["kills"] == 6
    assert {key: figures[key] for key, target in TARGETS.items() if not meets(figures[key], target)} == {}
