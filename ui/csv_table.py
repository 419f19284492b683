"""Tables as CSV files that are safe to open: text that a spreadsheet would take for a formula is quoted."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def csv_bytes(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """UTF-8 with a header line; what is missing or None is empty; lists are joined by " + "."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([safe_cell(name) for name in columns])
    for row in rows:
        writer.writerow([safe_cell(row.get(name)) for name in columns])
    return stream.getvalue().encode()


def safe_cell(value: Any) -> Any:
    """Numbers as they are; text that begins like a formula behind an apostrophe, which spreadsheets hide."""
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        value = " + ".join(str(part) for part in value)
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value
