"""Evaluation: the right tasks, numbers that can be checked by hand, and baselines that saw nothing held out."""

from __future__ import annotations

import json
import sys
from copy import deepcopy
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression

from core.batches import shapes_of
from core.compare import compare_case
from core.cost import measure
from core.dataset import Split
from core.errors import InvalidConfigError
from core.evaluate import evaluate, summarise, tasks_of
from core.judging import judged_mask
from core.models import MODELS
from core.progress import Cancelled
from core.protocol import fingerprint_of, protocol_of
from core.synthesis import check_request, load_run
from tests.tiny_run import HU, load_tiny, make_dataset, make_run, save_weights, tiny

__all__ = ["tiny"]
ALL = ("CT", "T1", "T2")


def find(rows, **wanted):
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def image(loaded, case_id, modality):
    return np.array(loaded.dataset.volume(case_id, modality))


def training_voxels(loaded, *modalities):
    """(n, len(modalities)) masked voxels of the training cases that have them all."""
    dataset = loaded.dataset
    cases = [c for c in loaded.split.train if set(modalities) <= set(dataset.record(c)["modalities"])]
    columns = [np.concatenate([image(loaded, c, m)[dataset.mask(c)] for c in cases]) for m in modalities]
    return np.stack(columns, 1)


def test_every_subset_goes_to_every_other_modality_once(tiny):
    found = {(task.given, target) for task in tasks_of(tiny, "case-0") for target in task.targets}
    expected = {(given, t) for n in (1, 2) for given in combinations(ALL, n) for t in ALL if t not in given}
    assert found == expected | {((m,), m) for m in ALL}


def test_what_a_case_lacks_is_neither_given_nor_judged(tiny):
    found = {(task.given, target) for task in tasks_of(tiny, "case-3") for target in task.targets}
    assert found == {(("CT",), "CT"), (("CT",), "T1"), (("T1",), "CT"), (("T1",), "T1")}


def test_a_modality_that_no_training_case_has_is_neither_given_nor_made(tiny):
    loaded = replace(tiny, split=Split(train=("case-3",), val=(), test=("case-0",)))
    used = {m for task in tasks_of(loaded, "case-0") for m in (*task.given, *task.targets)}
    assert used == {"CT", "T1"}
    for given, target in (("T2", "T1"), ("T1", "T2")):
        with pytest.raises(InvalidConfigError):
            check_request(loaded, "case-0", [given], [target])


def test_held_out_cases_are_judged_by_default(tiny):
    result = evaluate(tiny, with_baselines=False)
    assert {row["case"] for row in result["rows"]} == set(tiny.split.test)
    assert result["protocol"]["held_out"]
    assert not evaluate(tiny, tiny.split.train[:1], with_baselines=False)["protocol"]["held_out"]


def test_numbers_are_those_of_the_voxels_by_hand(tiny):
    rows = evaluate(tiny, ["case-0"], with_baselines=False)["rows"]
    inside = judged_mask(tiny.dataset, "case-0", "T2")
    t1, t2, ct = (image(tiny, "case-0", m)[inside].astype(float) for m in ("T1", "T2", "CT"))
    row = find(rows, given=["T1"], target="T2")[0]
    assert row["mae"] == pytest.approx(np.abs(t1 - t2).mean(), rel=1e-5)
    assert row["mse"] == pytest.approx(((t1 - t2) ** 2).mean(), rel=1e-5)
    both = find(rows, given=["CT", "T1"], target="T2")[0]
    assert both["mae"] == pytest.approx(np.abs((t1 + ct) / 2 - t2).mean(), rel=1e-5)
    hounsfield = find(rows, given=["T1"], target="CT")[0]
    assert hounsfield["mae"] == pytest.approx(np.abs(t1 - ct).mean() * HU[0], rel=1e-5)
    assert hounsfield["mse"] == pytest.approx(((t1 - ct) ** 2).mean(), rel=1e-5)
    assert row["seconds"] > 0


def test_a_target_with_a_field_of_view_is_judged_within_it(tiny):
    rows = evaluate(tiny, ["case-0"], with_baselines=False)["rows"]
    fov = judged_mask(tiny.dataset, "case-0", "T1")
    whole = judged_mask(tiny.dataset, "case-0", "CT")
    assert fov.sum() < whole.sum()
    expected = np.abs(image(tiny, "case-0", "CT") - image(tiny, "case-0", "T1"))[fov].mean()
    assert find(rows, given=["CT"], target="T1")[0]["mae"] == pytest.approx(expected, rel=1e-5)


def test_reconstruction_of_the_given_image_is_a_row_of_its_own(tiny):
    rows = evaluate(tiny, ["case-0"], with_baselines=False)["rows"]
    assert [row["target"] for row in rows if row["target"] in row["given"]] == list(ALL)
    assert find(rows, given=["T2"], target="T2")[0]["mae"] == pytest.approx(0, abs=1e-7)


def test_a_prediction_is_never_altered_by_the_truth(tiny):
    with torch.no_grad():
        tiny.model.gain.zero_()
        tiny.model.offset.fill_(1.7)  # beyond the range, and not zero anywhere
    row = find(evaluate(tiny, ["case-0"], with_baselines=False)["rows"], given=["T1"], target="T2")[0]
    inside = judged_mask(tiny.dataset, "case-0", "T2")
    assert row["mae"] == pytest.approx((1.7 - image(tiny, "case-0", "T2")[inside]).mean(), rel=1e-5)


def test_baselines_are_fitted_on_the_training_cases_alone(tiny):
    rows = evaluate(tiny)["rows"]
    case_id = tiny.split.test[0]
    inside = judged_mask(tiny.dataset, case_id, "CT")
    truth = image(tiny, case_id, "CT")[inside]
    constant = np.median(training_voxels(tiny, "CT"))
    row = find(rows, model="constant", case=case_id, given=["T1"], target="CT")[0]
    assert row["mae"] == pytest.approx(np.abs(truth - constant).mean() * HU[0], rel=1e-3)
    given = training_voxels(tiny, "T1", "CT")
    line = LinearRegression().fit(given[:, :1], given[:, 1])
    predicted = line.predict(image(tiny, case_id, "T1")[inside][:, None])
    row = find(rows, model="linear", case=case_id, given=["T1"], target="CT")[0]
    assert row["mae"] == pytest.approx(np.abs(truth - predicted).mean() * HU[0], rel=1e-3)
    mean = np.mean([image(tiny, c, "CT")[inside] for c in tiny.split.train], 0)
    row = find(rows, model="mean_image", case=case_id, given=["T1"], target="CT")[0]
    assert row["mae"] == pytest.approx(np.abs(truth - mean).mean() * HU[0], rel=1e-3)


def test_every_baseline_has_a_row_beside_every_synthesis(tiny):
    rows = evaluate(tiny)["rows"]
    tasks = {name: {(r["case"], *r["given"], r["target"]) for r in find(rows, model=name)} for name in MODELS}
    cross = {task for task in tasks["blend"] if task[-1] not in task[1:-1]}
    assert len(cross) == 9 * len(tiny.split.test)
    assert tasks["constant"] == tasks["mean_image"] == tasks["linear"] == cross


def test_a_baseline_is_not_its_own_rival(tiny, workspace):
    run = make_run(workspace, tiny.dataset, model="constant")
    save_weights(run, MODELS["constant"](MODELS["constant"].Config(), shapes_of(tiny.dataset, ALL)))
    rows = evaluate(load_run(workspace, run), ["case-0"])["rows"]
    assert len(find(rows, model="constant", given=["T1"], target="T2")) == 1
    assert {row["model"] for row in rows} == {"constant", "mean_image", "linear"}


@pytest.mark.parametrize("name", [name for name in sorted(MODELS) if MODELS[name].makes_images])
def test_every_model_can_be_loaded_and_judged(name, workspace):
    dataset = make_dataset(workspace, n_cases=3)
    run = make_run(workspace, dataset, model=name)
    save_weights(run, MODELS[name](MODELS[name].Config(), shapes_of(dataset, ALL)))
    rows = evaluate(load_run(workspace, run), ["case-0"], with_baselines=False)["rows"]
    assert rows
    assert all(np.isfinite(row["mae"]) and -1 <= row["ssim"] <= 1 for row in rows)


def test_a_model_that_reads_its_source_gets_worse_with_anothers(tiny):
    with torch.no_grad():
        tiny.model.gain.fill_(0.5)
    checks = evaluate(tiny, ["case-0", "case-1"], with_baselines=False)["checks"]
    check = find(checks, case="case-0", given=["T1"], target="T2")[0]
    assert check["source_case"] == "case-1"
    inside = judged_mask(tiny.dataset, "case-0", "T2")
    swapped = np.abs(image(tiny, "case-1", "T1") / 2 - image(tiny, "case-0", "T2"))[inside].mean()
    assert check["mae"] == pytest.approx(0, abs=1e-7)
    assert check["mae_swapped"] == pytest.approx(swapped, rel=1e-5)


def test_a_model_that_ignores_its_source_is_found_out(tiny):
    with torch.no_grad():
        tiny.model.gain.zero_()
        tiny.model.offset.fill_(0.4)
    checks = evaluate(tiny, ["case-0"], with_baselines=False)["checks"]
    assert checks and all(check["ratio"] == pytest.approx(1) for check in checks)
    assert all(check["source_case"] in tiny.split.train for check in checks)


def test_the_case_is_the_unit_of_a_summary(tiny):
    cases = ["case-0", "case-1", "case-2"]
    result = evaluate(tiny, cases, with_baselines=False)
    values = [row["ssim"] for row in find(result["rows"], given=["T1"], target="T2")]
    entry = find(result["summary"], given=["T1"], target="T2", metric="ssim")[0]
    assert entry["mean"] == pytest.approx(np.mean(values))
    assert (entry["n"], entry["low"], entry["high"]) == (3, None, None)
    seven = [{**result["rows"][0], "mae": float(n)} for n in range(7)]
    entry = find(summarise(seven), metric="mae")[0]
    assert entry["low"] < entry["mean"] == 3 < entry["high"]


def test_results_are_strict_json(tiny):
    result = evaluate(tiny, ["case-0"])
    assert find(result["rows"], given=["T1"], target="T1")[0]["psnr"] is None  # infinite for a perfect copy
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["cost"]["parameters"] == 6
    assert result["cost"]["peak_memory_mb"] > 10
    assert result["cost"]["seconds_per_case"] > 0


def test_the_protocol_tells_apart_what_must_not_be_compared(tiny, workspace):
    def fingerprint(loaded, cases=("case-0",)):
        return evaluate(loaded, cases, with_baselines=False)["protocol"]["fingerprint"]

    assert fingerprint(tiny) == fingerprint(load_tiny(workspace, tiny.dataset))
    assert fingerprint(tiny) != fingerprint(tiny, ("case-1",))
    assert fingerprint(tiny) != fingerprint(load_tiny(workspace, tiny.dataset, fold=0, n_folds=2))
    assert fingerprint(tiny) != fingerprint(load_tiny(workspace, make_dataset(workspace, "other", 6)))


@pytest.mark.parametrize(
    ("written", "is_other"),
    [
        ({"normalise": {"clip": True, "z_reach": 3.0}}, False),
        ({"normalise": {"clip": True, "z_reach": 4.0}}, True),
        ({"normalise": {"clip": True}, "deface": {"enabled": False, "margin_mm": 9.0}}, False),
        ({"normalise": {"clip": True}, "deface": {"enabled": True, "margin_mm": 9.0}}, True),
        ({"normalise": {"clip": True}, "deface": {"enabled": False, "forgotten": 1}}, True),
    ],
)
def test_what_newer_recipes_write_parts_no_numbers_unless_it_did_something(tiny, written, is_other):
    def protocol(recipe):
        dataset = deepcopy(tiny.dataset)
        dataset.__dict__["index"] = {**dataset.index, "recipe": {**recipe, "left_out": {}}}
        return protocol_of(dataset, tiny.split, ("case-0",))

    before, now = protocol({"normalise": {"clip": True}}), protocol(written)
    assert (before["fingerprint"] != now["fingerprint"]) is is_other
    assert fingerprint_of({**now, "fingerprint": "as an earlier version wrote it"}) == now["fingerprint"]


def test_results_say_whether_the_model_learnt_from_pairs(tiny, monkeypatch):
    cases = tiny.split.test[:1]
    assert evaluate(tiny, cases, with_baselines=False)["paired"] is True
    monkeypatch.setattr(type(tiny.model), "paired", False)
    assert evaluate(tiny, cases, with_baselines=False)["paired"] is False


def test_progress_counts_up_to_its_total_and_may_stop_the_work(tiny):
    seen = []

    def watch(done, total, message=""):
        seen.append((done, total))
        if len(seen) == 4:
            raise Cancelled

    with pytest.raises(Cancelled):
        evaluate(tiny, progress=watch)
    seen.clear()
    evaluate(tiny, with_baselines=False, progress=lambda done, total, message="": seen.append((done, total)))
    assert seen[0][0] == 0
    assert seen[-1][0] == seen[-1][1]
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_comparison_shows_what_evaluation_measures(tiny):
    result = compare_case(tiny, "case-0", ["T1"], "CT")
    row = find(evaluate(tiny, ["case-0"], with_baselines=False)["rows"], given=["T1"], target="CT")[0]
    assert result.metrics == pytest.approx({name: row[name] for name in result.metrics}, rel=1e-4)
    np.testing.assert_allclose(result.difference, result.synthesis - result.target)
    assert (result.unit, result.scale, result.offset) == ("HU", *HU)
    assert set(result.source) == {"T1"}


def test_a_comparison_without_truth_shows_the_synthesis_alone(tiny):
    result = compare_case(tiny, "case-3", ["T1"], "T2")
    assert result.target is None
    assert result.difference is None
    assert result.metrics == {}


def test_small_keeps_single_modalities_and_all_others_together(tiny):
    four = replace(tiny, modalities=("A", "B", "C", "D"), dataset=FourModalities())
    assert {len(task.given) for task in tasks_of(four, "any")} == {1, 2, 3}
    assert {len(task.given) for task in tasks_of(four, "any", "small")} == {1, 3}


class FourModalities:
    """All that `tasks_of` asks of a dataset."""

    def record(self, case_id: str) -> dict[str, list[str]]:
        return {"modalities": ["A", "B", "C", "D"]}


def test_seconds_and_memory_are_told_of_every_case(tiny):
    cost = evaluate(tiny, ["case-0", "case-1"], with_baselines=False)["cost"]
    assert [case["case"] for case in cost["cases"]] == ["case-0", "case-1"]
    assert cost["seconds_per_case"] == pytest.approx(np.median([case["seconds"] for case in cost["cases"]]))


def test_the_memory_of_a_case_is_what_its_own_work_held(tiny):
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux begins anew to look for the most")
    large = measure(tiny, "large", lambda: np.ones(300 * 2**20, np.uint8).sum())
    small = measure(tiny, "small", lambda: np.ones(2**20, np.uint8).sum())
    assert large["peak_memory_mb"] > small["peak_memory_mb"] + 250


def test_scores_of_regions_lie_beside_the_results_and_come_back_with_them(tiny):
    result = evaluate(tiny, ["case-0"], with_baselines=False)
    tiny.run.write_result(result)
    light = json.loads((tiny.run.folder / "results.json").read_text())
    assert not [name for row in light["rows"] for name in row if "@" in name]
    assert light["places"] == {
        "CT": ["mae@SynthRAD2025", "ms_ssim@SynthRAD2025", "psnr@SynthRAD2025"],
        "T1": [],
        "T2": [],
    }
    assert tiny.run.result["rows"] == result["rows"]
    (tiny.run.folder / "regions.json").write_text("[{}]")  # of other results: writing was cut short between the two
    assert tiny.run.result["rows"] == light["rows"]
    rows = [{name: value for name, value in row.items() if "@" not in name} for row in result["rows"]]
    tiny.run.write_result({**result, "rows": rows})
    assert tiny.run.result["rows"] == rows
    assert not (tiny.run.folder / "regions.json").exists()
