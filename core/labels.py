"""Labels that a person gives to cases: a few names, each with a small vocabulary, so that nothing else can get in.

What is typed here is stored, shown and learnt from. So a value is a word of the vocabulary or a short code, never free
text: a hospital's name, a date or a record number is refused, and is not repeated in the refusal.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass

from core.cohort import Cohort
from core.dataset import list_datasets
from core.errors import InvalidConfigError, RefusedError
from core.types import Label
from core.workspace import Workspace, locked

CASE = "case"  # the column of a table of labels that says whose they are
MAX_CSV_BYTES = 2_000_000
CODE = r"[a-z]|[0-9]{1,2}"
GRADE = r"(-([0-9]{1,2}|i{1,3}|iv)[abc]?)?"
DIAGNOSIS_WORDS = """
healthy control other unknown benign malignant tumour cyst multiple-sclerosis cis rrms spms ppms glioma glioblastoma
astrocytoma oligodendroglioma meningioma metastasis lymphoma schwannoma pituitary-adenoma stroke ischaemia haemorrhage
aneurysm epilepsy alzheimer mci ftd parkinson tbi hydrocephalus oedema abscess infection prostate-cancer cspca bph
prostatitis breast-cancer lung-cancer nodule liver-cancer hcc pancreatic-cancer renal-cancer colorectal-cancer
head-neck-cancer sarcoma melanoma fracture arthritis osteoporosis pneumonia covid emphysema fibrosis cirrhosis
steatosis cardiomyopathy infarct
"""


@dataclass(frozen=True)
class LabelKind:
    """What may stand under one name.

    Attributes:
        values: the vocabulary, where it is closed; else empty.
        pattern: what a value looks like in small letters with hyphens, where there is no closed vocabulary.
        limits: the smallest and the largest number, for numbers (one decimal at most).
        allowed: the same in words.
    """

    title: str
    help: str
    allowed: str
    values: tuple[str, ...] = ()
    pattern: str = ""
    limits: tuple[float, float] | None = None


def _bands() -> tuple[str, ...]:
    return (*(f"{first}-{first + 4}" for first in range(0, 90, 5)), "90+")


LABELS: dict[str, LabelKind] = {
    "site": LabelKind(
        "Site", "Where a case is from, as a code that you choose", "a letter or a number up to 99", pattern=CODE
    ),
    "scanner": LabelKind(
        "Scanner", "Which device, as a code that you choose", "a letter or a number up to 99", pattern=CODE
    ),
    "vendor": LabelKind(
        "Vendor",
        "Who built the scanner",
        "a choice from the list",
        ("siemens", "philips", "ge", "canon", "hitachi", "united-imaging", "fujifilm", "esaote", "samsung", "other"),
    ),
    "field_t": LabelKind(
        "Field strength (T)",
        "Of the MR scanner, in tesla",
        "a choice from the list",
        ("0.05", "0.2", "0.35", "0.5", "1", "1.5", "3", "4.7", "7", "9.4"),
    ),
    "group": LabelKind(
        "Group",
        "An arm of a study or any other division",
        "a letter, a number up to 99, or a word such as control or treated",
        pattern=f"{CODE}|control|case|treated|untreated|placebo|pilot|internal|external",
    ),
    "diagnosis": LabelKind(
        "Diagnosis",
        "What the case shows",
        "a common diagnosis in English, perhaps with a grade, such as glioma-2",
        pattern=f"({'|'.join(DIAGNOSIS_WORDS.split())}){GRADE}",
    ),
    "sex": LabelKind("Sex", "As recorded", "a choice from the list", ("female", "male", "other")),
    "age_band": LabelKind("Age band", "Five years; 90 and over together", "a choice from the list", _bands()),
    "grade": LabelKind("Grade", "Of a finding, such as a tumour's", "a number from 0 to 10", limits=(0, 10)),
    "score": LabelKind("Score", "Of a clinical test", "a number from 0 to 500, one decimal", limits=(0, 500)),
}
SPELLINGS = {"ms": "multiple-sclerosis", "tumor": "tumour", "edema": "oedema", "hemorrhage": "haemorrhage"}


def checked(name: str, text: str) -> Label:
    """A value as it may be stored.

    Raises:
        InvalidConfigError: There is no such label, or the value is not one that it may have.
    """
    kind = kind_of(name)
    value = "-".join(text.strip().casefold().replace("_", "-").split())
    value = SPELLINGS.get(value, value).removeprefix(f"{name}-")
    if name == "sex":
        value = {"f": "female", "m": "male"}.get(value, value)
    if kind.limits is not None:
        return _number(kind, value)
    is_known = value in kind.values if kind.values else re.fullmatch(kind.pattern, value) is not None
    if not is_known:
        raise _refused(kind)
    return value.upper() if len(value) == 1 else value


def kind_of(name: str) -> LabelKind:
    """The kind of that name; raises InvalidConfigError where there is none."""
    if name not in LABELS:
        raise InvalidConfigError(f"There is no label of that name. Labels: {', '.join(LABELS)}.", "LABEL-NAME")
    return LABELS[name]


def _number(kind: LabelKind, value: str) -> float:
    low, high = kind.limits or (0, 0)
    if not re.fullmatch(r"[0-9]{1,3}([.,][0-9])?", value) or not low <= float(value.replace(",", ".")) <= high:
        raise _refused(kind)
    return float(value.replace(",", "."))


def _refused(kind: LabelKind) -> InvalidConfigError:
    return InvalidConfigError(
        f"{kind.title}: this value is not stored, because labels never hold free text. Give {kind.allowed}.",
        "LABEL-VALUE",
    )


Given = Mapping[str, Mapping[str, str]]  # case -> name -> text; "" takes the label away


def give_labels(workspace: Workspace, cohort: Cohort, given: Given) -> int:
    """Check all values, then give them to the cases of a cohort and of the datasets that were made from it.

    Labels that are not named stay. Returns how many cases have other labels now.

    Raises:
        InvalidConfigError: A name or a value cannot be stored; then nothing was changed.
        NotFoundError: A case is not in the cohort.
    """
    wanted = {
        case: {name: checked(name, text) if text.strip() else None for name, text in texts.items()}
        for case, texts in given.items()
    }
    with locked(cohort.folder):
        before = {case: cohort.describe(case)["labels"] for case in wanted}
        after = {case: _changed(before[case], values) for case, values in wanted.items()}
        for case, labels in after.items():
            if labels != before[case]:
                cohort.set_labels(case, labels)
    for dataset in list_datasets(workspace):
        if dataset.index["cohort"] == cohort.name:
            dataset.set_labels(after)
    return sum(after[case] != before[case] for case in wanted)


def _changed(labels: Mapping[str, Label], values: Mapping[str, Label | None]) -> dict[str, Label]:
    together = {**labels, **values}
    return {name: value for name, value in together.items() if value is not None}


def labels_of(cohort: Cohort) -> dict[str, dict[str, Label]]:
    """Case -> those of its labels that a person can give."""
    every = {case: cohort.describe(case)["labels"] for case in cohort.case_ids}
    return {case: {name: labels[name] for name in LABELS if name in labels} for case, labels in every.items()}


def labels_to_csv(cohort: Cohort) -> str:
    """A table to fill in with any spreadsheet: a row a case, a column a label."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, [CASE, *LABELS], lineterminator="\n")
    writer.writeheader()
    for case, labels in labels_of(cohort).items():
        writer.writerow({CASE: case, **{name: f"{v:g}" if isinstance(v, float) else v for name, v in labels.items()}})
    return stream.getvalue()


def labels_from_csv(cohort: Cohort, content: bytes) -> dict[str, dict[str, str]]:
    """What such a table says; an empty cell takes a label away, a column that is not there changes nothing.

    Raises:
        RefusedError: The file is too large, or no table in UTF-8.
        InvalidConfigError: It has no column "case", an unknown column, or a row whose case is not in the cohort.
    """
    head, rows = _table(content)
    names = [name for name in head if name != CASE]
    known = set(cohort.case_ids)
    given: dict[str, dict[str, str]] = {}
    for n, row in enumerate(rows, 2):
        cells = dict(zip(head, row, strict=False))
        case = cells.get(CASE, "").strip()
        if case in known:
            given[case] = {name: cells.get(name, "").lstrip("'") for name in names}
        elif any(cell.strip() for cell in row):
            raise InvalidConfigError(
                f"Row {n}: this case is not in the cohort. Start from the table that is saved here.", "LABEL-CASE"
            )
    return given


def _table(content: bytes) -> tuple[list[str], list[list[str]]]:
    """Names of the columns, all known, and the rows below."""
    if len(content) > MAX_CSV_BYTES:
        raise RefusedError("A table of labels has 2 MB at most. Leave out what is no label.", "LABEL-TABLE")
    try:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig")), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise RefusedError(
            "The file is no table. Save it as CSV in UTF-8, separated by commas.", "LABEL-TABLE"
        ) from error
    head = [cell.strip().casefold() for cell in rows[0]] if rows else []
    if head.count(CASE) != 1 or len(set(head)) < len(head):
        raise InvalidConfigError('The table needs one column named "case", and no column twice.', "LABEL-TABLE")
    for name in head:
        if name != CASE:
            kind_of(name)
    return head, rows[1:]
