"""Claims about runs: from results of one protocol alone, with what differs named where it is another."""

from __future__ import annotations

from copy import deepcopy

import pytest

from core.claims import compare_runs
from core.errors import InvalidConfigError, NotFoundError
from core.protocol import differences, fingerprint_of, protocol_of
from tests.tiny_run import load_tiny, make_dataset, make_run, tiny

__all__ = ["tiny"]
PAIR = (("T1",), "T2")


@pytest.fixture
def judged(tiny, workspace):
    """Two runs with results of one protocol, ten cases each, the second worse by a tenth of the range."""
    result = {"protocol": protocol_of(tiny.dataset, tiny.split, ["case-0"])}
    runs = []
    for worse in (0.0, 0.1):
        run = make_run(workspace, tiny.dataset)
        errors = [0.2 + 0.01 * n + worse + 0.001 * n * worse for n in range(10)]
        label = {"model": run.config.model, "given": ["T1"], "target": "T2"}
        rows = [{**label, "case": f"c{n}", "mae": mae} for n, mae in enumerate(errors)]
        run.write_result({**result, "rows": rows})
        runs.append(run)
    return runs


def test_a_run_that_is_better_in_every_case_is_called_better(judged):
    found = compare_runs(judged[0], judged[1:], PAIR, "mae")
    line = found["against"][judged[1].id]
    assert line["claim"] == "better"
    assert line["mean"]["mean"] == pytest.approx(-0.1, abs=1e-3)
    assert (line["effect"], line["n"]) == (-1, 10)
    assert found["protocol"] == fingerprint_of(judged[0].result["protocol"])
    assert compare_runs(judged[1], judged[:1], PAIR, "mae")["against"][judged[0].id]["claim"] == "worse"


CHANGES = {
    "dataset_fingerprint": ("0" * 64, "prepared anew"),
    "spacing_mm": ([1.0, 1.0, 3.0], "voxel size"),
    "crop": ([9, 9, 9], "another grid"),
    "cases": (["other"], "held-out cases"),
    "split": ("other", "split of the cases"),
    "mask": ("the whole image", "another mask"),
    "data_range": (2.0, "another range"),
    "metrics_version": ("0", "version of the metrics"),
    "normaliser": ({"align": {"mode": "rigid"}}, "another registration"),
}


@pytest.mark.parametrize("part", CHANGES)
def test_numbers_of_another_protocol_are_refused_and_the_difference_is_named(judged, part):
    value, words = CHANGES[part]
    result = deepcopy(judged[1].result)
    result["protocol"][part] = value
    judged[1].write_result(result)
    with pytest.raises(InvalidConfigError, match=words) as error:
        compare_runs(judged[0], judged[1:], PAIR, "mae")
    assert error.value.code == "OTHER-PROTOCOL"


def test_every_part_of_a_protocol_that_parts_numbers_has_words(judged):
    protocol = judged[0].result["protocol"]
    for part in set(protocol) - {"fingerprint", "held_out", "simulated", "normaliser"}:
        other = {**protocol, part: "other"}
        assert fingerprint_of(other) != fingerprint_of(protocol)
        assert len(differences(protocol, other)) == 1, part
    assert differences(protocol, protocol) == []


def test_a_run_without_results_or_without_the_number_is_refused(judged, workspace):
    bare = load_tiny(workspace, make_dataset(workspace)).run
    with pytest.raises(NotFoundError, match="not been judged"):
        compare_runs(judged[0], [bare], PAIR, "mae")
    with pytest.raises(NotFoundError, match="no such number"):
        compare_runs(judged[0], judged[1:], PAIR, "mae@lesion")
    with pytest.raises(InvalidConfigError, match="no metric"):
        compare_runs(judged[0], judged[1:], PAIR, "beauty")
