"""Slices as pictures: a marked voxel stands where an anatomist expects it, in every plane and both conventions."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest
from PIL import Image

from core.render import (
    PLANES,
    Look,
    Window,
    colour_map,
    default_colours,
    draw_planes,
    draw_slice,
    edge_letters,
    middle,
    on_screen,
    percentile_window,
    png,
    round_up,
    slice_axis,
    symmetric_window,
    take_slice,
    to_levels,
    webp,
)

SHAPE = (4, 5, 6)
SPACING = (1.0, 2.0, 3.0)
PLAIN = {"letters": False, "scale_bar": False}


def marked(position: tuple[int, int, int], shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    volume = np.zeros(shape, np.float32)
    volume[position] = 1.0
    return volume


def brightest(picture: np.ndarray) -> tuple[float, float]:
    """The centre of what is bright, as shares of width and height."""
    weight = picture.sum(axis=2).astype(float)
    rows, columns = np.indices(weight.shape)
    x = ((columns + 0.5) * weight).sum() / weight.sum() / weight.shape[1]
    y = ((rows + 0.5) * weight).sum() / weight.sum() / weight.shape[0]
    return x, y


RIGHT_FRONT_TOP = (3, 4, 5)  # the far end of every axis: right, anterior, superior
LEFT_BACK_BOTTOM = (0, 0, 0)


@pytest.mark.parametrize(
    ("plane", "radiological", "x_is_left", "y_is_top"),
    [
        ("axial", True, True, True),
        ("axial", False, False, True),
        ("coronal", True, True, True),
        ("coronal", False, False, True),
        ("sagittal", True, True, True),
        ("sagittal", False, True, True),
    ],
)
def test_right_front_and_top_stand_where_the_convention_puts_them(plane, radiological, x_is_left, y_is_top):
    look = Look(plane=plane, radiological=radiological, height_px=200, **PLAIN)
    for position, is_far in ((RIGHT_FRONT_TOP, True), (LEFT_BACK_BOTTOM, False)):
        picture = draw_slice(marked(position), SPACING, position[slice_axis(plane)], look)
        x, y = brightest(picture)
        assert (x < 0.5) == (x_is_left == is_far)
        assert (y < 0.5) == (y_is_top == is_far)


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("radiological", [True, False])
def test_the_crosshair_points_at_the_marked_voxel(plane, radiological):
    position = (2, 1, 4)
    look = Look(plane=plane, radiological=radiological, height_px=240, **PLAIN)
    picture = draw_slice(marked(position), SPACING, position[slice_axis(plane)], look)
    assert brightest(picture) == pytest.approx(on_screen(position, SHAPE, look), abs=0.02)


@pytest.mark.parametrize("plane", PLANES)
def test_every_voxel_of_a_slice_is_one_pixel(plane):
    volume = np.arange(120, dtype=np.float32).reshape(SHAPE)
    picture = take_slice(volume, plane, 1)
    assert sorted(picture.ravel()) == sorted(np.take(volume, 1, axis=slice_axis(plane)).ravel())


@pytest.mark.parametrize(("plane", "ratio"), [("axial", 4 / 10), ("coronal", 4 / 18), ("sagittal", 10 / 18)])
def test_a_pane_is_true_in_millimetres(plane, ratio):
    picture = draw_slice(np.zeros(SHAPE, np.float32), SPACING, 0, Look(plane=plane, height_px=900))
    assert picture.shape[1] / picture.shape[0] == pytest.approx(ratio, rel=0.01)


def test_letters_say_the_patients_sides():
    assert edge_letters("axial") == ("R", "L", "A", "P")
    assert edge_letters("axial", radiological=False) == ("L", "R", "A", "P")
    assert edge_letters("coronal") == ("R", "L", "S", "I")
    assert edge_letters("coronal", radiological=False) == ("L", "R", "S", "I")
    assert edge_letters("sagittal") == edge_letters("sagittal", radiological=False) == ("A", "P", "S", "I")


def test_letters_and_scale_bar_are_drawn_into_the_pane():
    volume = np.zeros((40, 50, 60), np.float32)
    bare = draw_slice(volume, SPACING, 3, Look(letters=False, scale_bar=False))
    assert bare.max() == 0
    assert draw_slice(volume, SPACING, 3, Look(scale_bar=False)).max() > 150
    assert draw_slice(volume, SPACING, 3, Look(letters=False)).max() > 150


def test_the_scale_bar_is_as_long_as_it_says():
    picture = draw_slice(np.zeros((100, 100, 5), np.float32), (1.0, 1.0, 1.0), 2, Look(letters=False, height_px=400))
    bar = picture[-10, :, 0] > 100
    assert bar.sum() == pytest.approx(20 * 4, abs=2)  # 2 cm at 4 pixels per mm


@pytest.mark.parametrize("spacing", [(0.3, 0.6, 1.0), (1.0, 1.0, 1.0), (2.0, 0.7, 1.0)])
@pytest.mark.parametrize("height_px", [90, 240, 420])
def test_the_lower_letter_and_the_scale_bar_never_touch(spacing, height_px):
    volume = np.zeros((60, 70, 5), np.float32)
    look = {"height_px": height_px}
    bar = draw_slice(volume, spacing, 2, Look(letters=False, **look)).max(2) > 0
    both = draw_slice(volume, spacing, 2, Look(**look)).max(2) > 0
    letters = both & ~bar
    width = both.shape[1]
    letters[: height_px // 2] = letters[:, : width // 4] = letters[:, width - width // 4 :] = False  # the lower one
    assert letters.any()
    rows, columns = np.nonzero(letters)
    around = bar[rows.min() - 1 : rows.max() + 2, columns.min() - 1 : columns.max() + 2]
    assert not around.any()


def test_a_window_spreads_its_range_and_clips_the_rest():
    brain = Window.of(width=80, level=40)
    assert to_levels(np.array([-1000.0, 0.0, 40.0, 80.0, 3000.0]), brain).tolist() == [0, 0, 128, 255, 255]
    assert to_levels(np.array([np.nan, np.inf]), brain).tolist() == [0, 255]


def test_percentiles_are_taken_inside_the_mask():
    data = np.full(SHAPE, 1000.0, np.float32)
    data[:2] = np.linspace(1, 2, 60).reshape(2, 5, 6)
    window = percentile_window(data, data < 500)
    assert 1 <= window.low < 1.1 and 1.9 < window.high <= 2


def test_a_constant_image_still_has_a_window():
    window = percentile_window(np.full(SHAPE, 7.0, np.float32))
    assert window.high > window.low


def test_differences_get_a_symmetric_round_range():
    difference = np.linspace(-0.03, 0.17, 120, dtype=np.float32).reshape(SHAPE)
    assert symmetric_window(difference) == Window(-0.2, 0.2)
    assert [round_up(v) for v in (0.013, 3, 50, 0, 99)] == [0.015, 3, 50, 1, 100]


def test_the_diverging_map_is_black_at_zero_and_equally_bright_on_both_sides():
    colours = colour_map("diverging").astype(float) / 255
    luminance = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4) @ [
        0.2126,
        0.7152,
        0.0722,
    ]
    assert luminance[127] < 0.01 and luminance[128] < 0.01
    np.testing.assert_allclose(luminance[:128], luminance[128:][::-1], atol=0.04)
    assert (np.diff(luminance[128:]) > -0.005).all()
    assert colours[20, 2] > colours[20, 0] and colours[235, 0] > colours[235, 2]  # blue below, orange above


@pytest.mark.parametrize("name", ["grey", "hot", "doubt"])
def test_brightness_rises_along_a_map(name):
    colours = colour_map(name).astype(float)
    assert colours.shape == (256, 3)
    assert (np.diff(colours @ [0.2126, 0.7152, 0.0722]) > -1).all()
    assert colours[0].max() == 0 and colours[255].min() > 230


def test_uptake_is_hot_and_all_else_grey():
    assert default_colours("PET", "a.u.") == default_colours("NM", "SUV") == "hot"
    assert default_colours("CT", "HU") == default_colours("T1", "a.u.") == "grey"


@pytest.mark.parametrize("encode", [png, webp])
def test_a_picture_survives_its_file(encode):
    picture = draw_slice(marked((2, 2, 2)), SPACING, 2, Look())
    again = np.asarray(Image.open(io.BytesIO(encode(picture))).convert("RGB"))
    assert again.shape == picture.shape
    assert np.abs(again.astype(int) - picture).mean() < 3


def test_a_pane_takes_under_30_ms():
    volume = np.random.default_rng(0).random((96, 112, 88), dtype=np.float32)
    draw_planes(volume, (2.0, 2.0, 2.0), middle(volume.shape), Look())  # fonts and maps are made once
    seconds = []
    for _ in range(5):
        start = time.thread_time()  # of this thread alone: other work on the machine does not count
        png(draw_slice(volume, (2.0, 2.0, 2.0), 44, Look(crosshair=middle(volume.shape))))
        seconds.append(time.thread_time() - start)
    assert min(seconds) < 0.03
