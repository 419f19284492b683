"""One synthesis beside the truth: what the Compare page shows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from core.judging import CaseJudge, judged_mask
from core.structure import Mask
from core.synthesis import LoadedRun, physical_scale, synthesise_case
from core.types import Array


@dataclass(frozen=True, eq=False)
class CompareResult:
    """A case from some modalities to one target; images (I, J, K) on the 0-1 scale.

    Attributes:
        source, target: memory-mapped; target is None where the case has no such image.
        mask: the voxels that are judged.
        metrics: of `CaseJudge`, MAE in `unit`; empty without a target.
        unit, scale, offset: value * scale + offset is in `unit`; 1 and 0 for "a.u.".
        seconds: for the synthesis.
    """

    source: dict[str, Array]
    target: Array | None
    synthesis: Array
    mask: Mask
    metrics: dict[str, float]
    unit: str
    scale: float
    offset: float
    seconds: float

    @property
    def difference(self) -> Array | None:
        """synthesis - target."""
        return None if self.target is None else self.synthesis - self.target


def compare_case(loaded: LoadedRun, case_id: str, given: Sequence[str], target: str) -> CompareResult:
    """One synthesis beside the truth, where there is one."""
    dataset = loaded.dataset
    start = time.perf_counter()
    synthesis = synthesise_case(loaded, case_id, given, [target])[target]
    seconds = time.perf_counter() - start
    has = dataset.record(case_id)["modalities"]
    truth = dataset.volume(case_id, target) if target in has else None
    mask = judged_mask(dataset, case_id, target)
    known = physical_scale(dataset, case_id, target)
    scale, offset = known or (1.0, 0.0)
    is_judged = truth is not None and mask.any()
    return CompareResult(
        source={m: dataset.volume(case_id, m) for m in given},
        target=truth,
        synthesis=synthesis,
        mask=mask,
        metrics=CaseJudge(dataset, case_id, target, mask).scores(synthesis) if is_judged else {},
        unit=dataset.unit(target) if known else "a.u.",
        scale=scale,
        offset=offset,
        seconds=seconds,
    )
