"""A content has one stamp, however many links lead to it; another content has another."""

from __future__ import annotations

import os
from pathlib import Path

from ui.file_stamp import file_stamp


def test_links_to_a_file_have_its_stamp_and_a_file_written_anew_has_another(tmp_path: Path) -> None:
    one, link = tmp_path / "case.json", tmp_path / "link.json"
    one.write_text("{}")
    os.link(one, link)
    assert file_stamp(one) == file_stamp(link)
    fresh = tmp_path / "fresh.json"
    fresh.write_text("{}")
    os.replace(fresh, one)
    assert file_stamp(one) != file_stamp(link)
