"""Zip archives: every hostile trick is refused before anything is inflated; honest ones come out whole."""

from __future__ import annotations

import io
import stat
import struct
import time
import zipfile
from pathlib import Path

import pytest

from core.errors import UserError
from core.unpack import is_archive, unpack


def make(path: Path, members: dict[str, bytes] | list[tuple[zipfile.ZipInfo, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items() if isinstance(members, dict) else members:
            archive.writestr(name, content)
    return path


def code_of(path: Path, folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        unpack(path, folder / "out")
    return caught.value.code


def test_an_honest_archive_comes_out_whole_under_names_of_ours(tmp_path):
    path = make(tmp_path / "a.zip", {"P1/T1.nii": b"one", "P1/T2.nii": b"two" * 9999})
    members = unpack(path, tmp_path / "out")
    assert [(m.parts, m.path.read_bytes()) for m in members] == [
        (("P1", "T1.nii"), b"one"),
        (("P1", "T2.nii"), b"two" * 9999),
    ]
    assert all(m.path.parent == tmp_path / "out" and "T" not in m.path.name for m in members)


def test_a_zip_in_a_zip_is_opened_once(tmp_path):
    def packed(name: str, content: bytes) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(name, content)
        return buffer.getvalue()

    inner = packed("x.bin", b"inner")
    deeper = packed("inner.zip", inner)
    members = unpack(make(tmp_path / "a.zip", {"d/one.zip": inner, "two.zip": deeper}), tmp_path / "out")
    assert [m.parts for m in members] == [("d", "one", "x.bin"), ("two", "inner.zip")]
    assert members[0].path.read_bytes() == b"inner"
    assert members[1].problem is not None and members[1].problem.code == "ZIP-NESTED"


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "C:\\x", "\\x", "a\\..\\x"])
def test_names_that_point_outside_are_refused(name, tmp_path):
    assert code_of(make(tmp_path / "a.zip", {name: b"x"}), tmp_path) == "ZIP-PATH"
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["a.zip"]


def test_links_are_refused(tmp_path):
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    assert code_of(make(tmp_path / "a.zip", [(info, b"/etc/passwd")]), tmp_path) == "ZIP-LINK"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_files_of_one_name_are_refused(tmp_path):
    path = make(tmp_path / "a.zip", [(zipfile.ZipInfo("x"), b"1"), (zipfile.ZipInfo("X"), b"2")])
    assert code_of(path, tmp_path) == "ZIP-DUPLICATE"


def changed(path: Path, signature: bytes, offset: int, content: bytes) -> Path:
    """Overwrite a field of the first record with that signature."""
    whole = bytearray(path.read_bytes())
    place = whole.index(signature) + offset
    whole[place : place + len(content)] = content
    path.write_bytes(whole)
    return path


def test_encryption_and_rare_methods_are_refused(tmp_path):
    path = make(tmp_path / "a.zip", {"x": b"abc"})
    assert code_of(changed(path, b"PK\x01\x02", 8, b"\x01\x00"), tmp_path) == "ZIP-ENCRYPTED"
    path = make(tmp_path / "b.zip", {"x": b"abc"})
    assert code_of(changed(path, b"PK\x01\x02", 10, b"\x0e\x00"), tmp_path / "b") == "ZIP-METHOD"


def test_entries_that_overlap_are_refused(tmp_path):
    path = make(tmp_path / "a.zip", {"x": b"a" * 99, "y": b"b" * 99})
    whole = bytearray(path.read_bytes())
    second = whole.index(b"PK\x01\x02", whole.index(b"PK\x01\x02") + 4)
    whole[second + 42 : second + 46] = bytes(4)  # the second points at the first
    path.write_bytes(whole)
    assert code_of(path, tmp_path) == "ZIP-OVERLAP"


def test_what_swells_beyond_the_limit_is_refused_at_once(tmp_path):
    path = make(tmp_path / "a.zip", {"x": b"abc"})
    changed(path, b"PK\x01\x02", 24, struct.pack("<I", 0xF0000000))
    whole = path.read_bytes()
    start = time.monotonic()
    assert code_of(path, tmp_path) in ("ZIP-BOMB", "ZIP-TOO-LARGE")
    assert time.monotonic() - start < 1
    assert whole == path.read_bytes()


def test_more_bytes_than_declared_are_not_written(tmp_path):
    path = make(tmp_path / "a.zip", {"x": b"a" * 100_000})
    changed(path, b"PK\x01\x02", 24, struct.pack("<I", 10))
    (member,) = unpack(path, tmp_path / "out")
    assert member.problem is not None
    assert member.path.stat().st_size <= 11


def test_a_damaged_member_spoils_only_itself(tmp_path):
    path = make(tmp_path / "a.zip", {"x": bytes(range(256)) * 9, "y": b"good"})
    changed(path, b"PK\x03\x04", 40, b"\xff\xff\xff")
    members = unpack(path, tmp_path / "out")
    assert [m.problem and m.problem.code for m in members] == ["ZIP-DAMAGED", None]


def test_empty_and_cut_archives_are_refused(tmp_path):
    assert code_of(make(tmp_path / "a.zip", {}), tmp_path) == "ZIP-EMPTY"
    path = make(tmp_path / "b.zip", {"x": b"abc" * 99})
    path.write_bytes(path.read_bytes()[:-30])
    assert code_of(path, tmp_path / "b") == "ZIP-DAMAGED"


def test_too_many_files_are_refused(tmp_path):
    path = make(tmp_path / "a.zip", {f"{n}": b"" for n in range(5001)})
    assert code_of(path, tmp_path) == "ZIP-TOO-MANY"


def test_an_archive_of_arrays_is_an_image(tmp_path):
    assert not is_archive(make(tmp_path / "a.npz", {"T1.npy": b"x"}))
    assert is_archive(make(tmp_path / "b.npz", {"d/T1.npy": b"x"}))
