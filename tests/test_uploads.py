from __future__ import annotations

import errno
import io

import pytest

from core import uploads
from core.errors import NotFoundError, RefusedError, UserError
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


def some_bytes(n: int) -> list[tuple[str, io.BytesIO]]:
    return [(f"{k}.bin", io.BytesIO(bytes(n // 2))) for k in range(2)]


def test_uploads_that_wait_are_counted_and_make_room_when_they_go(workspace: Workspace, monkeypatch):
    monkeypatch.setenv("CROSSMODAL_UPLOAD_QUOTA_GB", "0.00001")  # 10,000 bytes
    first = stage(workspace, some_bytes(6_000))
    with pytest.raises(RefusedError) as caught:
        stage(workspace, some_bytes(6_000))
    assert caught.value.code == "UPLOAD-QUOTA" and "removed after a day" in str(caught.value)
    assert [folder.name for folder in workspace.uploads.iterdir()] == [first]
    discard(workspace, first)
    assert stage(workspace, some_bytes(6_000))


def test_guests_share_what_the_server_has(workspace: Workspace, monkeypatch):
    monkeypatch.setenv("CROSSMODAL_SERVER_UPLOAD_QUOTA_GB", "0.00001")
    guests = [Workspace(workspace.root / "workspaces" / name) for name in ("a", "b")]
    stage(guests[0], some_bytes(6_000))
    for place in (guests[1], workspace):
        with pytest.raises(RefusedError) as caught:
            stage(place, some_bytes(6_000))
        assert caught.value.code == "UPLOAD-SERVER"


def test_a_full_disk_is_said_and_nothing_of_the_upload_stays(workspace: Workspace):
    class Full(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError) as caught:
        stage(workspace, [("DOE/T1.nii", Full())])
    assert caught.value.code == "DISK-FULL" and "Nothing of this upload was kept" in str(caught.value)
    assert not any(workspace.uploads.iterdir())
    assert "DOE" not in str(caught.value)
