"""The voxels that are handed over arrive as they were, in whatever order they lie, and nothing is written twice."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from core.readers.room import hand_over, handed_over, handed_over_in, voxels

VALUES = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6) - 7


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (2, 0, 1)])
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, -1)])
def test_what_was_filled_arrives_turned_and_flipped_as_it_is(axes, flips, tmp_path):
    i, j, k = flips
    with handed_over_in(tmp_path / "x"):
        room = voxels(VALUES.shape)
        room[...] = VALUES
        turned = room.transpose(axes)[::i, ::j, ::k]
        expected = turned.copy()
        facts = hand_over(turned, tmp_path / "x")
    np.testing.assert_array_equal(handed_over(facts, tmp_path / "x"), expected)


def test_an_array_of_the_room_is_not_written_again(tmp_path):
    with handed_over_in(tmp_path / "x"):
        room = voxels(VALUES.shape)
        before = (tmp_path / "x").stat().st_ino
        room[...] = VALUES
        facts = hand_over(room.transpose(2, 1, 0), tmp_path / "x")
        assert (tmp_path / "x").stat().st_ino == before
    np.testing.assert_array_equal(handed_over(facts, tmp_path / "x"), VALUES.transpose(2, 1, 0))


def test_another_array_than_that_of_the_room_is_what_arrives(tmp_path):
    with handed_over_in(tmp_path / "x"):
        voxels(VALUES.shape)[...] = VALUES
        facts = hand_over(2 * VALUES[1:, :, ::2], tmp_path / "x")
    np.testing.assert_array_equal(handed_over(facts, tmp_path / "x"), 2 * VALUES[1:, :, ::2])


def test_a_second_array_lies_elsewhere(tmp_path):
    with handed_over_in(tmp_path / "x"):
        first, second = voxels((2, 3, 4)), voxels((2, 3, 4))
        first[...], second[...] = 1, 2
        facts = hand_over(first, tmp_path / "x")
    assert (handed_over(facts, tmp_path / "x") == 1).all()


def test_what_arrived_outlives_its_file_and_may_be_changed(tmp_path):
    with handed_over_in(tmp_path / "x"):
        facts = hand_over(VALUES, tmp_path / "x")
    data = handed_over(facts, tmp_path / "x")
    (tmp_path / "x").unlink()
    data[0, 0, 0] = 99
    assert data[0, 0, 0] == 99 and data[3, 4, 5] == VALUES[3, 4, 5]


def test_without_a_place_there_is_an_array_all_the_same():
    assert voxels((2, 3, 4)).shape == (2, 3, 4)


def test_no_room_is_said_before_anything_is_written(tmp_path, monkeypatch):
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with handed_over_in(tmp_path / "x"), pytest.raises(MemoryError):
        voxels((2, 3, 4))
