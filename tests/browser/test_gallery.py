"""The gallery in a real browser: look, leave a case out with a reason, see it gone from the split, take it back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.cohort import Cohort
from core.dataset import Dataset
from core.prepare import prepare
from core.quality.check import check
from core.recipes import make_recipe
from core.types import Case, Volume
from core.workspace import Workspace
from tests.conftest import REPOSITORY
from tests.quality.test_twins import person

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Six people; the T2 of one lies elsewhere than the T1, another has none. Prepared and looked through once."""
    workspace = Workspace(tmp_path_factory.mktemp("gallery") / "workspace")
    cohort = Cohort.create(workspace, "people")
    for n in range(6):
        first = person(n)
        second = np.roll(700 - first.data, 12 if n == 1 else 0, axis=1)
        images = {"T1": first, "T2": Volume(second, first.affine, "T2")}
        cohort.write(Case(f"p{n}", {m: images[m] for m in images if m == "T1" or n != 4}))
    recipe = make_recipe("generic", {"align": {"mode": "check"}})
    check(prepare(workspace, cohort, "people", recipe, processes=1), cohort)
    return workspace


@pytest.fixture
def place(made: Workspace, tmp_path: Path) -> Workspace:
    """A copy, for a test may leave cases out."""
    shutil.copytree(made.root, tmp_path / "workspace")
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def tab(serve: Any, chromium: Any, place: Workspace) -> Iterator[Any]:
    """A browser window on the gallery."""
    context = chromium.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.goto(f"{serve(REPOSITORY / 'app.py', place.root)}/prepare?dataset=people")
    page.get_by_role("heading", name="Prepare", exact=True).wait_for()
    turn(page, "Datasets")
    page.get_by_text("1 to 6 of 6").wait_for()
    yield page
    page.screenshot(path=place.root.parent / "last-look.png")
    context.close()


def turn(tab: Any, view: str) -> None:
    """Press one part of a segmented control."""
    tab.get_by_role("radio", name=view, exact=True).click()


def test_a_case_leaves_the_split_and_comes_back(tab: Any, place: Workspace) -> None:
    row = tab.locator(".st-key-cs-row-p4")
    row.get_by_text("T2 not acquired.").wait_for()
    row.get_by_role("button", name="Leave out").click()
    tab.get_by_role("textbox", name="Reason").fill("no T2")
    tab.get_by_role("textbox", name="Reason").press("Tab")
    tab.get_by_role("button", name="Leave p4 out").click()
    row.get_by_role("button", name="Take back").wait_for()
    row.get_by_text("no T2", exact=True).wait_for()
    split = Dataset.open(place, "people").split(0)
    assert "p4" not in (*split.train, *split.val, *split.test)
    row.get_by_role("button", name="Take back").click()
    row.get_by_role("button", name="Leave out").wait_for()
    split = Dataset.open(place, "people").split(0)
    assert "p4" in (*split.train, *split.val, *split.test)
    assert tab.faults == []


def test_a_flag_opens_the_checkerboard_and_the_keyboard_opens_a_case(tab: Any) -> None:
    tab.locator(".st-key-cs-row-p1").get_by_role("button", name="reference").click()
    tab.get_by_alt_text("T2, axial slice", exact=False).wait_for()
    assert tab.get_by_role("radio", name="Checkerboard").is_checked()
    assert "case=p1" in tab.url
    turn(tab, "Gallery")
    opener = tab.get_by_role("button", name="Open p3")
    opener.focus()
    tab.keyboard.press("Enter")
    tab.get_by_role("slider").wait_for()
    tab.wait_for_url("**case=p3**")
    assert tab.faults == []
