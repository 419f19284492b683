"""A radiologist's export from its folder to aligned arrays, in a real browser; no header reaches the screen."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.cohort import Cohort, list_cohorts
from core.runs import list_jobs
from core.workspace import Workspace
from tests.browser.test_walk import go, press, settled, until
from tests.conftest import REPOSITORY
from tests.hospital_folder import BANNER, NAME, hospital_folder

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
PATIENCE_MS = 120_000


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def tab(serve: Any, chromium: Any, place: Workspace) -> Any:
    """A browser window on the empty app; all that the server sends to it is kept."""
    context = chromium.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.faults, page.received = [], []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: page.received.append(frame)))
    page.goto(serve(REPOSITORY / "app.py", place.root))
    yield page
    page.screenshot(path=place.root.parent / "last-look.png")
    context.close()


def show(tab: Any, name: str) -> None:
    """Press one part of a segmented control."""
    tab.get_by_role("radio", name=name, exact=True).click()


def test_a_folder_of_dicom_becomes_aligned_arrays(tab: Any, place: Workspace, tmp_path: Path) -> None:
    go(tab, "Data")
    tab.get_by_text("No images at hand?").wait_for()
    tab.get_by_text("A folder", exact=True).click()
    tab.locator("input[webkitdirectory]").set_input_files(hospital_folder(tmp_path / "export"))

    said = tab.locator("p", has_text="83 files").first.inner_text()
    assert "1 held back" in said and "1 left out" in said and "1 refused" in said
    tab.get_by_role("img", name=re.compile("axial, coronal and sagittal")).first.wait_for()

    tab.get_by_role("tab", name="Held back").click()
    picture = tab.locator(".js-plotly-plot .nsewdrag").locator("visible=true").first
    picture.wait_for()
    box = picture.bounding_box()
    scale = box["width"] / BANNER[2]
    tab.mouse.move(box["x"] + 1, box["y"] + 1)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + 10, steps=4)
    tab.mouse.move(box["x"] + box["width"] - 1, box["y"] + scale * BANNER[3], steps=4)
    tab.mouse.up()
    tab.get_by_text("1 box to blacken").wait_for()
    tab.get_by_text("I have looked").click()
    tab.get_by_text("1 of 1 picture let in").wait_for()

    press(tab, "Import")
    until(tab, lambda: any(job.kind == "ingest" and job.state == "finished" for job in list_jobs(place)))
    tab.get_by_text("Last import", exact=False).first.wait_for()
    tab.get_by_role("img", name=re.compile("CT: axial, coronal and sagittal")).first.wait_for()
    check_stored(place)

    go(tab, "Prepare")
    tab.get_by_role("combobox", name=re.compile("^Alignment|mode", re.IGNORECASE)).first.click()
    tab.get_by_role("option", name="check", exact=True).click()
    settled(tab)
    press(tab, "Prepare")
    until(tab, lambda: any(job.kind == "prepare" and job.state == "finished" for job in list_jobs(place)))
    show(tab, "One case")
    tab.get_by_text(re.compile("ligned with")).first.wait_for()
    for overlay in ("Checkerboard", "Blend"):
        show(tab, overlay)
        tab.get_by_alt_text(re.compile(f"CT, axial slice [0-9]+, {overlay.lower()} with T1")).wait_for()

    assert tab.faults == []
    sent = b"".join(frame if isinstance(frame, bytes) else frame.encode() for frame in tab.received)
    assert b"case-" in sent and NAME.encode() not in sent and NAME not in tab.content() + tab.url
    assert not any(NAME.encode() in path.read_bytes() for path in place.root.rglob("*") if path.is_file())


def check_stored(place: Workspace) -> None:
    """Two patients, their images, and an ultrasound whose upper edge is black."""
    (cohort,) = list_cohorts(place)
    has = {case_id: set(cohort.describe(case_id)["volumes"]) for case_id in cohort.case_ids}
    assert sorted(map(sorted, has.values())) == [["CT", "T1"], ["CT", "T1", "US"]]
    (case_id,) = (case_id for case_id, modalities in has.items() if "US" in modalities)
    volume = Cohort(cohort.folder).read_volume(case_id, "US")
    upright = volume.data[::-1, ::-1, 0].T
    assert upright[: BANNER[3], 4:-4].max() == upright.min() and np.median(upright[BANNER[3] + 4 :]) > 30
