"""Prepared cases -> batches: the right slice, the right case, nothing invented."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import core.batches as module
from core.batches import Slices, case_batches, informative_rows, make_batch, modalities_of, shapes_of
from core.config import RunConfig
from core.dataset import Dataset
from core.errors import InvalidConfigError

RNG = np.random.default_rng(0)


def config(dataset: Dataset, *modalities: str) -> RunConfig:
    return RunConfig.model_validate({"dataset": dataset.name, "model": "ae", "train": {"modalities": modalities}})


def test_a_batch_holds_the_slices_that_were_asked_for(dataset: Dataset) -> None:
    rows = [("case-03", 4), ("case-00", 1), ("case-03", 0)]
    batch = make_batch(dataset, rows, shapes_of(dataset, ("CT", "T1")))
    for row, (case_id, k) in enumerate(rows):
        np.testing.assert_array_equal(batch.x["T1"][row, 0].numpy(), dataset.volume(case_id, "T1")[:, :, k])
        np.testing.assert_array_equal(batch.mask[row, 0].numpy(), dataset.mask(case_id)[:, :, k])
    assert batch.position.tolist() == [4, 1, 0]
    assert [dataset.case_ids[n] for n in batch.case_index.tolist()] == ["case-03", "case-00", "case-03"]


def test_what_a_case_lacks_is_zero_and_marked_absent(dataset: Dataset) -> None:
    batch = make_batch(dataset, [("case-02", 2), ("case-00", 2)], shapes_of(dataset, ("T1", "T2")))
    assert batch.present["T2"].tolist() == [False, True]
    assert batch.present["T1"].tolist() == [True, True]
    assert batch.x["T2"][0].abs().max() == 0


def test_images_are_not_padded(dataset: Dataset) -> None:
    i, j, k = dataset.shape
    shapes = shapes_of(dataset, ("T1",))
    assert shapes.size == (i, j)
    assert shapes.n_positions == k
    assert make_batch(dataset, [("case-00", 0)], shapes_of(dataset, ("T1",))).x["T1"].shape == (1, 1, i, j)


def test_an_epoch_has_every_row_once_in_a_seeded_order(dataset: Dataset) -> None:
    slices = Slices(dataset, informative_rows(dataset, dataset.case_ids), shapes_of(dataset, dataset.modalities))

    def order(seed: int) -> list[tuple[int, int]]:
        batches = list(slices.epoch(5, np.random.default_rng(seed)))
        assert all(batch.size == 5 for batch in batches[:-1])
        return [(c, p) for b in batches for c, p in zip(b.case_index.tolist(), b.position.tolist(), strict=True)]

    assert order(0) == order(0)
    assert order(0) != order(1)
    assert len(set(order(0))) == len(order(0)) == len(slices)


def place_of(dataset: Dataset, modality: str, image: torch.Tensor) -> tuple[str, int] | None:
    """Which slice of which case this is."""
    for case_id in dataset.case_ids:
        if modality in dataset.record(case_id)["modalities"]:
            volume = dataset.volume(case_id, modality)
            for k in range(volume.shape[2]):
                if np.array_equal(volume[:, :, k], image.numpy()):
                    return case_id, k
    return None


def test_unpaired_draws_take_each_modality_from_a_slice_of_its_own(dataset: Dataset) -> None:
    rows = informative_rows(dataset, dataset.case_ids)
    with_t2 = {row for row in rows if "T2" in dataset.record(row[0])["modalities"]}
    slices = Slices(dataset, rows, shapes_of(dataset, ("T1", "T2")), paired=False)
    batches = list(slices.epoch(5, np.random.default_rng(0)))
    places = {m: [place_of(dataset, m, image[0]) for b in batches for image in b.x[m]] for m in ("T1", "T2")}
    assert sorted(places["T1"]) == sorted(rows)
    assert set(places["T2"]) == with_t2 < set(rows)
    assert len(places["T2"]) == len(rows)
    assert sum(a == b for a, b in zip(places["T1"], places["T2"], strict=True)) < len(rows) / 3
    assert all(bool(b.present[m].all()) for b in batches for m in ("T1", "T2"))


def test_unpaired_draws_are_seeded_and_the_same_whether_held_in_memory_or_not(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drawn(seed: int) -> list[torch.Tensor]:
        rows, shapes = informative_rows(dataset, dataset.case_ids), shapes_of(dataset, ("T1", "T2"))
        slices = Slices(dataset, rows, shapes, paired=False)
        return [b.x["T2"] for b in slices.epoch(4, np.random.default_rng(seed))]

    held, other = drawn(0), drawn(1)
    monkeypatch.setattr(module, "HELD_BYTES", 0)
    torch.testing.assert_close(drawn(0), held, rtol=0, atol=0)
    assert not all(torch.equal(a, b) for a, b in zip(held, other, strict=True))


def test_a_modality_that_no_row_has_stays_absent_in_unpaired_draws(dataset: Dataset) -> None:
    without = [case_id for case_id in dataset.case_ids if "T2" not in dataset.record(case_id)["modalities"]]
    slices = Slices(dataset, informative_rows(dataset, without), shapes_of(dataset, ("T1", "T2")), paired=False)
    batch = next(slices.epoch(4, np.random.default_rng(0)))
    assert batch.present["T1"].all()
    assert not batch.present["T2"].any()


def test_slices_are_the_same_whether_held_in_memory_or_not(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = informative_rows(dataset, dataset.case_ids)
    held = Slices(dataset, rows, shapes_of(dataset, dataset.modalities)).batch([3, 0], RNG)
    monkeypatch.setattr(module, "HELD_BYTES", 0)
    read = Slices(dataset, rows, shapes_of(dataset, dataset.modalities)).batch([3, 0], RNG)
    torch.testing.assert_close(dict(held.x), dict(read.x))
    torch.testing.assert_close(held.mask, read.mask)
    assert held.position.tolist() == read.position.tolist()


def test_a_whole_case_comes_in_order(dataset: Dataset) -> None:
    batches = list(case_batches(dataset, "case-01", shapes_of(dataset, ("T1",)), batch_size=4))
    assert torch.cat([b.position for b in batches]).tolist() == list(range(dataset.shape[2]))


def test_empty_slices_are_not_worth_learning_from(dataset: Dataset) -> None:
    areas = dataset.mask("case-00").sum(axis=(0, 1))
    kept = [k for _, k in informative_rows(dataset, ["case-00"], min_fraction=0.5)]
    assert kept == np.flatnonzero(areas > 0.5 * areas.max()).tolist()


def test_only_what_is_given_stays_in_a_batch(dataset: Dataset) -> None:
    batch = make_batch(dataset, [("case-00", 2)], shapes_of(dataset, dataset.modalities)).only(["T1"])
    assert list(batch.x) == list(batch.present) == ["T1"]


def test_a_run_learns_from_all_modalities_unless_it_names_some(dataset: Dataset) -> None:
    assert modalities_of(config(dataset), dataset) == dataset.modalities
    assert modalities_of(config(dataset, "T2", "T1", "T2"), dataset) == ("T2", "T1")
    with pytest.raises(InvalidConfigError, match="no PET"):
        modalities_of(config(dataset, "PET"), dataset)
