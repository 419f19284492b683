"""Checking a dataset: every case measured, imprinted and drawn, then all compared; the work of a job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.cohort import Cohort
from core.dataset import Dataset
from core.errors import NotFoundError
from core.progress import Progress, part, silent
from core.quality.measures import measure_case
from core.quality.report import Report, write_report
from core.quality.thumbnails import make_strips
from core.quality.twins import twins_of
from core.workspace import Workspace

MEASURING = 0.4  # of the time; the rest goes into comparing


def check(dataset: Dataset, cohort: Cohort | None = None, progress: Progress = silent) -> Report:
    """Look a dataset through, also the cases that were left out, and keep what was found with it.

    Args:
        cohort: where the dataset's images came from; without it nothing is known of how they were acquired.
    """
    whole = dataset.whole
    cases = {}
    for n, case_id in enumerate(whole.case_ids):
        progress(MEASURING * n / len(whole.case_ids), 1.0, f"Looking at case {n + 1} of {len(whole.case_ids)}")
        cases[case_id] = measure_case(whole, case_id, _facts(cohort, case_id))
        make_strips(whole, case_id)
    report = Report(whole.fingerprint, cases, tuple(twins_of(whole, part(progress, MEASURING, 1.0))))
    write_report(dataset, report)
    progress(1.0, 1.0, "Checked")
    return report


def _facts(cohort: Cohort | None, case_id: str) -> Mapping[str, Any]:
    """What the cohort's record says of the images; nothing where there is none any more."""
    if cohort is None:
        return {}
    try:
        return dict(cohort.describe(case_id)["volumes"])
    except NotFoundError:
        return {}


def cohort_of(workspace: Workspace, dataset: Dataset) -> Cohort | None:
    """The cohort that a dataset was made from, where it is still there."""
    try:
        return Cohort.open(workspace, str(dataset.index["cohort"]))
    except NotFoundError:
        return None
