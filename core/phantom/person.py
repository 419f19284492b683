"""One generated person: every factor that decides their images, drawn from a seed and recorded as labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.types import Label


@dataclass(frozen=True)
class Level:
    """How hard the cohort is: what varies, and how much.

    Attributes:
        deformation_mm: standard deviation of the smooth displacement of the head.
        folding_mm: the same for the fine displacement that gives each person their own gyri.
        noise: of MR, standard deviation relative to white matter.
        bias: largest bias amplitude of MR (log scale).
        contrast: range of lesion contrast; 1 is a lesion that nobody overlooks.
    """

    deformation_mm: float
    folding_mm: float
    noise: float
    bias: float
    ct_noise_hu: float
    pet_counts: float
    speckle: float
    contrast: tuple[float, float]


LEVEL_SETTINGS: dict[str, Level] = {
    "easy": Level(1.8, 0.6, 0.012, 0.07, 2.0, 60.0, 0.55, (0.85, 1.0)),
    "medium": Level(2.8, 1.0, 0.025, 0.16, 2.6, 25.0, 0.75, (0.6, 1.0)),
    "hard": Level(3.8, 1.3, 0.05, 0.30, 6.0, 8.0, 1.0, (0.3, 0.6)),
}


@dataclass(frozen=True)
class Lesion:
    """A lesion of white matter; where it lies is chosen by `seed` of the person among fitting places."""

    target_ml: float
    contrast: float
    oedema_mm: float
    seen_on_t1: bool


@dataclass(frozen=True)
class Person:
    """Shared factors, private biology and private nuisance of one person. A dataclass's `replace` moves one factor."""

    seed: tuple[int, int]  # of the cohort, and the number of the case
    level: str
    age_like: float
    head_scale: float
    ventricle_growth_mm: float
    atrophy: float
    lesion: Lesion | None
    pet_focus_gain: float  # 1: none
    calcification_hu: float  # 0: none
    bias_amplitude: float
    mr_gain: float
    mr_noise: float
    ct_noise_hu: float
    pet_counts: float
    us_speckle: float
    us_gain_db: float

    @property
    def settings(self) -> Level:
        return LEVEL_SETTINGS[self.level]

    def rng(self, purpose: int) -> np.random.Generator:
        """A stream of its own for each purpose: moving one factor leaves all other randomness as it was."""
        return np.random.default_rng([*self.seed, purpose])

    def labels(self) -> dict[str, Label]:
        """The factors as flat labels; what is measured on the anatomy is added by `labels_of`."""
        return {
            "level": self.level,
            "age_like": round(self.age_like, 1),
            "head_scale": round(self.head_scale, 4),
            "ventricle_growth_mm": round(self.ventricle_growth_mm, 3),
            "atrophy": round(self.atrophy, 3),
            "lesion_present": float(self.lesion is not None),
            "lesion_contrast": round(self.lesion.contrast, 3) if self.lesion else 0.0,
            "private_t1_silent_lesion": float(self.lesion is not None and not self.lesion.seen_on_t1),
            "private_pet_focus": round(self.pet_focus_gain - 1, 3),
            "private_ct_calcification_hu": round(self.calcification_hu, 1),
            "nuisance_bias_amplitude": round(self.bias_amplitude, 4),
            "nuisance_mr_gain": round(self.mr_gain, 4),
            "nuisance_mr_noise": round(self.mr_noise, 4),
            "nuisance_ct_noise_hu": round(self.ct_noise_hu, 3),
            "nuisance_pet_counts": round(self.pet_counts, 3),
            "nuisance_us_speckle": round(self.us_speckle, 4),
            "nuisance_us_gain_db": round(self.us_gain_db, 3),
        }


def draw_person(seed: int, number: int, level: str) -> Person:
    """Person `number` (from 0) of the cohort `seed`, whoever else is in it. Of each two, one has a lesion."""
    settings = LEVEL_SETTINGS[level]
    rng = np.random.default_rng([seed, number, 0])
    ill_of_two = int(np.random.default_rng([seed, number // 2, 99]).integers(2))
    age = rng.uniform(22, 84)
    years = (age - 20) / 65
    lesion = _draw_lesion(rng, settings)
    return Person(
        seed=(seed, number),
        level=level,
        age_like=age,
        head_scale=float(np.clip(rng.normal(0.985, 0.022), 0.94, 1.03)),
        ventricle_growth_mm=float(np.clip(4.0 * years**1.5 - 0.7 + rng.normal(0, 0.6), -1.2, 5.0)),
        atrophy=float(np.clip(0.75 * years**1.3 + rng.normal(0, 0.10), 0, 1)),
        lesion=lesion if number % 2 == ill_of_two else None,
        pet_focus_gain=float(rng.uniform(1.6, 2.2)) if rng.random() < 0.25 else 1.0,
        calcification_hu=float(rng.uniform(160, 420)) if rng.random() < 0.35 else 0.0,
        bias_amplitude=float(settings.bias * rng.uniform(0.4, 1.0)),
        mr_gain=float(np.exp(rng.normal(0, 0.12))),
        mr_noise=float(settings.noise * rng.uniform(0.7, 1.3)),
        ct_noise_hu=float(settings.ct_noise_hu * rng.uniform(0.8, 1.2)),
        pet_counts=float(settings.pet_counts * rng.uniform(0.7, 1.3)),
        us_speckle=float(settings.speckle * rng.uniform(0.85, 1.15)),
        us_gain_db=float(rng.normal(0, 2.0)),
    )


def _draw_lesion(rng: np.random.Generator, settings: Level) -> Lesion:
    return Lesion(
        target_ml=float(np.exp(rng.uniform(np.log(0.8), np.log(18.0)))),
        contrast=float(rng.uniform(*settings.contrast)),
        oedema_mm=float(rng.uniform(0.0, 9.0)),
        seen_on_t1=bool(rng.random() > 0.33),
    )
