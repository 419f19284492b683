from __future__ import annotations

import json
import stat
from pathlib import Path

import numpy as np
import pytest

from core.errors import InvalidConfigError
from core.workspace import Workspace, atomic_write, plain, safe_name, write_json


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a" * 65, "naïve", "a b", "x\n", "-rf"])
def test_a_name_that_could_be_a_path_or_an_option_is_refused(name: str) -> None:
    with pytest.raises(InvalidConfigError):
        safe_name(name)


def test_a_pseudonym_stays_within_a_workspace_and_differs_between_two(tmp_path: Path) -> None:
    first, second = Workspace(tmp_path / "a"), Workspace(tmp_path / "b")
    assert first.pseudonym("Doe^Jane") == Workspace(tmp_path / "a").pseudonym("Doe^Jane")
    assert first.pseudonym("Doe^Jane") != second.pseudonym("Doe^Jane")
    assert first.pseudonym("Doe^Jane") != first.pseudonym("Doe^John")


def test_the_secret_is_for_its_owner_only(tmp_path: Path) -> None:
    Workspace(tmp_path).secret()
    assert stat.S_IMODE((tmp_path / ".secret").stat().st_mode) == 0o600


def test_a_failed_write_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    atomic_write(path, b"old")
    with pytest.raises(TypeError):
        atomic_write(path, "text is not bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["state.json"]


def test_json_on_disk_is_strict(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"a": float("nan"), "b": np.float32(2), "c": (1, np.arange(2)), 3: np.inf})

    def refuse(text: str) -> None:
        raise AssertionError(f"{text} is not JSON")

    value = json.loads((tmp_path / "x.json").read_text(), parse_constant=refuse)
    assert value == {"a": None, "b": 2, "c": [1, [0, 1]], "3": None}
    assert plain(True) is True


def test_guests_share_the_queue_of_the_machine_and_nobody_else_does(workspace: Workspace) -> None:
    guest = Workspace(workspace.root / "workspaces" / "anna")
    assert (guest.base, guest.owner) == (workspace.root, "anna")
    assert (workspace.base, workspace.owner) == (workspace.root, "")
    elsewhere = Workspace(workspace.root.parent / "workspaces" / "mine")  # a folder that only has that name
    assert (elsewhere.base, elsewhere.owner) == (elsewhere.root, "")
