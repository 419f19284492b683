"""From tissue to images: MR signal equations, Hounsfield units, and tracer uptake with counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from core.phantom.fields import SPACING_MM, Field, random_field
from core.phantom.head import Head
from core.phantom.skull import TISSUES

MR_NOISE, MR_BIAS, CT_NOISE, PET_NOISE, CALCIUM, FOCUS, METABOLISM = (
    11,
    12,
    13,
    14,
    15,
    16,
    17,
)  # purposes of random streams


@dataclass(frozen=True)
class Relaxation:
    """Proton density (water = 1) and relaxation times in ms at about 1.5 T."""

    density: float
    t1: float
    t2: float


RELAXATION: dict[str, Relaxation] = {
    "air": Relaxation(0.0, 1000, 50),
    "csf": Relaxation(1.0, 4000, 1500),
    "grey": Relaxation(0.82, 1250, 98),
    "white": Relaxation(0.70, 680, 78),
    "cortical": Relaxation(0.05, 800, 5),
    "marrow": Relaxation(0.50, 450, 75),
    "fat": Relaxation(0.55, 340, 110),
    "muscle": Relaxation(0.75, 1000, 40),
    "skin": Relaxation(0.60, 700, 40),
    "dura": Relaxation(0.55, 900, 40),
    "lesion": Relaxation(0.92, 1600, 190),
    "oedema": Relaxation(0.88, 1350, 150),
}
HOUNSFIELD = {
    "air": -1000, "csf": 6, "grey": 38, "white": 29, "cortical": 1450, "marrow": 520,
    "fat": -95, "muscle": 55, "skin": 35, "dura": 62, "lesion": 16, "oedema": 20,
}  # fmt: skip
UPTAKE_SUV = {
    "air": 0.0, "csf": 0.4, "grey": 8.5, "white": 2.6, "cortical": 0.3, "marrow": 1.0,
    "fat": 0.3, "muscle": 0.9, "skin": 0.6, "dura": 1.2, "lesion": 8.0, "oedema": 1.6,
}  # fmt: skip


def spoiled_gradient_echo(tissue: Relaxation) -> float:
    """T1-weighted: TR 18 ms, TE 5 ms, 30 degrees, T2* taken as half of T2."""
    decay, angle = np.exp(-18 / tissue.t1), np.deg2rad(30)
    steady = np.sin(angle) * (1 - decay) / (1 - np.cos(angle) * decay)
    return float(tissue.density * steady * np.exp(-5 / (0.5 * tissue.t2)))


def spin_echo(tissue: Relaxation) -> float:
    """T2-weighted: TR 5000 ms, TE 95 ms."""
    return float(tissue.density * (1 - np.exp(-5000 / tissue.t1)) * np.exp(-95 / tissue.t2))


def inversion_recovery(tissue: Relaxation) -> float:
    """FLAIR: TR 9000 ms, TE 110 ms, TI 2350 ms, where fluid passes zero; magnitude."""
    recovered = 1 - 2 * np.exp(-2350 / tissue.t1) + np.exp(-9000 / tissue.t1)
    return float(tissue.density * abs(recovered) * np.exp(-110 / tissue.t2))


SEQUENCES = {"T1": spoiled_gradient_echo, "T2": spin_echo, "FLAIR": inversion_recovery}
WHITE_LEVEL = {"T1": 620.0, "T2": 260.0, "FLAIR": 360.0}  # where white matter lies on the scanner's scale, gain 1


def mixture(head: Head, values: dict[str, float], lesion: float, oedema: float) -> Field:
    """The mean of `values` over each voxel's tissues; lesion and oedema replace brain to these extents (0 to 1)."""
    weights = np.array([values[name] for name in TISSUES], np.float32)
    image = np.tensordot(weights, head.tissue, 1)
    image += head.myelin * np.float32(values["white"] - values["grey"])
    for name, extent, part in (("oedema", oedema, head.oedema), ("lesion", lesion, head.lesion)):
        cover = np.float32(extent) * part
        image = image * (1 - cover) + cover * np.float32(values[name])
    return image.astype(np.float32)


def mr_image(head: Head, sequence: str) -> Field:
    """Magnitude image, whole numbers of about 0 to 1500."""
    person, number = head.person, list(SEQUENCES).index(sequence)
    signal = {name: SEQUENCES[sequence](tissue) for name, tissue in RELAXATION.items()}
    contrast = person.lesion.contrast if person.lesion else 0.0
    if sequence == "T1" and person.lesion and not person.lesion.seen_on_t1:
        contrast = 0.0
    clean = mixture(head, signal, contrast, contrast) / signal["white"]
    clean *= 1 + 0.02 * head.texture
    bias_rng = np.random.default_rng([*person.seed, MR_BIAS, number])
    clean *= np.exp(person.bias_amplitude * random_field(bias_rng, 45.0).clip(-2, 2))
    noise_rng = np.random.default_rng([*person.seed, MR_NOISE, number])
    noise = person.mr_noise * noise_rng.standard_normal((2, *clean.shape), dtype=np.float32)
    magnitude = np.hypot(clean + noise[0], noise[1])
    gain = WHITE_LEVEL[sequence] * person.mr_gain
    return np.asarray(np.rint((magnitude * gain).clip(0, 4095)), np.float32)


def ct_image(head: Head) -> Field:
    """Hounsfield units, whole numbers; the scanner's blur before its noise."""
    person = head.person
    contrast = person.lesion.contrast if person.lesion else 0.0
    values = {name: float(value) for name, value in HOUNSFIELD.items()}
    image = mixture(head, values, contrast, contrast)
    image += np.float32(person.calcification_hu) * calcification(head)
    image = ndimage.gaussian_filter(image, 0.5)
    rng = person.rng(CT_NOISE)
    noise = ndimage.gaussian_filter(rng.standard_normal(image.shape, dtype=np.float32), 0.5)
    image += np.float32(person.ct_noise_hu) * noise / noise.std()
    return np.asarray(np.rint(image.clip(-1024, 3071)), np.float32)


def calcification(head: Head) -> Field:
    """0 to 1 where calcium lies: the pineal gland, the plexus on both sides or the pallidum. On CT only."""
    rng = head.person.rng(CALCIUM)
    sites = [[(0, -30, 2)], [(-24, -40, 12), (24, -38, 12)], [(-19, -3, 0), (19, -3, 0)]]
    extent = np.zeros(head.lesion.shape, np.float32)
    for place in sites[int(rng.integers(len(sites)))]:
        centre = (np.asarray(place) + rng.normal(0, 1, 3)).reshape(3, 1, 1, 1)
        distance2 = ((head.source_mm - centre.astype(np.float32)) ** 2).sum(axis=0)
        extent = np.maximum(extent, np.exp(-distance2 / (2 * rng.uniform(1.4, 2.3) ** 2)))
    return extent.astype(np.float32)


def pet_focus(head: Head) -> Field:
    """0 to 1: a patch of cortex whose uptake alone is raised."""
    rng = head.person.rng(FOCUS)
    places = np.argwhere((head.fraction("grey") > 0.7) & (head.source_mm[2] > -25))
    at = places[rng.integers(len(places))]
    offset = (np.indices(head.lesion.shape) - at.reshape(3, 1, 1, 1)) * SPACING_MM
    return np.asarray(np.exp(-(offset**2).sum(axis=0) / (2 * 7.0**2)), np.float32)


def pet_image(head: Head) -> Field:
    """Uptake in SUV to 0.001: point spread of 6 mm, counts, the reconstruction's smoothing."""
    person = head.person
    contrast = person.lesion.contrast if person.lesion else 0.0
    uptake = mixture(head, UPTAKE_SUV, contrast, contrast).clip(0)
    _, y, z = head.source_mm
    cerebellum = (z < -15) & (y < -35) & (head.envelope_mm < 0)
    uptake *= np.where(cerebellum, 0.8, 1.0) * (1 + 0.06 * random_field(person.rng(METABOLISM), 16.0).clip(-2, 2))
    if person.pet_focus_gain > 1:
        uptake *= 1 + (person.pet_focus_gain - 1) * pet_focus(head)
    blurred = ndimage.gaussian_filter(uptake.astype(np.float32), 5.0 / 2.355 / SPACING_MM)
    counts = person.rng(PET_NOISE).poisson(blurred * person.pet_counts)
    image = ndimage.gaussian_filter((counts / person.pet_counts).astype(np.float32), 3.3 / 2.355 / SPACING_MM)
    return np.asarray(np.round(image, 3), np.float32)
