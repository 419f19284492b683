"""Home and Train: all of a workspace, or a run, as one file."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from core.archive import pack_run
from core.cohort import list_cohorts
from core.jobs import BACKENDS
from core.jobs.worker import execute
from core.runs import EXPORT, Job, list_jobs, list_runs
from core.workspace import Workspace
from tests.conftest import REPOSITORY, make_cohort
from tests.pages.driving import button
from tests.tiny_run import make_dataset, make_run
from ui.archive_view import _packed

HOME = str(REPOSITORY / "pages" / "home.py")


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs run where they are started: in this process."""
    monkeypatch.setattr(BACKENDS["local"], "start", lambda job: execute(job, Workspace(job.folder.parent.parent)))


def test_a_workspace_is_packed_and_offered(workspace: Workspace) -> None:
    make_cohort(workspace, n_cases=2)
    page = AppTest.from_file(HOME, default_timeout=60).run()
    for _ in range(2):  # packed again: the file before goes
        button(page, "Pack the workspace").click().run()
        assert not page.exception
        (job,) = list_jobs(workspace)
        assert job.state == "finished" and (job.folder / EXPORT).exists()
    assert any(element.label.startswith("Save ") for element in page.get("download_button"))


def test_an_export_is_brought_in_and_what_came_is_said(workspace: Workspace, tmp_path: Path) -> None:
    other = Workspace(tmp_path / "other")
    run = make_run(other, make_dataset(other), "ae")
    run.update(state="cancelled")
    stream = io.BytesIO()
    pack_run(run, stream)
    assert _packed(run) == stream.getvalue()
    page = AppTest.from_file(HOME, default_timeout=60).run()
    page.file_uploader[0].upload("run.zip", stream.getvalue(), "application/zip").run()
    assert not page.exception
    assert "Taken in: 1 cohort, dataset or run." in page.success[0].value
    assert [found.id for found in list_runs(workspace)] == [run.id]
    assert list_cohorts(workspace) == [] and not any(workspace.uploads.iterdir())


def test_a_file_that_is_no_export_is_refused_with_a_sentence(workspace: Workspace, monkeypatch) -> None:
    def start(job: Job) -> None:
        with pytest.raises(Exception, match="zip archive"):
            execute(job, Workspace(job.folder.parent.parent))

    monkeypatch.setattr(BACKENDS["local"], "start", start)
    page = AppTest.from_file(HOME, default_timeout=60).run()
    page.file_uploader[0].upload("run.zip", b"PK\x03\x04 not really", "application/zip").run()
    assert "Taking in the export did not work. The zip archive is cut off" in page.error[0].value
    assert list_runs(workspace) == []
