"""Which cases a search may look at, and how they are divided: whole cases, every fold with its share of each kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from core.dataset import Dataset
from core.errors import InvalidConfigError

Folds = tuple[tuple[str, ...], ...]


def searched_cases(dataset: Dataset, seed: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(cases of the search, cases that it never sees): the latter are those that a run with this seed holds out."""
    test = dataset.split(seed).test
    return tuple(case_id for case_id in dataset.case_ids if case_id not in test), test


def strata_of(dataset: Dataset, case_ids: Sequence[str], label: str, n_folds: int) -> dict[str, str]:
    """Case -> its kind: the label's class, or for numbers a rank shared by `n_folds` cases, and its modalities.

    Raises:
        InvalidConfigError: No case has such a label.
    """
    found = {case_id: dataset.record(case_id)["labels"].get(label) for case_id in case_ids}
    known = {case_id: value for case_id, value in found.items() if value is not None}
    if label and not known:
        names = sorted({name for case_id in case_ids for name in dataset.record(case_id)["labels"]})
        raise InvalidConfigError(
            f"No case has a label {label[:40]}. Labels here: {', '.join(names) or 'none'}.", "NO-LABEL"
        )
    if known and all(isinstance(value, int | float) and not isinstance(value, bool) for value in known.values()):
        order = sorted(known, key=lambda case_id: (known[case_id], case_id))
        known = {case_id: f"{n // n_folds:06d}" for n, case_id in enumerate(order)}
    modalities = {case_id: "+".join(dataset.record(case_id)["modalities"]) for case_id in case_ids}
    return {case_id: f"{known.get(case_id, '')}|{modalities[case_id]}" for case_id in case_ids}


def divide(strata: Mapping[str, str], n_folds: int, seed: int) -> Folds:
    """Folds whose sizes, and whose numbers of cases of each kind, differ by one at most.

    Raises:
        InvalidConfigError: There are fewer cases than folds, or nothing would be left to learn from.
    """
    n = len(strata)
    if n < max(n_folds, 3):
        raise InvalidConfigError(
            f"{n_folds} folds need {max(n_folds, 3)} cases beside the test cases; here are {n}. Take fewer folds, or "
            "prepare more cases.",
            "TOO-FEW-CASES",
        )
    names = sorted(strata)
    shuffled = [names[k] for k in np.random.default_rng(seed).permutation(n)]
    dealt = sorted(shuffled, key=strata.__getitem__)  # stable: within a kind by chance
    return tuple(tuple(sorted(dealt[fold::n_folds])) for fold in range(n_folds))
