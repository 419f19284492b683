"""What a check of a dataset found, as it lies in the dataset's folder: quality/report.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from core.dataset import Dataset
from core.quality.measures import Measured
from core.quality.twins import Twin
from core.workspace import read_json, write_json

VERSION = 1  # raised when an old report would mean something else


@dataclass(frozen=True)
class Report:
    """Measurements of every case, also of those that were left out, and the pairs that are too alike.

    Attributes:
        fingerprint: of the whole dataset when it was checked.
    """

    fingerprint: str
    cases: Mapping[str, Measured]
    twins: tuple[Twin, ...]


def report_path(dataset: Dataset) -> Path:
    return dataset.folder / "quality" / "report.json"


def write_report(dataset: Dataset, report: Report) -> None:
    """Keep a report with its dataset."""
    values = {
        "version": VERSION,
        "fingerprint": report.fingerprint,
        "cases": {case: measured.to_json() for case, measured in report.cases.items()},
        "twins": [asdict(twin) for twin in report.twins],
    }
    write_json(report_path(dataset), values)


def read_report(dataset: Dataset) -> Report | None:
    """The report; None where the dataset was not checked, or has other images since."""
    path = report_path(dataset)
    if not path.exists():
        return None
    values = read_json(path)
    if values["version"] != VERSION or values["fingerprint"] != dataset.whole.fingerprint:
        return None
    cases = {case: Measured.from_json(measured) for case, measured in values["cases"].items()}
    return Report(values["fingerprint"], cases, tuple(Twin(**twin) for twin in values["twins"]))
