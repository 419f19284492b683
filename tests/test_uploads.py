from __future__ import annotations

import io

import pytest

from core import uploads
from core.errors import NotFoundError, RefusedError
from core.uploads import discard, stage, staged
from core.workspace import Workspace


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "/etc/passwd", "..", "C:\\windows\\x", "a/../../b", "\u202egz.exe", "x" * 400, "", "./."],
)
def test_no_name_leads_out_of_the_upload(workspace: Workspace, name: str) -> None:
    folder = staged(workspace, stage(workspace, [(name, io.BytesIO(b"content"))]))
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in files] == [b"content"]
    assert files[0].resolve().is_relative_to(folder.resolve())


def test_folders_are_kept_and_equal_names_do_not_overwrite(workspace: Workspace) -> None:
    files = [("p1/T1.nii", b"a"), ("p2/T1.nii", b"b"), ("p1/T1.nii", b"c")]
    folder = staged(workspace, stage(workspace, [(name, io.BytesIO(data)) for name, data in files]))
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*.nii")) == [
        "p1/2-T1.nii",
        "p1/T1.nii",
        "p2/T1.nii",
    ]


def test_an_upload_over_the_limit_is_refused_and_leaves_nothing(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MAX_BYTES", 10)
    with pytest.raises(RefusedError, match="4 GB"):
        stage(workspace, [("a", io.BytesIO(b"123456")), ("b", io.BytesIO(b"123456"))])
    monkeypatch.setattr(uploads, "MAX_FILES", 1)
    with pytest.raises(RefusedError, match="files"):
        stage(workspace, [("a", io.BytesIO(b"1")), ("b", io.BytesIO(b"1"))])
    assert list(workspace.uploads.iterdir()) == []


def test_what_was_discarded_is_gone(workspace: Workspace) -> None:
    upload = stage(workspace, [("a", io.BytesIO(b"1"))])
    discard(workspace, upload)
    with pytest.raises(NotFoundError):
        staged(workspace, upload)
