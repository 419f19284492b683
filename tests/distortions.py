"""Eleven ways in which a synthesis goes wrong; 1 is mild, 3 is strong."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

SHAPE = (44, 52, 36)


def head() -> tuple[np.ndarray, np.ndarray]:
    """Something with layers, texture and edges, 0 to 1, also beyond its lopsided mask."""
    i, j, k = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    radius = np.sqrt((i + 0.1) ** 2 + (j / 0.9) ** 2 + (k / 0.95) ** 2)
    texture = ndimage.gaussian_filter(np.random.default_rng(5).normal(0, 1, SHAPE), 1.2)
    image = 0.45 + 0.25 * np.cos(9 * radius) + 0.35 * texture + 0.1 * (i > 0.1)
    mask = radius < 0.85
    return np.clip(image, 0.02, 0.98).astype(np.float32), mask


def blurred(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    return ndimage.gaussian_filter(image, 0.6 * strength)


def shifted(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    return ndimage.shift(image, (0.4 * strength, -0.3 * strength, 0.2 * strength), order=1, mode="nearest")


def gamma(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    return np.clip(image, 0, 1) ** (1 + 0.25 * strength)


def bias_field(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    ramp = np.linspace(-1, 1, image.shape[0])[:, None, None] + 0.5 * np.linspace(1, -1, image.shape[1])[:, None]
    return image * (1 + 0.1 * strength * ramp)


def noisy(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    return image + rng.normal(0, 0.03 * strength, image.shape)


def ghosted(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    return image + 0.08 * strength * (np.roll(image, image.shape[1] // 3, axis=1) - 0.3)


def turned(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    return ndimage.rotate(image, 2.0 * strength, axes=(0, 1), reshape=False, order=1, mode="nearest")


def warped(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    grid = np.indices(image.shape).astype(float)
    grid[0] += 0.5 * strength * np.sin(grid[1] / 5)
    return ndimage.map_coordinates(image, grid, order=1, mode="nearest")


def thick_slices(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    return ndimage.uniform_filter1d(image, int(1 + 2 * strength), axis=2)


def striped(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    wave = np.sin(np.arange(image.shape[1]) * 1.1)[:, None] * np.sin(np.arange(image.shape[0]) * 0.7)[:, None, None]
    return image + 0.05 * strength * wave


def with_a_hole(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    holed = image.copy()
    size = int(3 + 2 * strength)
    holed[20 : 20 + size, 22 : 22 + size, 14 : 14 + size] = 0.2
    return holed


Distortion = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]
WAYS: dict[str, Distortion] = {
    "blur": blurred,
    "shift": shifted,
    "gamma": gamma,
    "bias field": bias_field,
    "noise": noisy,
    "ghosting": ghosted,
    "rotation": turned,
    "warp": warped,
    "thick slices": thick_slices,
    "stripes": striped,
    "hole": with_a_hole,
}


def _as_single(way: Distortion) -> Distortion:
    return lambda image, strength, rng: np.asarray(way(image, strength, rng), np.float32)


DISTORTIONS: dict[str, Distortion] = {name: _as_single(way) for name, way in WAYS.items()}
