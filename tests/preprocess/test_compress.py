"""Ultrasound as sampled becomes decibels; a picture stays a picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.cohort import Cohort
from core.prepare import prepare
from core.preprocess.compress import CompressConfig, compress_case, envelope, kind_of
from core.preprocess.grids import Grid
from core.preprocess.piece import Piece
from core.recipes import make_recipe
from core.types import Case, Volume
from core.workspace import Workspace

SHAPE = (40, 120, 5)
AUTO = CompressConfig(to_db="auto")


def echoes(seed: int = 0) -> np.ndarray:
    """Speckle (Rayleigh) that fades with depth, with a few strong reflectors."""
    rng = np.random.default_rng(seed)
    fade = 10 ** (-2 * np.linspace(0, 1, SHAPE[1]))[None, :, None]
    speckle = np.hypot(*rng.standard_normal((2, *SHAPE))) * fade
    speckle[10:14, 20:22] += 30
    return (900 * speckle).astype(np.float32)


def picture(seed: int = 0) -> np.ndarray:
    decibels = 20 * np.log10(echoes(seed) / echoes(seed).max())
    return np.rint((decibels / 60 + 1).clip(0, 1) * 255).astype(np.float32)


def lines() -> np.ndarray:
    """RF: the echoes on a carrier along the second axis."""
    depth = np.arange(SHAPE[1])[None, :, None]
    return echoes() * np.cos(2 * np.pi * 0.23 * depth)


def piece_of(data: np.ndarray) -> Piece:
    volume = Volume(data.astype(np.float32), np.diag([0.3, 0.2, 1.0, 1.0]), "US")
    return Piece("US", {"US": volume}, Grid(SHAPE, volume.affine))


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (echoes(), "envelope"),
        (lines(), "rf"),
        (picture(), "picture"),
        (-60 + picture() / 255 * 59, "decibels"),
        (picture() * 16 + 0.25, "unclear"),
        (np.zeros(SHAPE), "picture"),
    ],
)
def test_what_an_ultrasound_holds_is_told_by_its_values(data: np.ndarray, kind: str) -> None:
    assert kind_of(data.astype(np.float32)) == kind


def test_an_envelope_becomes_decibels_below_its_own_maximum_and_comes_back() -> None:
    data = echoes()
    done = compress_case(piece_of(data), replace_range(AUTO, 50))
    image = done.volumes["US"]
    assert image.unit == "dB" and done.limits["US"] == (-50.0, 0.0) and not done.warnings
    assert image.data.max() == 0 and image.data.min() == -50
    expected = 20 * np.log10(data / data.max())
    np.testing.assert_allclose(image.data, expected.clip(-50, 0), atol=1e-4)
    reference = done.findings["compress"]["US"]["reference"]
    back = reference * 10 ** (image.data / 20)
    heard = expected > -50
    np.testing.assert_allclose(back[heard], data[heard], rtol=1e-4)


def replace_range(config: CompressConfig, range_db: float) -> CompressConfig:
    return config.model_copy(update={"range_db": range_db})


def test_the_envelope_of_lines_is_found_along_the_beam() -> None:
    depth = np.arange(SHAPE[1])
    swell = 5 + 4 * np.sin(2 * np.pi * depth / 60)
    rf = (swell * np.cos(2 * np.pi * 0.2 * depth))[None, :, None] * np.ones(SHAPE)
    found = envelope(rf.astype(np.float32))
    np.testing.assert_allclose(
        found[:, 10:-10], np.broadcast_to(swell[None, 10:-10, None], found[:, 10:-10].shape), rtol=0.03
    )
    turned = envelope(rf.transpose(1, 2, 0).astype(np.float32))
    np.testing.assert_allclose(turned, found.transpose(1, 2, 0))


def test_a_picture_is_never_compressed_unasked_and_doubts_are_told() -> None:
    piece = piece_of(picture())
    assert compress_case(piece, AUTO).volumes["US"] is piece.volumes["US"]
    unclear = compress_case(piece_of(picture() * 16 + 0.25), AUTO)
    assert unclear.warnings["US"] == ("LOG-DOUBTFUL",) and not unclear.limits
    always = compress_case(piece, CompressConfig(to_db="always"))
    assert always.warnings["US"] == ("LOG-TWICE",) and always.volumes["US"].unit == "dB"
    assert compress_case(piece_of(echoes()), CompressConfig()).findings == {}


def test_a_hot_voxel_does_not_darken_the_rest_where_white_is_a_percentile() -> None:
    data = echoes()
    data[0, 0, 0] = 1e9
    low, high = (
        np.median(compress_case(piece_of(data), CompressConfig(to_db="auto", white_percentile=p)).volumes["US"].data)
        for p in (100.0, 99.0)
    )
    assert low == -60 and high > -50


def test_the_ultrasound_recipe_serves_pictures_and_echoes(workspace: Workspace) -> None:
    for name, made in (("pictures", picture), ("echoes", echoes)):
        cohort = Cohort.create(workspace, name)
        for n in range(2):
            volume = replace(piece_of(made(n)).volumes["US"])
            cohort.write(Case(f"case-{n}", {"US": volume}))
        dataset = prepare(workspace, cohort, name, make_recipe("ultrasound"))
        unit, scale = ("dB", [60.0, -60.0]) if name == "echoes" else ("a.u.", [255.0, 0.0])
        assert dataset.unit("US") == unit and list(dataset.record("case-0")["scales"]["US"]) == scale
        scaled = dataset.volume("case-1", "US")
        assert scaled.min() >= 0 and scaled.max() <= 1
        np.testing.assert_allclose(scaled, picture(1) / 255, atol=0.003)  # both are the same picture
