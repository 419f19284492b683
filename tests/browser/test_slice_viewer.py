"""The viewer in a real browser: what Python says of left and right is what the person sees and clicks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from core.render import PLANES, Look, on_screen

pytestmark = pytest.mark.browser

SHAPE = (40, 50, 60)
MARK = (30, 12, 41)  # right, posterior, superior
SCRIPT = f"""
import numpy as np
import streamlit as st
from core.render import Window
from ui.slice_view import Pane, pack, slice_view

st.set_page_config(layout="wide")
volume = np.full({SHAPE}, 0.12, np.float32)
volume[29:32, 11:14, 40:43] = 1.0
volume[0, 0, 0] = 0.0  # so that all else is more than background, and nothing is cropped
affine = np.diag([1.0, 2.0, 3.0, 1.0])
affine[:3, 3] = -20, -50, -90
pane = Pane("source-T1", "T1, given", "T1", volume, Window(0, 1))
slice_view([pane], affine, pack([pane], affine, ("target", "synthesis")))
"""
BRIGHTEST = """
canvas => {
  const [w, h] = [canvas.width, canvas.height];
  const data = canvas.getContext("2d").getImageData(0, 0, w, h).data;
  let [n, x, y, left, right, top, bottom] = [0, 0, 0, w, 0, h, 0];
  for (let at = 0; at < w * h; at++) {
    const [r, g, b] = [data[4 * at], data[4 * at + 1], data[4 * at + 2]];
    const [px, py] = [at % w, Math.floor(at / w)];
    if (r > 25 && r < 36 && r === g && g === b) {
      [left, right, top, bottom] = [Math.min(left, px), Math.max(right, px), Math.min(top, py), Math.max(bottom, py)];
    }
    if (r === 255 && g === 255 && b === 255) { n++; x += px; y += py; }
  }
  return [(x / n - left) / (right - left), (y / n - top) / (bottom - top), left / w, right / w, top / h, bottom / h];
}
"""


@pytest.fixture
def page(serve, chromium, tmp_path: Path):
    script = tmp_path / "viewer.py"
    script.write_text(SCRIPT)
    page = chromium.new_page(viewport={"width": 1000, "height": 800})
    page.address = serve(script)
    yield page
    page.close()


def opened(page, **link: str) -> None:
    page.goto(f"{page.address}/?{'&'.join(f'{name}={value}' for name, value in link.items())}")
    page.wait_for_selector(".viewer canvas", timeout=30_000)
    page.wait_for_function("() => document.querySelectorAll('canvas').length >= 0")
    page.wait_for_timeout(500)


def test_the_browser_agrees_with_python_on_where_things_are(page):
    for plane in PLANES:
        opened(page, plane=plane, at="-".join(map(str, MARK)))
        for radiological in (True, False):
            x, y, *_ = page.locator(".viewer canvas").first.evaluate(BRIGHTEST)
            expected = on_screen(MARK, SHAPE, Look(plane=plane, radiological=radiological))
            assert (x, y) == pytest.approx(expected, abs=0.03), (plane, radiological)
            page.get_by_role("button", name="Radiological").click() if radiological else None
            page.wait_for_timeout(300)


def test_a_click_moves_the_crosshair_there_and_the_link_follows(page):
    opened(page, plane="axial", at="20-25-41")
    canvas = page.locator(".viewer canvas").first
    x, y, left, right, top, bottom = canvas.evaluate(BRIGHTEST)
    box = canvas.bounding_box()
    page.mouse.click(
        box["x"] + box["width"] * (left + x * (right - left)), box["y"] + box["height"] * (top + y * (bottom - top))
    )
    page.wait_for_url(re.compile(r"at=(29|30|31)-(11|12|13)-41"), timeout=15_000)
    page.keyboard.press("ArrowUp")
    page.wait_for_url(re.compile(r"at=\d+-\d+-42"), timeout=15_000)


def test_the_wheel_turns_slices_and_a_drag_changes_the_window(page):
    opened(page, plane="axial", at="20-25-30")
    canvas = page.locator(".viewer canvas").first
    box = canvas.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.wheel(0, -120)
    page.wait_for_url(re.compile(r"at=20-25-31"), timeout=15_000)
    grey = "canvas => canvas.getContext('2d').getImageData(canvas.width / 2 + 30, canvas.height / 2 + 30, 1, 1).data[0]"
    before = canvas.evaluate(grey)
    page.mouse.down()
    page.mouse.move(x - 150, y - 60, steps=5)
    page.mouse.up()
    page.wait_for_timeout(300)
    assert canvas.evaluate(grey) > before + 8


def test_nothing_is_asked_of_another_server(page):
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    opened(page)
    assert [url for url in asked if not url.startswith((page.address, "data:", "blob:"))] == []
