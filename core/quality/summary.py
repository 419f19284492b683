"""A dataset's quality as plain values: what the command line prints, computed from what a check found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from core.dataset import Dataset
from core.quality.drift import group_effect
from core.quality.flags import count, flags_of, pairs_of
from core.quality.geometry import acquired
from core.quality.measures import Measured
from core.quality.report import Report

MAX_GROUPS = 12
SITE_LABELS = ("site", "scanner")  # the first that is given tells where a case is from


def summary(dataset: Dataset, report: Report) -> dict[str, Any]:
    """Flags, twins, geometry, brightness and site effects of a dataset."""
    cases = {case: report.cases[case] for case in dataset.case_ids}
    flags = flags_of(dataset, report)
    label = site_label(dataset)
    return {
        "dataset": dataset.name,
        "cases": len(cases),
        "flagged": sum(count(flags[case]) > 0 for case in cases),
        "excluded": dataset.excluded,
        "flags": {case: [asdict(flag) for flag in some] for case, some in flags.items() if some},
        "twins": [[asdict(twin) for twin in some] for some in pairs_of(report.twins).values()],
        "missing": {case: _missing(dataset, case) for case in cases if _missing(dataset, case)},
        "acquired": {m: asdict(known) for m in dataset.modalities if (known := acquired(cases, m))},
        "mask_ml": {case: measured.mask_ml for case, measured in cases.items()},
        "brightness": {case: {m: asdict(b) for m, b in x.brightness.items()} for case, x in cases.items()},
        "grouped_by": label,
        "group_effects": {m: _effect(dataset, cases, m, label) for m in dataset.modalities} if label else {},
    }


def _missing(dataset: Dataset, case_id: str) -> list[str]:
    present = dataset.record(case_id)["modalities"]
    return [modality for modality in dataset.modalities if modality not in present]


def _effect(dataset: Dataset, cases: Mapping[str, Measured], modality: str, label: str) -> dict[str, Any] | None:
    effect = group_effect(medians(cases, modality), groups(dataset, label))
    return asdict(effect) if effect else None


def medians(cases: Mapping[str, Measured], modality: str) -> dict[str, float]:
    """Case -> median brightness on the prepared scale."""
    return {case: m.brightness[modality].median for case, m in cases.items() if modality in m.brightness}


def groups(dataset: Dataset, label: str) -> dict[str, str]:
    """Case -> its value of a label, as text; cases without it are absent."""
    labels = {case: dataset.record(case)["labels"].get(label) for case in dataset.case_ids}
    return {case: str(value) for case, value in labels.items() if value is not None}


def group_labels(dataset: Dataset) -> list[str]:
    """The labels that divide the cases into a few groups, those that tell of sites first."""
    names = sorted({name for case in dataset.case_ids for name in dataset.record(case)["labels"]})
    few = [name for name in names if 2 <= len(set(groups(dataset, name).values())) <= MAX_GROUPS]
    usable = [name for name in few if len(groups(dataset, name)) > len(set(groups(dataset, name).values()))]
    return sorted(usable, key=lambda name: SITE_LABELS.index(name) if name in SITE_LABELS else len(SITE_LABELS))


def site_label(dataset: Dataset) -> str:
    """The label that says where a case is from; "" where none does."""
    return next((name for name in group_labels(dataset) if name in SITE_LABELS), "")
