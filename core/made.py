"""What a run makes of held-out cases, one synthesis after the other, for whoever judges them."""

from __future__ import annotations

from collections.abc import Iterator

from core.evaluate import tasks_of
from core.synthesis import LoadedRun, synthesise_case
from core.types import Array

Made = tuple[tuple[str, ...], str, Array]  # given, target, (I, J, K) on the 0-1 scale


def syntheses(loaded: LoadedRun, case_id: str) -> Iterator[Made]:
    """From each modality alone and from all others together; nothing from itself, and only what the case has."""
    for task in tasks_of(loaded, case_id, "small"):
        targets = [target for target in task.targets if target not in task.given]
        if targets:
            images = synthesise_case(loaded, case_id, task.given, targets)
            yield from ((task.given, target, images[target]) for target in targets)
