"""Error bars from end to end, on images whose errors have a known size, and what may never enter them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from core.archive.layout import kind_of
from core.bar_scores import BarScores
from core.error_bars import Learnt, half_width, look
from core.errors import InvalidConfigError
from core.expected_error import ErrorHead, fit_head
from core.measured_doubt import pair_in, read_doubt
from core.models import MODELS
from core.models.formulas import Gaussian
from core.predicted_tissue import TissueReader, fit_reader
from core.runs import Run, new_job
from core.spread import SAMPLING, SUBSETS, spreads_of
from core.synthesis import LoadedRun
from core.uncertainty import UncertaintyConfig, measure, pairs_to_measure, plan_of, protocol_with, usual_pairs
from core.workspace import Workspace
from tests.known_errors import FEW, PAIR, known_dataset, known_run
from tests.tiny_run import Blend, load_tiny, save_weights, tiny

__all__ = ["tiny"]


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoadedRun]:
    """Measured once, for tests that change nothing of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "blend", Blend)
        place = Workspace(tmp_path_factory.mktemp("known"))
        run = known_run(place, known_dataset(place))
        measure(run, FEW, [PAIR])
        yield run


def test_errors_of_known_size_are_found_covered_and_told_per_tissue_and_lesion(known):
    found = pair_in(read_doubt(known.run), *PAIR)
    looked = look(known, found["rows"][0]["case"], *(PAIR[0], (PAIR[1],)), 0)["T2"]
    expected = Learnt.from_json(found["learnt"]).expected(looked)
    spread = 0.01 + 0.1 * looked.synthesis[looked.mask]
    assert np.corrcoef(expected, spread)[0, 1] > 0.98
    assert found["bounds"]["voxel"] * np.mean(expected) == pytest.approx(1.645 * np.mean(spread), rel=0.1)
    assert found["voxel"]["mean"] == pytest.approx(0.9, abs=0.03)
    assert set(found["tissues"]) == set(found["bounds"]["tissues"]) == {"grey matter", "white matter"}
    assert all(interval["mean"] == pytest.approx(0.9, abs=0.04) for interval in found["tissues"].values())
    assert [len(row["lesions"]) for row in found["rows"]] == [2, 2, 2]
    assert (found["n_calibration"], found["n_test"], found["case"]["n"]) == (9, 3, 3)
    assert found["case"]["low"] < 0.9 < found["case"]["high"]
    assert found["case_width"]["mean"] > found["width"]["mean"]


def test_what_test_cases_show_reaches_no_bar(known, workspace):
    plan = plan_of(known, FEW)
    spoilt = known_run(workspace, known_dataset(workspace, plan.test))
    one, other = (measure(run, FEW, [PAIR])["pairs"][0] for run in (known, spoilt))
    assert plan_of(spoilt, FEW) == plan
    assert one["bounds"] == other["bounds"]
    assert one["learnt"] == other["learnt"]
    assert other["voxel"]["mean"] == 0 < one["voxel"]["mean"]


def test_nobody_has_two_parts_and_the_protocol_says_who_has_which(known):
    plan = plan_of(known, FEW)
    parts = [set(plan.learn), set(plan.calibrate), set(plan.test)]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    assert parts[1] | parts[2] == set(known.split.test)
    protocol = read_doubt(known.run)["protocol"]
    assert (protocol["cases"], protocol["calibration"]) == (list(plan.test), list(plan.calibrate))
    others = [
        protocol_with(known, replace(plan, calibrate=plan.test, test=plan.calibrate), FEW),
        protocol_with(known, plan, UncertaintyConfig(learn_from=4, draws=3)),
    ]
    assert len({one["fingerprint"] for one in (*others, protocol)}) == 3


def test_what_was_measured_under_the_same_protocol_is_not_measured_again(known, monkeypatch):
    first = read_doubt(known.run)
    monkeypatch.setattr("core.uncertainty.look", None)
    assert measure(known, FEW, [PAIR]) == first


def test_with_other_weights_nothing_is_measured(known, tmp_path):
    copy = Run(shutil.copytree(known.run.folder, tmp_path / "copy"))
    assert read_doubt(copy)
    save_weights(copy, Blend(Blend.Config(gain=2.0), known.model.shapes))
    assert read_doubt(copy) is None


def test_with_eight_calibration_cases_the_case_rule_is_refused_and_the_voxel_rule_stands(workspace, monkeypatch):
    monkeypatch.setitem(MODELS, "blend", Blend)
    few = known_run(workspace, known_dataset(workspace, n_cases=9))
    found = measure(few, FEW, [PAIR])["pairs"][0]
    assert found["n_calibration"] < 9
    assert found["case_refused"] == "FEW-CALIBRATION"
    assert (found["bounds"]["case"], found["case"], found["case_width"]) == (None, None, None)
    assert 0.8 < found["voxel"]["mean"] < 1


def test_a_pair_that_nobody_can_test_is_refused(tiny):
    with pytest.raises(InvalidConfigError) as refusal:
        measure(tiny, FEW, [(("T1",), "CT")])
    assert refusal.value.code == "FEW-HELD-OUT"


def test_a_bar_is_drawn_for_every_voxel_of_the_mask_and_for_no_other(known):
    pair = read_doubt(known.run)["pairs"][0]
    case = pair["rows"][0]["case"]
    mask = np.asarray(known.dataset.mask(case))
    voxels, cases = (half_width(known, case, pair, rule) for rule in ("voxel", "case"))
    assert (voxels[mask] > 0).all() and not voxels[~mask].any()
    assert voxels[mask].mean() == pytest.approx(pair["rows"][0]["width"], rel=1e-3)
    ratio = cases[mask] / (voxels[mask] / pair["bounds"]["voxel"])
    assert ratio.mean() == pytest.approx(pair["bounds"]["case"], rel=0.05)


class Doubting(Blend):
    """A blend whose code has the known deviation of 0.2."""

    def encode(self, batch):
        mean = super().encode(batch).mean
        return Gaussian(mean, torch.full_like(mean, 2 * np.log(0.2)))


def test_draws_and_given_modalities_disagree_as_much_as_is_known(workspace, monkeypatch):
    monkeypatch.setitem(MODELS, "blend", Doubting)
    loaded = load_tiny(workspace, known_dataset(workspace, n_cases=6), modalities=("T1", "T2"))
    case = loaded.split.test[0]
    t1, t2 = (np.asarray(loaded.dataset.volume(case, m)) for m in ("T1", "T2"))
    images = {"T2": (t1 + t2) / 2}
    found = spreads_of(loaded, case, ("T1", "T2"), images, 64)["T2"]
    assert found[SAMPLING].mean() == pytest.approx(0.2, rel=0.02)
    np.testing.assert_allclose(found[SUBSETS], np.std([images["T2"], t1], axis=0, ddof=1), atol=1e-5)
    np.testing.assert_array_equal(found[SAMPLING], spreads_of(loaded, case, ("T1", "T2"), images, 64)["T2"][SAMPLING])
    assert spreads_of(loaded, case, ("T1",), images, 0) == {"T2": {}}


def test_the_head_finds_a_scale_that_depends_on_what_is_seen_and_survives_json():
    rng = np.random.default_rng(0)
    features = rng.uniform(0, 1, (20_000, 3)).astype(np.float32)
    scale = 0.02 + 0.2 * features[:, 1] ** 2
    head = fit_head(features, np.abs(rng.laplace(0, scale)).astype(np.float32))
    fresh = rng.uniform(0, 1, (500, 3)).astype(np.float32)
    np.testing.assert_allclose(head.expected(fresh), 0.02 + 0.2 * fresh[:, 1] ** 2, rtol=0.25)
    again = ErrorHead.from_json(head.to_json())
    np.testing.assert_allclose(again.expected(fresh), head.expected(fresh), rtol=1e-3)


def test_a_tissue_is_the_nearest_class_of_the_training_and_rare_ones_are_left_out():
    rng = np.random.default_rng(0)
    classes = np.repeat([1, 2, 3], [500, 500, 4])
    images = np.stack([classes * 0.2 + rng.normal(0, 0.01, 1004), rng.normal(0, 1, 1004)], 1).astype(np.float32)
    reader = TissueReader.from_json(fit_reader(images, classes, "tissue").to_json())
    assert reader.names == ("CSF", "grey matter")
    assert list(reader.classes(np.array([[0.1, 3.0], [0.29, 0], [0.31, 0], [0.9, 0]], np.float32))) == [0, 0, 1, 1]
    bands = fit_reader(images, None, "")
    assert list(bands.classes(np.array([[0, 9], [0.4, 9]], np.float32))) == [0, 2]


def test_the_order_of_what_is_given_does_not_matter(known):
    plan = plan_of(known, FEW)
    one, other = (pairs_to_measure(known, plan, [(given, "T2")]) for given in (("T1", "T2"), ("T2", "T1")))
    assert one == other


def test_the_usual_pairs_are_each_alone_and_all_others(tiny):
    pairs = usual_pairs(tiny)
    assert (("CT",), "T2") in pairs and (("CT", "T2"), "T1") in pairs
    assert all(target not in given for given, target in pairs)
    assert len(pairs) == len(set(pairs)) == 9


def test_a_worker_measures_and_the_file_may_travel(known):
    from core.jobs.worker import execute

    place = Workspace(known.run.folder.parents[1])
    params = {"run": known.run.id, "device": "cpu", "pairs": [[["T1"], "T2"]], "settings": FEW.model_dump()}
    answer = execute(new_job(place, "uncertainty", params), place)
    assert answer["pairs"][0]["n_test"] == 3
    assert "learnt" not in answer["pairs"][0] and "learnt" in read_doubt(known.run)["pairs"][0]
    assert kind_of(f"runs/{known.run.id}/uncertainty.json") == "uncertainty"


def test_memory_does_not_grow_with_calibration_cases(known):
    learnt = Learnt.from_json(read_doubt(known.run)["pairs"][0]["learnt"])
    scores = BarScores(known, "T2", learnt)
    sizes = []
    for case in known.split.test[:6]:
        scores.calibrate(look(known, case, ("T1",), ("T2",), 0)["T2"])
        sizes.append(scores.all_voxels.shares.nbytes + sum(pool.shares.nbytes for pool in scores.tissues.values()))
    assert len(set(sizes)) == 1
