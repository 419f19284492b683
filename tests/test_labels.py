"""Labels that a person gives: what fits the vocabulary is stored, what could name or date a person never is."""

from __future__ import annotations

import csv
import io

import pytest

from core.cohort import Cohort
from core.dataset import Dataset
from core.errors import InvalidConfigError, NotFoundError, RefusedError
from core.labels import LABELS, checked, give_labels, labels_from_csv, labels_of, labels_to_csv
from core.workspace import Workspace

IDENTITIES = (
    "Jane Doe", "Doe^Jane", "Mayo Clinic", "Hospital", "12345678", "MRN 0042", "1957-03-12", "12.03.1957", "03/57",
    "20240131", "jane@example.org", "=HYPERLINK(1)", "site-A; Jane", "a" * 500, "A\nJane", "\u202eenaJ",
)  # fmt: skip


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize("text", IDENTITIES)
def test_what_could_name_or_date_a_person_is_refused_and_not_repeated(name: str, text: str) -> None:
    with pytest.raises(InvalidConfigError) as refusal:
        checked(name, text)
    assert text not in str(refusal.value) and LABELS[name].allowed in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "text", "stored"),
    [
        ("site", "a", "A"),
        ("site", "Site 7", "7"),
        ("site", "site_b", "B"),
        ("scanner", "12", "12"),
        ("sex", "F", "female"),
        ("age_band", " 60-64 ", "60-64"),
        ("age_band", "90+", "90+"),
        ("field_t", "1.5", "1.5"),
        ("diagnosis", "MS", "multiple-sclerosis"),
        ("diagnosis", "Glioma II", "glioma-ii"),
        ("diagnosis", "prostate cancer", "prostate-cancer"),
        ("group", "Control", "control"),
        ("grade", "3", 3.0),
        ("score", "27,5", 27.5),
    ],
)
def test_what_fits_is_stored_in_one_spelling(name: str, text: str, stored: str | float) -> None:
    assert checked(name, text) == stored


@pytest.mark.parametrize(
    ("name", "text"), [("age_band", "61"), ("age_band", "60-65"), ("grade", "11"), ("score", "501")]
)
def test_what_is_out_of_range_is_refused(name: str, text: str) -> None:
    with pytest.raises(InvalidConfigError):
        checked(name, text)


def test_every_value_of_a_closed_vocabulary_is_accepted() -> None:
    for name, kind in LABELS.items():
        for value in kind.values:
            assert checked(name, value) in (value, value.upper())


def test_labels_reach_the_cohort_and_its_datasets_and_change_no_fingerprint(
    workspace: Workspace, cohort: Cohort, dataset: Dataset
) -> None:
    before = dataset.fingerprint
    dataset.exclude("case-01", "motion")
    given = {case: {"site": "a" if case < "case-02" else "b"} for case in cohort.case_ids}
    assert give_labels(workspace, cohort, given) == 4
    again = Dataset.open(workspace, dataset.name)
    assert {case: again.whole.record(case)["labels"]["site"] for case in again.whole.case_ids} == {
        "case-00": "A", "case-01": "A", "case-02": "B", "case-03": "B",
    }  # fmt: skip
    assert "core_x" in cohort.describe("case-00")["labels"]
    again.include("case-01")
    assert again.fingerprint == before and again.record("case-01")["labels"]["site"] == "A"


def test_one_wrong_value_changes_nothing(workspace: Workspace, cohort: Cohort) -> None:
    before = labels_of(cohort)
    with pytest.raises(InvalidConfigError):
        give_labels(workspace, cohort, {"case-00": {"site": "b"}, "case-01": {"site": "Jane Doe"}})
    with pytest.raises(NotFoundError):
        give_labels(workspace, cohort, {"case-00": {"site": "b"}, "nobody": {"site": "a"}})
    assert labels_of(cohort) == before


def test_a_table_comes_back_and_an_empty_cell_takes_a_label_away(workspace: Workspace, cohort: Cohort) -> None:
    give_labels(workspace, cohort, {"case-00": {"site": "a", "score": "27.5"}, "case-01": {"age_band": "60-64"}})
    give_labels(workspace, cohort, labels_from_csv(cohort, labels_to_csv(cohort).encode()))
    before = labels_of(cohort)
    table = labels_to_csv(cohort)
    assert give_labels(workspace, cohort, labels_from_csv(cohort, table.encode())) == 0
    assert labels_of(cohort) == before
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [row["case"] for row in rows] == cohort.case_ids and rows[0]["score"] == "27.5"
    assert give_labels(workspace, cohort, labels_from_csv(cohort, b"case,site\ncase-00,\ncase-03,9\n")) == 2
    assert "site" not in labels_of(cohort)["case-00"] and labels_of(cohort)["case-00"]["score"] == 27.5
    assert labels_of(cohort)["case-03"]["site"] == "9"


@pytest.mark.parametrize(
    "content",
    [
        b"", b"name,site\ncase-00,A\n", b"case,case\n", b"case,patient_name\ncase-00,Jane\n", b"\xff\xfe\x00",
        b'case,site\n"case-00,A\n', b"case,site\nDoe-Jane,A\n", b"case,site\n" + b"x" * 2_000_001,
    ],
)  # fmt: skip
def test_what_is_no_table_of_labels_is_refused_without_a_word_of_it(cohort: Cohort, content: bytes) -> None:
    with pytest.raises((InvalidConfigError, RefusedError)) as refusal:
        labels_from_csv(cohort, content)
    assert "Jane" not in str(refusal.value) and "patient" not in str(refusal.value)
