"""A file is read once, however many links lead to it, and again when it was written anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.remembered import file_stamp, remembered

LONG_AGO_S = 1_700_000_000


@pytest.fixture
def reads() -> list[Path]:
    return []


@pytest.fixture
def words(reads):
    """A function that remembers two answers, and notes what it reads."""

    @remembered(at_most=2)
    def words_of(path: Path, last: bool = False) -> str:
        reads.append(path)
        return path.read_text().split()[-1 if last else 0]

    return words_of


def old_file(path: Path, text: str, seconds: int = 0) -> Path:
    path.write_text(text)
    os.utime(path, (LONG_AGO_S + seconds, LONG_AGO_S + seconds))
    return path


def test_links_to_a_file_have_its_stamp_and_a_file_written_anew_has_another(tmp_path):
    one, link = tmp_path / "case.json", tmp_path / "link.json"
    one.write_text("{}")
    os.link(one, link)
    assert file_stamp(one) == file_stamp(link)
    fresh = tmp_path / "fresh.json"
    fresh.write_text("{}")
    os.replace(fresh, one)
    assert file_stamp(one) != file_stamp(link)


def test_a_file_is_read_once_for_all_its_links_and_for_each_question(tmp_path, words, reads):
    one = old_file(tmp_path / "one", "here there")
    os.link(one, tmp_path / "link")
    assert [words(one), words(tmp_path / "link"), words(one)] == ["here"] * 3
    assert reads == [one]
    assert words(one, last=True) == "there"
    assert reads == [one, one]


def test_what_was_written_anew_is_read_anew(tmp_path, words):
    one = old_file(tmp_path / "one", "a")
    assert words(one) == "a"
    os.replace(old_file(tmp_path / "other", "b"), one)
    assert words(one) == "b"
    old_file(one, "c", seconds=1)
    assert words(one) == "c"


def test_a_file_so_young_that_it_may_change_within_the_same_tick_is_not_remembered(tmp_path, words, reads):
    one = tmp_path / "one"
    for text in "abc":
        one.write_text(text)
        assert words(one) == text
    assert len(reads) == 3


def test_the_answer_that_was_not_asked_for_the_longest_is_forgotten_first(tmp_path, words, reads):
    a, b, c = (old_file(tmp_path / name, name) for name in "abc")
    for path in (a, b, a, c, a):
        words(path)
    assert reads == [a, b, c]
    words(b)
    assert reads == [a, b, c, b]


def test_what_came_to_lie_there_while_it_was_read_is_not_taken_for_the_file_of_before(tmp_path):
    """One visitor's link is replaced between the look at its stamp and the reading; another's is still the old file."""
    mine, shared = tmp_path / "mine", old_file(tmp_path / "shared", "old")
    os.link(shared, mine)

    @remembered()
    def read(path: Path) -> str:
        if path == mine:
            os.replace(old_file(tmp_path / "fresh", "private"), mine)
        return path.read_text()

    assert read(mine) == "private"
    assert read(shared) == "old"


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path, words):
    with pytest.raises(FileNotFoundError):
        words(tmp_path / "nothing")
