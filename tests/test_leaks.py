"""The leakage guard: what leaks is found and stops an evaluation, what does not is not accused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from core.config import Task
from core.dataset import Dataset, Split
from core.dataset_writer import DatasetWriter, PreparedCase
from core.errors import InvalidConfigError
from core.evaluate import evaluate
from core.leaks import find_leaks, refuse_leaks
from core.quality.check import check
from tests.tiny_run import load_tiny, tiny

__all__ = ["tiny"]
SHAPE, AFFINE = (34, 40, 28), np.diag([2.0, 2.2, 2.6, 1.0])
NAMES = tuple("abcdefgh")
SPLIT = Split(train=tuple("abcdef"), val=(), test=tuple("gh"))


def anatomy(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A texture that nobody shares, from 0 to 1, inside an ellipsoid that all share."""
    i, j, k = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    mask = (i / 0.9) ** 2 + (j / 0.95) ** 2 + (k / 0.9) ** 2 < 1
    own = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), 2.2)
    return 0.5 + 0.16 * own / own.std() * mask, mask


def images_of(seed: int, noise: int = 0) -> dict[str, np.ndarray]:
    """T1 and, with another contrast, T2 of one person; air around both."""
    tissue, mask = anatomy(seed)
    rng = np.random.default_rng(1000 + seed + noise)
    t2 = np.abs(1.1 - 1.4 * tissue) ** 0.8
    images = {"T1": tissue, "T2": t2}
    return {m: (np.where(mask, x, 0) + rng.normal(0, 0.01, SHAPE)).astype(np.float32) for m, x in images.items()}


def written(
    workspace, people: Mapping[str, Mapping[str, np.ndarray]], scale: tuple[float, float] | None = None
) -> Dataset:
    """A dataset of these cases, each scaled by itself, or all alike."""
    writer = DatasetWriter(workspace, "people")
    for n, (name, images) in enumerate(people.items()):
        own = {m: scale or (100.0 + n, 0.0) for m in images}
        labels = {"size": float(n * n)}
        units = dict.fromkeys(images, "a.u.")
        writer.add(PreparedCase(name, images, own, units, anatomy(0)[1], AFFINE, labels=labels))
    return writer.finish("people", {}, simulated=True)


def strangers(names: Sequence[str] = NAMES) -> dict[str, dict[str, np.ndarray]]:
    return {name: images_of(n) for n, name in enumerate(names)}


def kinds(dataset: Dataset, split: Split = SPLIT) -> set[str]:
    return {leak.kind for leak in find_leaks(dataset, split).leaks}


def test_strangers_are_not_accused_and_it_is_said_what_was_checked(workspace):
    report = find_leaks(written(workspace, strangers()), SPLIT)
    assert report.leaks == ()
    refuse_leaks(report)
    assert any("2 held-out with 6 other cases, in T1, T2" in said for said in report.checked)


@pytest.mark.parametrize("change", ["exact", "noisy", "mirrored", "shifted", "rewindowed"])
def test_a_copy_of_a_training_image_among_the_held_out_ones_stops_an_evaluation(workspace, change):
    people = strangers()
    image = people["b"]["T1"]
    changed = {
        "exact": image,
        "noisy": image + np.random.default_rng(3).normal(0, 0.05, SHAPE),
        "mirrored": image[::-1],
        "shifted": np.roll(image, (2, -1, 1), (0, 1, 2)),
        "rewindowed": np.clip(image, 0.25, 0.8) ** 0.6,
    }[change]
    people["g"] = {"T1": changed.astype(np.float32)}
    report = find_leaks(written(workspace, people), SPLIT)
    assert [leak.kind for leak in report.leaks] == ["same image"]
    with pytest.raises(InvalidConfigError, match="T1 of held-out g is nearly that of b in the training") as error:
        refuse_leaks(report)
    assert error.value.code == "LEAK"


@pytest.mark.parametrize(("also", "is_leak"), [("nothing", True), ("the same T1", True), ("another T1", False)])
def test_uptake_that_looks_alike_is_a_leak_unless_other_images_differ(workspace, also, is_leak):
    people = {name: {"PET": images["T2"], "T1": images["T1"]} for name, images in strangers().items()}
    uptake, head = people["b"]["PET"], people["b"]["T1"]
    people["g"] = {"PET": uptake} | {"nothing": {}, "the same T1": {"T1": head}, "another T1": people["g"]}[also]
    people["g"]["PET"] = uptake
    assert (kinds(written(workspace, people)) == {"same image"}) is is_leak


def test_two_alike_on_one_side_of_the_split_are_no_leak(workspace):
    people = strangers()
    people["b"] = people["a"]
    people["h"] = people["g"]
    dataset = written(workspace, people)
    assert kinds(dataset) == set()
    assert kinds(dataset, Split(train=("a", "c", "d", "g"), val=("b",), test=("h", "e", "f"))) == {"same image"}


def test_the_dataset_check_is_read_where_there_is_one(workspace, monkeypatch):
    dataset = written(workspace, strangers() | {"g": images_of(1, noise=5)})
    check(dataset)
    monkeypatch.setattr("core.leaks.twins_of", None)
    assert kinds(dataset) == {"same image"}


def test_one_person_in_two_modalities_is_found_and_strangers_there_are_not(workspace):
    people = strangers()
    people["a"] = {"T1": people["a"]["T1"]}
    people["g"] = {"T2": images_of(0, noise=7)["T2"]}
    people["h"] = {"T2": images_of(99)["T2"]}
    report = find_leaks(written(workspace, people), SPLIT)
    assert [leak.said.split(" (")[0] for leak in report.leaks] == ["T1 of a and T2 of g seem to be of one person"]
    assert any("2 pairs of images" in said for said in report.checked)


def test_what_cannot_be_told_is_told(workspace):
    people = {name: {"T1" if name < "d" else "T2": images_of(n)["T1"]} for n, name in enumerate(NAMES)}
    report = find_leaks(written(workspace, people), SPLIT)
    assert report.leaks == ()
    assert any("Not to be told whether one person: T1 and T2" in said for said in report.checked)


@pytest.mark.parametrize(("fitted_on", "is_leak"), [(NAMES, True), (SPLIT.train, False)])
@pytest.mark.parametrize("way", ["percentiles", "largest", "z-score"])
def test_a_scale_that_was_computed_over_held_out_cases_is_found(workspace, fitted_on, is_leak, way):
    mask = anatomy(0)[1]
    raw = {name: (5 + n) * images_of(n)["T1"] for n, name in enumerate(NAMES)}
    pooled = np.concatenate([raw[name][mask] for name in fitted_on])
    if way == "z-score":
        low, high = pooled.mean() - 3 * pooled.std(), pooled.mean() + 3 * pooled.std()
    else:
        low, high = (pooled.min(), pooled.max()) if way == "largest" else np.percentile(pooled, [0.5, 99.5])
    people = {name: {"T1": ((x - low) / (high - low)).astype(np.float32)} for name, x in raw.items()}
    dataset = written(workspace, people, (float(high - low), float(low)))
    assert kinds(dataset) == ({"normaliser"} if is_leak else set())


def test_a_percentile_on_which_many_equal_values_lie_is_found_too(workspace):
    mask = anatomy(0)[1]
    raw = {name: np.round(3 * (5 + n) * images_of(n)["T1"]) for n, name in enumerate(NAMES)}  # whole numbers
    low, high = np.percentile(np.concatenate([raw[name][mask] for name in NAMES]), [0.5, 99.5])
    people = {name: {"T1": ((x - low) / (high - low)).astype(np.float32)} for name, x in raw.items()}
    assert kinds(written(workspace, people, (float(high - low), float(low)))) == {"normaliser"}


@pytest.mark.parametrize(("fitted_on", "is_leak"), [(NAMES, True), (SPLIT.train, False)])
def test_a_percentile_is_found_where_the_lowest_values_were_cut_off_before(workspace, fitted_on, is_leak):
    mask = anatomy(0)[1]
    raw = {name: (5 + n) * images_of(n)["T1"] for n, name in enumerate(NAMES)}
    raw = {name: np.maximum(x - np.quantile(x[mask], 0.01), 0) for name, x in raw.items()}
    low, high = np.percentile(np.concatenate([raw[name][mask] for name in fitted_on]), [0.5, 99.5])
    assert low == 0
    people = {name: {"T1": ((x - low) / (high - low)).astype(np.float32)} for name, x in raw.items()}
    dataset = written(workspace, people, (float(high - low), float(low)))
    assert kinds(dataset) == ({"normaliser"} if is_leak else set())


@pytest.mark.parametrize(("fitted_on", "is_leak"), [(range(8), True), (range(6), False)])
def test_a_task_number_scaled_by_all_cases_is_found(workspace, fitted_on, is_leak):
    dataset = written(workspace, strangers())
    values = [float(n * n) for n in fitted_on]
    task = Task(name="size", kind="number", mean=float(np.mean(values)), sd=float(np.std(values)))
    found = find_leaks(dataset, SPLIT, tasks=[task]).leaks
    assert [leak.kind for leak in found] == (["normaliser"] if is_leak else [])


def test_a_case_in_two_parts_is_a_leak(workspace):
    dataset = written(workspace, strangers())
    assert kinds(dataset, replace(SPLIT, val=("h",))) == {"same case"}


def test_evaluation_tells_what_was_checked_and_stops_at_a_leak(tiny, workspace):
    assert evaluate(tiny, with_baselines=False)["leaks"]["leaks"] == []
    people = strangers()
    people["g"], people["c"] = people["a"], people["a"]
    loaded = replace(load_tiny(workspace, written(workspace, people)), split=SPLIT)
    with pytest.raises(InvalidConfigError, match="not unseen"):
        evaluate(loaded, with_baselines=False)
    assert evaluate(loaded, ["a"], with_baselines=False)["protocol"]["held_out"] is False
