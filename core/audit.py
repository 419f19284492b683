"""Further checks of a trained run, each asked for by name and kept beside its results. To add one: a line in AUDITS.

A check lies in the run's folder as `audit-NAME.json`, with a fingerprint of weights and data: it is computed once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from core.errors import InvalidConfigError, UserError
from core.findings import finding, fingerprint_of, keep
from core.memorisation import measure_memorisation
from core.misalignment import measure_misalignment
from core.progress import Progress, part, silent
from core.realism import measure_realism
from core.shortage import told_of_memory
from core.synthesis import LoadedRun
from core.usefulness import measure_usefulness
from core.workspace import plain

AUDITS: Mapping[str, Callable[[LoadedRun, Progress], dict[str, Any]]] = {
    "usefulness": measure_usefulness,
    "misalignment": measure_misalignment,
    "memorisation": measure_memorisation,
    "realism": measure_realism,
}


def audit(loaded: LoadedRun, names: Sequence[str], progress: Progress = silent) -> dict[str, Any]:
    """Do the checks that are not done yet; one that cannot be done says why, and the others go on.

    Returns:
        name -> its record: `result`, or `error` and `code`; `seconds`, `fingerprint`.

    Raises:
        InvalidConfigError: There is no check of that name.
        UserError: Only one was asked for, and it cannot be done.
    """
    unknown = [name for name in names if name not in AUDITS]
    if unknown or not names:
        raise InvalidConfigError(f"Choose among these checks: {', '.join(AUDITS)}.", "NO-AUDIT")
    found = {}
    for n, name in enumerate(names):
        found[name] = _record(loaded, name, part(progress, n / len(names), (n + 1) / len(names)))
    if len(names) == 1 and found[names[0]].get("error"):
        raise UserError(str(found[names[0]]["error"]), str(found[names[0]]["code"]))
    return found


def _record(loaded: LoadedRun, name: str, progress: Progress) -> dict[str, Any]:
    fingerprint = fingerprint_of(loaded.run, loaded.dataset, loaded.split, name)
    known = finding(loaded.run, name)
    if known.get("fingerprint") == fingerprint and "result" in known:
        return known
    began = time.monotonic()
    record: dict[str, Any] = {"fingerprint": fingerprint}
    try:
        with told_of_memory():
            record["result"] = AUDITS[name](loaded, progress)
    except UserError as error:
        record |= {"error": str(error), "code": error.code}
    record = dict(plain({**record, "seconds": round(time.monotonic() - began, 1)}))
    keep(loaded.run, name, record)
    return record
