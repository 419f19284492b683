"""Further checks on runs whose answers are known beforehand: perfect, moved, copied, blank ones."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from core import frozen
from core.audit import AUDITS, audit
from core.dataset import Dataset
from core.dataset_writer import DatasetWriter
from core.errors import InvalidConfigError, UserError
from core.findings import finding
from core.frozen import coder, inside, segmenter
from core.judging import judged_mask
from core.made import syntheses
from core.memorisation import block_means, distance, measure_memorisation
from core.metrics import mae, ssim
from core.misalignment import Move, best_of, measure_misalignment, moved, moves, stress, verdicts
from core.models import MODELS
from core.realism import kernel, measure_realism, pair_terms, pseudo_values, width_of
from core.synthesis import LoadedRun
from core.task_scores import dice
from core.tasks import find_tasks
from core.usefulness import dice_of, measure_usefulness
from core.workspace import Workspace
from tests.known_heads import N_CASES, Knowing, case_of, heads, loaded, remember


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return heads(Workspace(tmp_path_factory.mktemp("audits")), N_CASES)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen, "STEPS", 120)
    monkeypatch.setitem(MODELS, "knowing", Knowing)


def test_a_perfect_synthesis_keeps_nearly_all_dice_and_a_blank_one_little(dataset):
    perfect, blank = measure_usefulness(loaded(dataset)), measure_usefulness(loaded(dataset, "blank"))
    for found in (perfect, blank):
        assert {(tuple(r["given"]), r["target"]) for r in found["rows"]} == {(("T1",), "T2"), (("T2",), "T1")}
        assert {row["class"] for row in found["rows"]} == {"CSF", "grey matter"}
    assert all(row["dice_real"] > 0.7 for row in perfect["rows"])
    assert all(95 < row["kept"] < 105 for row in perfect["rows"])
    core = [row["kept"] for row in blank["rows"] if row["class"] == "grey matter"]
    assert np.mean(core) < 60
    line = next(line for line in perfect["summary"] if line["class"] == "CSF" and line["target"] == "T2")
    kept = [row["kept"] for row in perfect["rows"] if row["class"] == "CSF" and row["target"] == "T2"]
    assert line["mean"] == pytest.approx(np.mean(kept)) and line["n"] == len(kept) == 2
    assert line["low"] is None  # two cases


def test_dice_is_that_of_the_segmenters_answer_over_the_judged_voxels(dataset):
    run = loaded(dataset)
    task = find_tasks(dataset, ["tissue"], run.split.train)[0]
    judge, case = segmenter(dataset, run.split.train, task), run.split.test[0]
    image = np.array(dataset.volume(case, "T1"))
    mask = judged_mask(dataset, case, "T1")
    with torch.inference_mode():
        guess = judge.classes(inside(dataset, case, image), "T1")
        found = dice_of(run, case, judge, image, "T1")
    truth = np.asarray(dataset.label_map(case, "tissue"))
    for n, said in enumerate(task.classes[1:], 1):
        both = ((guess == n) & (truth == n) & mask).sum()
        expected = 2 * both / (((guess == n) & mask).sum() + ((truth == n) & mask).sum())
        assert found[said] == pytest.approx(expected)
    assert dice(np.array([True, False]), np.array([True, True])) == pytest.approx(2 / 3)
    noisy = image + 9 * ~np.asarray(dataset.mask(case))
    with torch.inference_mode():
        assert dice_of(run, case, judge, noisy, "T1") == found  # outside the mask nothing counts


def test_a_judge_is_trained_once_and_the_same_for_all(dataset, monkeypatch):
    first = coder(dataset, loaded(dataset).split.train)
    monkeypatch.setattr(frozen, "_train", lambda *_: pytest.fail("trained twice"))
    again = coder(dataset, loaded(dataset, "blank").split.train)
    for one, other in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other) and not other.requires_grad
    monkeypatch.undo()
    monkeypatch.setattr(frozen, "STEPS", 2)
    others = coder(dataset, dataset.case_ids[:3])
    assert not torch.equal(next(first.parameters()), next(others.parameters()))


def test_a_judge_never_sees_a_held_out_case(dataset, monkeypatch):
    seen: list[str] = []
    real = frozen.Slices

    def watch(data, rows, shapes):
        seen.extend(case_id for case_id, _ in rows)
        return real(data, rows, shapes)

    monkeypatch.setattr(frozen, "Slices", watch)
    monkeypatch.setattr(frozen, "STEPS", 3)
    run = loaded(dataset)
    coder(dataset, run.split.train)
    assert seen and not set(seen) & set(run.split.test)


def test_without_maps_usefulness_is_a_sentence(dataset, tmp_path):
    writer = DatasetWriter(Workspace(tmp_path), "plain")
    for n in range(3):
        writer.add(replace(case_of(f"case-{n}", n), label_maps={}))
    with pytest.raises(InvalidConfigError, match="map of tissues"):
        measure_usefulness(loaded(writer.finish("plain", {}, simulated=True)))


def test_a_shifted_image_moves_by_whole_voxels_and_a_turned_one_about_its_centre():
    image = np.zeros((7, 8, 9), np.float32)
    image[3, 4, 5] = 1
    shifted = moved(image, Move("shift", 2.0, 1, -1), (1, 2, 3), (3, 4, 5))
    assert np.argwhere(shifted == 1).tolist() == [[3, 2, 5]]
    turned = moved(image, Move("turn", 5.0, 2, 1), (1, 2, 3), (3, 4, 5))
    assert turned[3, 4, 5] == pytest.approx(1)
    grid = np.zeros((9, 9, 3), np.float32)
    grid[6, 4] = 1  # 2 voxels of 2 mm from the middle along the first axis: 4 mm, 4 voxels of 1 mm along the second
    quarter = moved(grid, Move("turn", 90.0, 2, 1), (2.0, 1.0, 3.0), (4, 4, 1))
    assert sorted(map(tuple, np.argwhere(quarter[:, :, 1] > 0.9))) in ([(4, 0)], [(4, 8)])


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(("size", "sign"), [(0.5, 1), (1.5, -1), (2.0, 1), (3.0, -1)])
def test_a_shift_is_that_of_scipy(axis, size, sign):
    image = np.random.default_rng(axis).random((5, 6, 7), np.float32)
    step = np.zeros(3)
    step[axis] = sign * size
    expected = ndimage.shift(image, step, order=1, mode="nearest")
    np.testing.assert_allclose(moved(image, Move("shift", size, axis, sign), (1, 2, 3), (2, 2, 2)), expected, atol=1e-6)


def test_one_slice_is_moved_within_itself():
    found = {(move.kind, move.axis) for move in moves((8, 9, 1))}
    assert found == {("shift", 0), ("shift", 1), ("turn", 2)}


def test_the_similarity_of_a_moved_image_is_the_metric_of_the_same_name(dataset):
    run = loaded(dataset)
    case = run.split.test[0]
    curves, _ = stress(run, case, "T2", {})
    move = next(m for m in moves(dataset.shape) if (m.kind, m.size) == ("turn", 3.0))
    mask, truth = judged_mask(dataset, case, "T2"), np.array(dataset.volume(case, "T2"))
    expected = ssim(moved(truth, move, dataset.spacing_mm, np.argwhere(mask).mean(0)), truth, mask)
    own = next(row for row in curves if (row["kind"], row["size"]) == ("turn", 3.0))
    assert own["ssim"] == pytest.approx(expected, abs=1e-4)


def test_an_error_of_a_known_shift_is_told_as_that_shift(dataset):
    run = loaded(dataset)
    case = run.split.test[0]
    truth = np.array(dataset.volume(case, "T2"))
    off = np.concatenate([truth[:1], truth[:-1]])
    curves, pairs = stress(run, case, "T2", {("T1",): off})
    shift = [row for row in curves if (row["kind"], row["size"]) == ("shift", 1.0)]
    mask = judged_mask(dataset, case, "T2")
    assert pairs[0]["mae"] == pytest.approx(np.abs(off - truth)[mask].mean(), rel=1e-5)
    assert min(abs(row["mae"] - pairs[0]["mae"]) for row in shift) < 1e-6
    assert pairs[0]["moved"] == (pytest.approx(0, abs=1e-6), "shift", 1.0)
    from core.misalignment import _mean_curves

    verdict = verdicts(pairs, _mean_curves(curves))[0]
    assert verdict["is_askew"] and verdict["warns"]
    assert 0.5 < verdict["as_shift"] < 2.0


def test_a_blurred_synthesis_is_not_askew_though_it_fits_a_moved_and_so_blurred_image_better():
    noise = np.random.default_rng(0).random((30, 32, 34), np.float32)
    truth = ndimage.gaussian_filter(noise, 2.0) + 0.1 * noise
    inner = np.zeros(truth.shape, bool)
    inner[5:-5, 5:-5, 5:-5] = True

    def found(image):
        errors = {m: mae(image, moved(truth, m, (1, 2, 3), (15, 16, 17)), inner) for m in moves(truth.shape)}
        return min(errors.values()), best_of(mae(image, truth, inner), errors)

    blurred = ndimage.gaussian_filter(truth, 1.5)
    least, best = found(blurred)
    assert least < 0.9 * mae(blurred, truth, inner)
    assert best[1:] == ("", 0.0)
    least, best = found(ndimage.shift(blurred, (0, 2, 0), order=1))
    assert best[1:] == ("shift", 2.0)


def test_a_perfect_synthesis_is_not_askew_and_a_blank_one_not_explained(dataset):
    found = measure_misalignment(loaded(dataset))
    assert not any(row["is_askew"] for row in found["pairs"])
    assert all(row["as_shift"] == pytest.approx(0, abs=1e-3) for row in found["pairs"])
    curve = [r for r in found["curves"] if (r["target"], r["kind"]) == ("T2", "shift")]
    assert [row["mae"] for row in curve] == sorted(row["mae"] for row in curve)
    assert curve[0]["mae"] == 0 and curve[-1]["ssim"] < 0.9
    poor = {"case": "case-1", "given": ["T1"], "target": "T2", "mae": 0.9, "moved": (0.9, "", 0.0)}
    verdict = verdicts([poor], found["curves"])[0]
    assert (verdict["as_shift"], verdict["warns"], verdict["is_askew"]) == (None, False, False)


def test_a_copied_training_image_is_caught_and_an_own_one_is_not(dataset):
    honest = measure_memorisation(loaded(dataset))
    assert honest["n_suspect"] == 0
    run = loaded(dataset, "copy")
    remember(dataset, run.split.train[1])
    found = measure_memorisation(run)
    assert found["n_suspect"] == len(found["rows"]) == 4
    assert all(row["nearest_image"] == run.split.train[1] for row in found["rows"])
    assert all(row["distance_image"] == pytest.approx(0, abs=1e-2) for row in found["rows"])


@pytest.mark.slow
def test_a_blurred_synthesis_is_no_copy(dataset):
    assert measure_memorisation(loaded(dataset, "blank"))["n_suspect"] == 0


def test_distances_are_those_found_by_hand():
    one = np.array([[0.0, 0], [3, 4], [10, 0]], np.float32)
    other = np.array([[0.0, 0], [0, 0]], np.float32)
    assert distance(one, other) == pytest.approx(5)  # 0, 5 and 10
    volume = np.arange(48 * 50 * 2, dtype=np.float32).reshape(48, 50, 2)
    means = block_means(volume)
    assert means.shape == (2, 24 * 24)
    assert means[1, 0] == pytest.approx(volume[:2, :2, 1].mean())


def test_mmd_is_what_its_formula_says_and_near_nothing_for_equal_worlds():
    rng = np.random.default_rng(0)
    first, second = ([rng.normal(at, 1, (6, 3)).astype(np.float32) for _ in range(12)] for at in (0.0, 0.0))
    far = [rng.normal(1.5, 1, (6, 3)).astype(np.float32) for _ in range(12)]
    same, apart = (pseudo_values(pair_terms(first, other, 2.0)) for other in (second, far))
    assert abs(same.mean()) < 0.02 < apart.mean()
    h = pair_terms(first[:3], far[:3], 2.0)
    by_hand = (
        np.mean(
            [
                np.mean([[np.exp(-((a - b) ** 2).sum() / 8) for b in y] for a in x])
                for x, y in ((first[0], first[1]), (far[0], far[1]))
            ]
        )
        * 2
        - kernel(first[0], far[1], 2.0)
        - kernel(first[1], far[0], 2.0)
    )
    assert h[0, 1] == pytest.approx(by_hand, abs=1e-6)
    off = h[~np.eye(3, dtype=bool)]
    assert pseudo_values(h).mean() == pytest.approx(off.mean())
    assert width_of([np.zeros((2, 2), np.float32), np.full((2, 2), 3.0, np.float32)]) == pytest.approx(np.sqrt(18))


def test_blank_images_look_less_real_than_perfect_ones(dataset):
    found = {how: measure_realism(loaded(dataset, how))["rows"] for how in ("rule", "blank")}
    perfect, blank = ({row["target"]: row["mean"] for row in found[how]} for how in ("rule", "blank"))
    for target in ("T1", "T2"):
        assert blank[target] > 2 * abs(perfect[target]) + 0.05


def test_a_check_is_done_once_and_anew_for_other_weights(dataset, monkeypatch):
    run = loaded(dataset)
    calls = []

    def count(found: LoadedRun, progress: object) -> dict[str, int]:
        calls.append(found)
        return {"n": len(calls)}

    monkeypatch.setitem(AUDITS, "realism", count)
    assert audit(run, ["realism"])["realism"]["result"] == {"n": 1}
    assert audit(run, ["realism"])["realism"]["result"] == {"n": 1}
    assert finding(run.run, "realism")["result"] == {"n": 1}
    json.dumps(finding(run.run, "realism"), allow_nan=False)
    note = run.run.weights_path.with_suffix(".sha256")
    note.write_text("0" * 64)
    assert audit(run, ["realism"])["realism"]["result"] == {"n": 2}


def test_one_check_that_cannot_be_done_does_not_stop_the_others(dataset, monkeypatch):
    def fail(found: LoadedRun, progress: object) -> dict[str, int]:
        raise InvalidConfigError("There are too few cases.", "TOO-FEW-CASES")

    monkeypatch.setitem(AUDITS, "realism", fail)
    monkeypatch.setitem(AUDITS, "usefulness", lambda *_: {"fine": True})
    found = audit(loaded(dataset), ["realism", "usefulness"])
    assert found["realism"]["code"] == "TOO-FEW-CASES"
    assert found["usefulness"]["result"] == {"fine": True}
    with pytest.raises(UserError, match="too few"):
        audit(loaded(dataset), ["realism"])
    with pytest.raises(InvalidConfigError, match="Choose among"):
        audit(loaded(dataset), ["nothing"])


def test_syntheses_leave_out_what_is_made_from_itself(dataset):
    run = loaded(dataset)
    found = [(given, target) for given, target, _ in syntheses(run, run.split.test[0])]
    assert found == [(("T1",), "T2"), (("T2",), "T1")]
