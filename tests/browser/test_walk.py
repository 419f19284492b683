"""The whole way as a newcomer goes it, on a small demo cohort: Data, Prepare, Train, Latent, Compare, Evaluate."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import pytest
from playwright.sync_api import TimeoutError  # noqa: A004

from core.cohort import Cohort
from core.dataset import list_datasets
from core.demo import make_case
from core.runs import list_jobs, list_runs
from core.workspace import Workspace, write_json
from tests.conftest import REPOSITORY

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
PATIENCE_MS = 120_000  # jobs start a Python of their own


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    """A workspace with three demo people, without the images that would only take time, and nothing else."""
    workspace = Workspace(tmp_path / "workspace")
    cohort = Cohort.create(workspace, "demo")
    for number in (1, 2, 3):
        case = make_case(number)
        cohort.write(replace(case, volumes={m: case.volumes[m] for m in ("T1", "T2", "CT")}))
    write_json(cohort.folder / "cohort.json", {"simulated": True})
    return workspace


@pytest.fixture
def tab(serve: Any, chromium: Any, place: Workspace) -> Any:
    """A browser window on the app; everything that it logs as an error fails the test."""
    context = chromium.new_context(viewport={"width": 1400, "height": 900}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.goto(serve(REPOSITORY / "app.py", place.root))
    yield page
    page.screenshot(path=place.root.parent / "last-look.png")  # where a walk that failed had come to
    context.close()


def go(tab: Any, name: str) -> None:
    """Follow the navigation and wait until the page stands; a click that meets a redraw of the page is lost: again."""
    heading = tab.get_by_role("heading", name=name, exact=True)
    for _ in range(12):
        tab.get_by_role("link", name=name, exact=True).click()
        try:
            heading.wait_for(timeout=30_000)
        except TimeoutError:
            continue
        break
    heading.wait_for(timeout=30_000)
    settled(tab)


def settled(tab: Any) -> None:
    """Wait until the server is done with the page."""
    tab.wait_for_timeout(300)
    tab.wait_for_function("() => !document.querySelector('[data-testid=stStatusWidget]')")


def until(tab: Any, is_done: Callable[[], bool]) -> None:
    """Wait for a job's work on disk, the page standing open."""
    end = time.monotonic() + PATIENCE_MS / 1000
    while not is_done() and time.monotonic() < end:
        tab.wait_for_timeout(300)
    assert is_done()
    settled(tab)


def press(tab: Any, name: str) -> None:
    tab.get_by_role("button", name=name, exact=True).first.click()


def test_from_data_to_evaluate(tab: Any, place: Workspace) -> None:
    tab.get_by_role("heading", name="Crossmodal Studio").wait_for()

    go(tab, "Data")
    tab.get_by_text("Simulated", exact=False).first.wait_for()
    tab.locator("img").first.wait_for()

    go(tab, "Prepare")
    press(tab, "Prepare")
    until(tab, lambda: bool(list_datasets(place)))

    go(tab, "Train")
    tab.get_by_text("Linear (baseline)", exact=False).first.click()
    settled(tab)
    press(tab, "Start training")
    until(tab, lambda: any(run.state == "finished" for run in list_runs(place)))
    (run,) = list_runs(place)
    assert run.has_weights and run.config.model == "linear"

    go(tab, "Compare")
    tab.locator(".viewer canvas").first.wait_for()
    tab.get_by_text("PSNR", exact=False).first.wait_for()
    with tab.expect_download() as download:
        tab.get_by_role("button", name="Save synthesis as NIfTI").click()
    image = nib.Nifti1Image.from_bytes(gzip.decompress(Path(download.value.path()).read_bytes()))
    assert image.shape == (96, 112, 88)
    assert all(part in tab.url for part in ("run=", "case=", "given=", "target="))

    go(tab, "Evaluate")
    press(tab, "Evaluate")
    tab.get_by_text("Does it read its source?").first.click()
    settled(tab)
    assert any(job.kind == "evaluate" and job.state == "finished" for job in list_jobs(place))

    go(tab, "Latent")
    tab.get_by_role("heading", name="Latent").wait_for()
    assert tab.faults == []
