"""How a search divides its cases: whole cases, each once, every kind spread evenly, test cases never among them."""

from __future__ import annotations

from collections import Counter

import pytest

from core.config import HoldOut
from core.dataset import Dataset, split_by_name
from core.errors import InvalidConfigError
from core.search.folds import divide, searched_cases, strata_of
from core.workspace import Workspace
from tests.tiny_run import make_dataset


@pytest.fixture
def labelled(workspace: Workspace) -> Dataset:
    """17 cases: a third of them ill, an age each but one, every fourth without T2."""
    dataset = make_dataset(workspace, n_cases=17)
    labels = {
        case_id: {"diagnosis": "ill" if n % 3 == 0 else "well", **({"age": float(90 - n)} if n else {})}
        for n, case_id in enumerate(dataset.case_ids)
    }
    dataset.set_labels(labels)
    return Dataset(dataset.folder)


@pytest.mark.parametrize("n_folds", [2, 3, 5])
@pytest.mark.parametrize("label", ["", "diagnosis", "age"])
def test_each_case_is_in_exactly_one_fold_and_folds_are_of_one_size(labelled, label, n_folds):
    folds = divide(strata_of(labelled, labelled.case_ids, label, n_folds), n_folds, seed=3)
    assert sorted(case_id for fold in folds for case_id in fold) == sorted(labelled.case_ids)
    assert max(map(len, folds)) - min(map(len, folds)) <= 1


@pytest.mark.parametrize("seed", range(5))
def test_every_fold_gets_its_share_of_each_class(labelled, seed):
    folds = divide(strata_of(labelled, labelled.case_ids, "diagnosis", 3), 3, seed)
    for diagnosis in ("ill", "well"):
        counts = [sum(labelled.record(c)["labels"]["diagnosis"] == diagnosis for c in fold) for fold in folds]
        assert max(counts) - min(counts) <= 1


def test_cases_that_lack_a_modality_are_spread(labelled):
    folds = divide(strata_of(labelled, labelled.case_ids, "", 4), 4, seed=1)
    counts = [sum("T2" not in labelled.record(case_id)["modalities"] for case_id in fold) for fold in folds]
    assert counts == [1, 1, 1, 1]


def test_a_number_is_spread_by_rank(workspace):
    dataset = make_dataset(workspace, n_cases=12)
    dataset.set_labels({case_id: {"age": 10.0 * n} for n, case_id in enumerate(dataset.case_ids)})
    strata = strata_of(dataset, dataset.case_ids, "age", 4)
    ranks = Counter(stratum.partition("|")[0] for stratum in strata.values())
    assert sorted(ranks.values()) == [4, 4, 4]
    youngest = sorted(dataset.case_ids, key=lambda c: dataset.record(c)["labels"]["age"])[:4]
    folds = divide({c: ranks_of for c, ranks_of in strata.items()}, 4, seed=0)
    assert len({n for n, fold in enumerate(folds) for c in youngest if c in fold}) >= 3


def test_the_same_seed_gives_the_same_folds_and_another_one_others(labelled):
    strata = strata_of(labelled, labelled.case_ids, "", 3)
    assert divide(strata, 3, 0) == divide(dict(reversed(strata.items())), 3, 0)
    assert len({divide(strata, 3, seed) for seed in range(4)}) == 4


def test_a_search_never_holds_the_cases_that_a_run_of_its_seed_is_tested_on(labelled):
    for seed in range(3):
        cases, test = searched_cases(labelled, seed)
        assert test == labelled.split(seed).test
        assert not set(cases) & set(test)
        assert {*cases, *test} == set(labelled.case_ids)


def test_what_is_held_out_by_name_is_in_no_other_part(labelled):
    ids = labelled.case_ids
    split = split_by_name(ids, 0, HoldOut(judged=ids[:2], unseen=ids[2:5]))
    assert split.test == ids[:2]
    assert not {*split.train, *split.val} & set(ids[:5])
    assert {*split.train, *split.val} == set(ids[5:])
    assert len(split.val) == 1  # a tenth of twelve
    with pytest.raises(InvalidConfigError, match="each named once"):
        split_by_name(ids, 0, HoldOut(judged=ids[:2], unseen=ids[1:3]))
    with pytest.raises(InvalidConfigError, match="No case is left"):
        split_by_name(ids, 0, HoldOut(judged=ids))


def test_too_few_cases_and_unknown_labels_are_said(labelled):
    with pytest.raises(InvalidConfigError, match="here are 4") as error:
        divide(dict.fromkeys("abcd", ""), 5, 0)
    assert error.value.code == "TOO-FEW-CASES"
    with pytest.raises(InvalidConfigError, match="Labels here: age, diagnosis") as error:
        strata_of(labelled, labelled.case_ids, "site", 3)
    assert error.value.code == "NO-LABEL"
