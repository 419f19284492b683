"""A small multimodal set of real images, scikit-learn's digits in three guises, and what is measured on it.

The digit is all that the three images of a row have in common: each is of another person's hand.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t
from sklearn.datasets import load_digits
from sklearn.svm import SVC

from core.types import Array

MODALITIES = ("plain", "negative", "striped")
N_TRAIN, N_TEST = 1400, 385
LEVEL = 0.9
Images = dict[str, Array]
Classes = NDArray[np.int64]


def make_digits(seed: int = 0) -> dict[str, tuple[Images, Classes]]:
    """part -> images (N, 8, 8) of each modality, 0 to 1, and the digit; no hand is in both parts."""
    rng = np.random.default_rng(seed)
    pixels, digits = load_digits(return_X_y=True)
    images = (pixels.reshape(-1, 8, 8) / 16).astype(np.float32)
    order = rng.permutation(len(images))
    parts = {"train": order[:N_TRAIN], "test": order[N_TRAIN : N_TRAIN + N_TEST]}
    return {part: (_guises(images, digits, rows, rng), digits[rows]) for part, rows in parts.items()}


def _guises(images: Array, digits: Classes, rows: NDArray[np.int64], rng: np.random.Generator) -> Images:
    """As it is; turned by a right angle, inverted, with noise; behind stripes two pixels wide."""
    plain, turned, striped = (images[_same_digit(digits, rows, rng) if n else rows] for n in range(3))
    noise = rng.normal(0, 0.1, turned.shape)
    negative = np.clip(1 - np.rot90(turned, axes=(1, 2)) + noise, 0, 1)
    stripes = 0.4 * (np.arange(8) // 2 % 2)[None, None, :]
    return {
        "plain": plain,
        "negative": negative.astype(np.float32),
        "striped": np.maximum(striped, stripes).astype(np.float32),
    }


def _same_digit(digits: Classes, rows: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """For each row another of these rows with the same digit, each of them once."""
    partner = rows.copy()
    for digit in range(10):
        ring = rng.permutation(np.flatnonzero(digits[rows] == digit))
        partner[ring] = rows[np.roll(ring, 1)]
    return partner


class Judge:
    """Tells the digit of images of each modality; learnt from the real training images."""

    def __init__(self, images: Images, digits: Classes) -> None:
        self.machines = {m: SVC(gamma="scale", C=10).fit(_flat(x), digits) for m, x in images.items()}

    def accuracy(self, modality: str, images: Array, digits: Classes) -> float:
        """In percent."""
        return 100 * float((self.machines[modality].predict(_flat(images)) == digits).mean())


def _flat(images: Array) -> Array:
    return images.reshape(len(images), -1)


def cross_modal(made: Mapping[str, Array], real: Images, digits: Classes, judge: Judge) -> tuple[float, float]:
    """Coherence in percent and mean squared error, means over all images GIVEN__TARGET that were made."""
    coherence, error = [], []
    for name, images in made.items():
        target = name.split("__")[1]
        coherence.append(judge.accuracy(target, images, digits))
        error.append(float(((images.reshape(real[target].shape) - real[target]) ** 2).mean()))
    return float(np.mean(coherence)), float(np.mean(error))


def paired_interval(differences: Sequence[float], level: float = LEVEL) -> tuple[float, float, float]:
    """Mean of paired differences with its interval by Student's t."""
    n, mean = len(differences), float(np.mean(differences))
    reach = float(t.ppf((1 + level) / 2, n - 1)) * float(np.std(differences, ddof=1)) / math.sqrt(n)
    return mean, mean - reach, mean + reach
